// Events of a run on a server: the connection that brings them, and what each changes in the run.

// Errors that the server tells, with its own words.
class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// Connection to the server that this page comes from. The key stays in the memory of the page.
class Connection {
  constructor() {
    this.key = "";
  }

  async send(path, { body, signal } = {}) {
    const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const options = { method: body === undefined ? "GET" : "POST", headers, signal, cache: "no-store", credentials: "omit" };
    if (body !== undefined) options.body = JSON.stringify(body);
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0, "the server does not answer");
    }
    if (answer.ok) return answer;
    let message = `the server says ${answer.status}`;
    try {
      message = (await answer.json()).error.message;
    } catch {
      // The body says nothing more than the status.
    }
    throw new ServerError(answer.status, message);
  }

  async json(path, body) {
    return (await this.send(path, { body })).json();
  }

  // Call `take` with the value of each server-sent event of a response, until it ends.
  async events(answer, take) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6)).join("\n");
        if (data && data !== "[DONE]") take(JSON.parse(data));
      }
    }
  }
}

// Change a run as an event says. False if the event does not fit what is known, so that the run has to be read again.
function applyEvent(run, event) {
  const { tree } = run;
  const node = tree.nodes[event.node];
  switch (event.type) {
    case "nodes_dispatched":
      for (const id of event.nodes) {
        if (id < tree.size) continue;
        if (id > tree.size || !tree.nodes[event.parent]) return false;
        addPending(tree, id, event.parent);
      }
      return true;
    case "node_added":
      if (event.node === tree.size && tree.nodes[event.parent]) addPending(tree, event.node, event.parent);
      if (!tree.nodes[event.node]) return false;
      Object.assign(tree.nodes[event.node], {
        text: event.text, token_count: event.generated_tokens, logprob: event.logprob, state: event.state,
        finish_reason: event.finish_reason, answer: event.answer,
      });
      tree.touch(event.node);
      return true;
    case "node_scored":
      if (!node) return false;
      Object.assign(node, { score: event.score, scores: event.scores ?? null });
      return true;
    case "node_pruned":
      if (!node) return false;
      Object.assign(node, { state: "pruned", prune_reason: event.reason });
      tree.settled = false;
      return true;
    case "step_progress":
      if (!node) return false;
      node.text = event.text;
      tree.touch(event.node);
      return true;
    case "answer_update":
      run.leading = event.answer;
      return true;
    case "budget_used":
      Object.assign(run, { usage: event.usage, fraction: event.fraction });
      return true;
    case "budget_changed":
      run.budget = event.budget;
      return true;
    default:
      return true;
  }
}

function addPending(tree, id, parent) {
  const path = [...(tree.nodes[parent].path ?? []), tree.children[parent].length];
  tree.add({ id, parent, path, state: "pending", text: "", score: null, answer: null });
}
