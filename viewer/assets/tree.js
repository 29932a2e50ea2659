// Model of a search tree: reading of saved runs, what is visible of a tree, votes, and text fit to be shown.

const ROOT = 0;
const LONGEST_LINE = 400;
// Controls, lone surrogates and marks that turn the direction of text.
const UNFIT = new RegExp(
  "[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069" +
    "\\ufffe\\uffff]|[\\ud800-\\udbff](?![\\udc00-\\udfff])|(?<![\\ud800-\\udbff])[\\udc00-\\udfff]",
  "g",
);

function printable(text) {
  return String(text ?? "").replace(UNFIT, "\ufffd");
}

function oneLine(text, limit = LONGEST_LINE) {
  const line = printable(text).replace(/\s+/g, " ").trim();
  return line.length > limit ? line.slice(0, limit - 1).trimEnd() + "…" : line;
}

// A tree of steps. Nodes are numbered in the order in which they were made, parents before children.
class Tree {
  constructor(nodes = []) {
    this.nodes = [];
    this.children = [];
    this.lines = [];
    this.wholeLines = [];
    for (const node of nodes) this.add(node);
    if (!this.nodes.length) this.add({ id: ROOT, parent: null, state: "open", text: "" });
  }

  add(node) {
    const id = this.nodes.length;
    const parent = node.parent ?? null;
    const fits = node.id === id && (id === ROOT ? parent === null : Number.isInteger(parent) && parent >= 0 && parent < id);
    if (!fits) throw new Error("this is no search tree: node " + id + " does not fit");
    this.nodes.push(node);
    this.children.push([]);
    this.lines.push(null);
    this.wholeLines.push(null);
    if (parent !== null) this.children[parent].push(id);
    this.settled = false;
  }

  get size() {
    return this.nodes.length;
  }

  line(id) {
    return (this.lines[id] ??= oneLine(this.nodes[id].text));
  }

  // The whole text in lower case, for the search.
  wholeLine(id) {
    return (this.wholeLines[id] ??= oneLine(this.nodes[id].text, Infinity).toLowerCase());
  }

  touch(id) {
    this.lines[id] = this.wholeLines[id] = null;
    this.settled = false;
  }

  // Ids from the first step to a node.
  path(id) {
    const found = [];
    for (let at = id; at !== null && at !== undefined && at !== ROOT; at = this.nodes[at].parent) found.push(at);
    return found.reverse();
  }

  // Work out which subtrees were given up: all their leaves are pruned.
  settle() {
    if (this.settled) return;
    this.dead = new Uint8Array(this.size);
    this.below = new Uint32Array(this.size);
    for (let id = this.size - 1; id >= 0; id--) {
      const children = this.children[id];
      this.dead[id] = children.length ? +children.every((child) => this.dead[child]) : +(this.nodes[id].state === "pruned");
      for (const child of children) this.below[id] += this.below[child] + 1;
    }
    this.dead[ROOT] = 0;
    this.settled = true;
  }

  // Rows of the outline, from the top down. Steps without a choice between them stand below each other.
  rows({ limit, folded, opened, showPruned }) {
    this.settle();
    const rows = [];
    const stack = [{ id: ROOT, indent: 0, place: 1, siblings: 1 }];
    while (stack.length) {
      const row = stack.pop();
      rows.push(row);
      if (row.group) continue;
      const children = this.children[row.id].filter((child) => child < limit);
      row.foldable = children.length > 0;
      if (!children.length || folded.has(row.id)) continue;
      // A tree of which nothing is left but pruned steps shows these.
      const grouping = !this.dead[row.id] && children.some((child) => !this.dead[child]);
      const dead = grouping ? children.filter((child) => this.dead[child]) : [];
      const alive = grouping ? children.filter((child) => !this.dead[child]) : children;
      const shown = [];
      const chain = alive.length === 1;
      alive.forEach((id) => shown.push({ id, indent: chain ? row.indent : row.indent + 1 }));
      const given = [];
      if (dead.length) {
        let count = 0;
        for (const id of dead) count += 1 + (limit >= this.size ? this.below[id] : 0);
        const open = showPruned || opened.has(row.id);
        given.push({ id: row.id, group: true, count, open, indent: row.indent + 1 });
        if (open) dead.forEach((id) => given.push({ id, indent: row.indent + 1 }));
      }
      const all = chain ? [...given, ...shown] : [...shown, ...given];
      all.forEach((each, index) => Object.assign(each, { place: index + 1, siblings: all.length }));
      stack.push(...all.reverse());
    }
    return rows;
  }

