// One search on the page: its question, outcome, votes, drawing and outline.

const SHOWN_VOTES = 5;

class Panel {
  // `on` holds the functions that are told: select(panel, id).
  constructor(run, on) {
    this.run = run;
    this.on = on;
    this.limit = run.tree.size;
    this.known = this.limit;
    this.selected = run.winner ?? ROOT;
    this.query = "";
    this.matches = [];
    this.graph = new Graph((id) => this.outline.reveal(id));
    this.outline = new Outline({ select: (id) => this.select(id), change: () => this.refresh() });
    this.head = el("header", { class: "summary" });
    this.votes = el("section", { class: "votes", "aria-label": "Votes" });
    this.element = el("section", { class: "panel", "aria-label": `Run ${oneLine(run.title ?? "", 60)}` }, this.head, this.votes);
    if (run.hasTree) this.element.append(this.graph.canvas, this.outline.element);
    else this.element.append(el("p", { class: "note", text: "This run has no tree: it pools several searches." }), this.plainText());
    this.refresh();
    if (run.winner !== null) this.outline.reveal(run.winner, { quiet: true });
    this.refresh();
  }

  plainText() {
    return el("pre", { class: "text", text: printable(this.run.solution?.text) });
  }

  get atEnd() {
    return this.limit >= this.run.tree.size;
  }

  refresh() {
    this.drawSummary();
    this.drawVotes();
    if (!this.run.hasTree) return;
    this.outline.show(this.run, this.limit);
    this.graph.show(this.run, this.limit, this.selected, this.outline.matches);
  }

  // Show a newer state of the run.
  take(run) {
    this.run = run;
    this.known = Math.min(this.known, run.tree.size);
    if (this.selected >= run.tree.size) this.selected = ROOT;
  }

  // Follow a run that has grown, unless an earlier state of it is shown.
  grow() {
    const size = this.run.tree.size;
    if (this.limit >= this.known) this.limit = size;
    this.known = size;
    if (this.query) this.findMatches();
    this.refresh();
  }

  // Show the tree as it was when it had so many nodes.
  setLimit(limit) {
    this.limit = Math.max(1, Math.min(limit, this.run.tree.size));
    if (this.query) this.findMatches();
    this.refresh();
  }

  select(id) {
    this.selected = id;
    this.graph.show(this.run, this.limit, id, this.outline.matches);
    this.on.select(this, id);
  }

  search(query) {
    this.query = query;
    this.outline.query = query;
    this.findMatches();
    this.refresh();
  }

  findMatches() {
    const { query } = this;
    this.matches = [];
    if (query) {
      for (const node of this.run.tree.nodes) {
        if (node.id === ROOT || node.id >= this.limit) continue;
        const found =
          this.run.tree.wholeLine(node.id).includes(query) ||
          (node.answer != null && oneLine(node.answer, Infinity).toLowerCase().includes(query)) ||
          `#${node.id}` === query;
        if (found) this.matches.push(node.id);
      }
    }
    this.outline.matches = new Set(this.matches);
  }

  // Go to the next or the previous match after the selected node.
  step(direction) {
    if (!this.matches.length) return;
    const at = this.matches.indexOf(this.selected);
    const next = at < 0 ? (direction > 0 ? 0 : this.matches.length - 1) : at + direction;
    this.outline.reveal(this.matches[(next + this.matches.length) % this.matches.length]);
  }

  drawSummary() {
    const { run } = this;
    const { solution } = run;
    const chosen = run.winner === null ? null : run.tree.nodes[run.winner].answer;
    const answer = solution ? solution.answer : (run.leading ?? chosen);
    const strategy = solution?.strategy ?? {};
    const facts = run.facts;
    const parts = [
      strategy.name && `${strategy.name}${strategy.width ? ` ${strategy.width}` : ""}`,
      [solution?.model?.policy, solution?.model?.reward].filter(Boolean).join(" + "),
      solution && `stopped: ${words(solution.stop_reason)}`,
      `${number(facts.steps)} steps`,
      `${number(facts.finished)} finished`,
      `${number(facts.pruned)} pruned`,
      `${number(solution?.usage?.policy?.generated_tokens ?? facts.tokens)} tokens`,
      solution?.usage && `${number(solution.usage.seconds, 1)} s`,
      solution && `seed ${solution.seed}`,
    ].filter(Boolean);
    const said = this.atEnd ? (answer == null ? (run.live ? "none yet" : "none") : oneLine(answer, 200)) : "replaying";
    redraw(this.head, [run.title, run.question, run.live, said, parts], () => [
      run.title ? el("p", { class: "title", text: oneLine(run.title, 80) }) : "",
      el("p", { class: "question", text: printable(run.question).trim() || "(no question)" }),
      el("p", { class: "outcome" },
        el("span", { class: "label", text: run.live ? "leading answer " : "answer " }),
        el("strong", { text: said })),
      el("p", { class: "facts", text: parts.map((each) => oneLine(each, 60)).join(" · ") }),
    ]);
  }

  drawVotes() {
    const groups = this.run.votes(this.limit);
    this.votes.hidden = !groups.length;
    const most = Math.max(...groups.map((group) => group.weight), 1e-9);
    const shown = groups.slice(0, SHOWN_VOTES).map((group) => ({
      best: group.best, share: group.weight / most, answer: oneLine(group.answer, 60),
      won: this.atEnd && group.nodes.includes(this.run.winner),
      votes: `${group.count} ${group.count === 1 ? "path" : "paths"}, weight ${group.weight.toFixed(2)}`,
    }));
    redraw(this.votes, [shown, groups.length], () => [
      ...shown.map(({ best, share, answer, won, votes }) =>
        el("button", { type: "button", class: "vote", title: "Go to the best path of this answer", onclick: () => this.outline.reveal(best) },
          el("span", { class: "said", text: answer }), bar(share, won ? "won" : ""), el("span", { class: "count", text: votes }))),
      groups.length > SHOWN_VOTES ? el("p", { class: "note", text: `${groups.length - SHOWN_VOTES} more` }) : "",
    ]);
  }
}