  // Position of every node in units: depth along, leaves evenly across.
  layout() {
    if (this.places && this.places.size === this.size) return this.places;
    const across = new Float64Array(this.size);
    const depth = new Uint32Array(this.size);
    let leaves = 0;
    let deepest = 1;
    const stack = [ROOT];
    const order = [];
    while (stack.length) {
      const id = stack.pop();
      order.push(id);
      const children = this.children[id];
      if (!children.length) across[id] = leaves++;
      for (let index = children.length - 1; index >= 0; index--) {
        depth[children[index]] = depth[id] + 1;
        deepest = Math.max(deepest, depth[id] + 1);
        stack.push(children[index]);
      }
    }
    for (let index = order.length - 1; index >= 0; index--) {
      const children = this.children[order[index]];
      if (children.length) across[order[index]] = (across[children[0]] + across[children[children.length - 1]]) / 2;
    }
    return (this.places = { across, depth, leaves: Math.max(1, leaves), deepest, size: this.size });
  }
}

// A search and its outcome. `solution` is that of Solution.to_dict, null while the search runs.
class SearchRun {
  constructor({ id = null, title = null, created = null, solution = null, tree = null, winner = null, question = "" }) {
    this.id = id;
    this.created = created;
    this.solution = solution;
    this.tree = new Tree(tree ? tree.nodes : []);
    this.hasTree = Boolean(tree);
    this.question = solution ? solution.question : question;
    this.title = title ?? id;
    this.live = false;
    this.leading = null;
    this.setWinner(winner ?? this.findWinner());
  }

  // Runs in a value from outside: a page's data, a saved run, a solution or a bare tree.
  static read(value, title) {
    if (!value || typeof value !== "object") throw new Error("this file holds no run");
    if (Array.isArray(value.runs)) return value.runs.flatMap((each) => SearchRun.read(each, each.title ?? title));
    if (Array.isArray(value.nodes)) return [new SearchRun({ title, tree: value })];
    const solution = value.solution ?? (Array.isArray(value.candidates) ? value : null);
    const tree = value.tree ?? (solution ? solution.tree : null) ?? null;
    if (!solution && !tree) throw new Error("this file holds no run");
    const { id = null, created = null, winner = null, question = "" } = value;
    return [new SearchRun({ id, created, winner, question, title: title ?? id, solution, tree })];
  }

  findWinner() {
    const { answer = null, candidates = [], text, score } = this.solution ?? {};
    if (answer === null) return null;
    return candidates.find((each) => each.text === text && each.score === score)?.node ?? null;
  }

  setWinner(node) {
    this.winner = node !== null && node > ROOT && node < this.tree.size ? node : null;
    this.winning = new Set(this.winner === null ? [] : [ROOT, ...this.tree.path(this.winner)]);
  }

  get facts() {
    const states = { pending: 0, open: 0, finished: 0, pruned: 0 };
    let tokens = 0;
    for (const node of this.tree.nodes) {
      if (node.id !== ROOT) states[node.state] = (states[node.state] ?? 0) + 1;
      tokens += node.token_count ?? 0;
    }
    return { steps: this.tree.size - 1, tokens, ...states };
  }

  // Answers of the paths made before `limit` with their votes, the leading one first.
  votes(limit) {
    const groups = new Map();
    const counted = new Map((this.solution?.candidates ?? []).map((each) => [each.node, each]));
    for (const node of this.tree.nodes) {
      if (node.id >= limit || node.state !== "finished" || node.answer == null || node.origin === "critique") continue;
      const group = groups.get(node.answer) ?? { answer: node.answer, count: 0, weight: 0, best: null, nodes: [] };
      group.count += 1;
      group.weight += node.score ?? 1;
      group.nodes.push(node.id);
      if (group.best === null || (node.score ?? -1) > (this.tree.nodes[group.best].score ?? -1)) group.best = node.id;
      groups.set(node.answer, group);
    }
    const found = limit >= this.tree.size ? SearchRun.united([...groups.values()], counted) : [...groups.values()];
    const leads = (group) => (this.winner !== null && limit >= this.tree.size ? group.nodes.includes(this.winner) : false);
    return found.sort((a, b) => leads(b) - leads(a) || b.weight - a.weight || b.count - a.count);
  }

  // Answers that are written differently and count as equal have one group. Earlier versions did not save it: there they
  // have the same votes and weight, more than their own.
  static united(groups, counted) {
    const whole = [];
    const parts = new Map();
    for (const group of groups) {
      const candidate = counted.get(group.nodes[0]);
      if (!candidate || !candidate.votes || candidate.votes === group.count) {
        whole.push(candidate?.votes ? { ...group, weight: candidate.weight } : group);
        continue;
      }
      const key = candidate.group ?? `${candidate.votes} ${candidate.weight}`;
      const all = parts.get(key);
      if (!all) parts.set(key, { ...group, count: candidate.votes, weight: candidate.weight, nodes: [...group.nodes] });
      else all.nodes.push(...group.nodes);
    }
    return [...whole, ...parts.values()];
  }
}
