// Outline of a tree: a list of rows of which only those in view are elements, so that size costs nothing.

const ROW_PX = 28;
const SPARE_ROWS = 8;
const MOST_INDENT = 14;
let outlines = 0;

class Outline {
  // `on` holds the functions that are told: select(id), change().
  constructor(on) {
    this.on = on;
    this.name = `outline${outlines++}`;
    this.rows = [];
    this.pool = [];
    this.at = 0;
    this.folded = new Set();
    this.opened = new Set();
    this.showPruned = false;
    this.query = "";
    this.matches = new Set();
    this.space = el("div", { class: "space", role: "presentation" });
    this.element = el(
      "div",
      {
        class: "outline",
        role: "tree",
        tabindex: "0",
        "aria-label": "Steps of the search",
        onscroll: () => this.draw(),
        onkeydown: (event) => this.key(event),
        onclick: (event) => this.click(event),
      },
      this.space,
    );
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  show(run, limit) {
    const current = this.rows[this.at];
    this.run = run;
    this.limit = limit;
    this.rows = run.tree.rows({ limit, folded: this.folded, opened: this.opened, showPruned: this.showPruned });
    const same = current ? this.rows.findIndex((row) => row.id === current.id && row.group === current.group) : 0;
    this.at = same < 0 ? Math.min(this.at, this.rows.length - 1) : same;
    this.space.style.height = `${this.rows.length * ROW_PX}px`;
    this.draw();
  }

  draw() {
    if (!this.run) return;
    const first = Math.max(0, Math.floor(this.element.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(
      this.rows.length,
      Math.ceil((this.element.scrollTop + this.element.clientHeight) / ROW_PX) + SPARE_ROWS,
    );
    while (this.pool.length < last - first) this.pool.push(this.space.appendChild(this.makeRow()));
    this.pool.forEach((row, index) => {
      const shown = first + index < last;
      row.hidden = !shown;
      if (shown) this.fill(row, first + index);
      else {
        row.removeAttribute("id");
        row.className = "row";
      }
    });
    this.element.setAttribute("aria-activedescendant", `${this.name}-${this.at}`);
  }

  makeRow() {
    const part = (name) => el("span", { class: name });
    return el(
      "div",
      { class: "row", role: "treeitem" },
      ...["toggle", "score", "sign", "text", "answer"].map(part),
    );
  }

  fill(row, index) {
    const at = this.rows[index];
    const node = this.run.tree.nodes[at.id];
    const [toggle, score, sign, text, answer] = row.children;
    const winning = !at.group && this.limit >= this.run.tree.size && this.run.winning.has(at.id);
    row.id = `${this.name}-${index}`;
    row.dataset.index = index;
    row.style.transform = `translateY(${index * ROW_PX}px)`;
    row.style.paddingLeft = `${8 + Math.min(at.indent, MOST_INDENT) * 16}px`;
    row.className = ["row", at.group ? "group" : node.state, winning ? "winning" : "", index === this.at ? "current" : "",
      this.matches.has(at.id) && !at.group ? "match" : ""].join(" ");
    row.setAttribute("aria-level", at.indent + 1);
    row.setAttribute("aria-posinset", at.place);
    row.setAttribute("aria-setsize", at.siblings);
    row.setAttribute("aria-selected", index === this.at);
    const open = at.group ? at.open : at.foldable ? !this.folded.has(at.id) : null;
    if (open === null) row.removeAttribute("aria-expanded");
    else row.setAttribute("aria-expanded", open);
    toggle.textContent = open === null ? "" : open ? "▾" : "▸";
    answer.hidden = at.group || node.answer == null;
    if (at.group) {
      score.textContent = sign.textContent = "";
      score.style.background = "";
      text.textContent = `${at.count} pruned ${at.count === 1 ? "step" : "steps"}`;
      return;
    }
    const colour = node.score == null ? null : scoreColour(node.score);
    score.textContent = node.score == null ? "" : node.score.toFixed(2);
    score.style.background = colour ? colour.fill : "";
    score.style.color = colour ? colour.ink : "";
    sign.textContent = winning ? "★" : node.state === "finished" ? "✓" : node.state === "pruned" ? "✕" : node.state === "pending" ? "…" : "";
    sign.title = winning ? "winning path" : node.state === "pruned" ? `pruned: ${words(node.prune_reason)}` : words(node.state);
    marked(text, at.id === ROOT ? oneLine(this.run.question) || "question" : this.run.tree.line(at.id) || (node.state === "pending" ? "being written" : "(no text)"), this.query);
    if (!answer.hidden) answer.textContent = `= ${oneLine(node.answer, 40)}`;
  }

  click(event) {
    const row = event.target.closest(".row");
    if (!row) return;
    const index = Number(row.dataset.index);
    this.moveTo(index);
    if (event.target.classList.contains("toggle") || this.rows[index].group) this.toggle(index);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_PX) - 1);
    const row = this.rows[this.at];
    const open = row && (row.group ? row.open : row.foldable && !this.folded.has(row.id));
    const actions = {
      ArrowDown: () => this.moveTo(this.at + 1),
      ArrowUp: () => this.moveTo(this.at - 1),
      PageDown: () => this.moveTo(this.at + page),
      PageUp: () => this.moveTo(this.at - page),
      Home: () => this.moveTo(0),
      End: () => this.moveTo(this.rows.length - 1),
      ArrowRight: () => (open ? this.moveTo(this.at + 1) : this.toggle(this.at)),
      ArrowLeft: () => (open && row.id !== ROOT ? this.toggle(this.at) : this.reveal(row.group ? row.id : this.run.tree.nodes[row.id].parent)),
      Enter: () => this.toggle(this.at),
    };
    if (event.ctrlKey || event.altKey || event.metaKey || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  moveTo(index) {
    this.at = Math.max(0, Math.min(index, this.rows.length - 1));
    const top = this.at * ROW_PX;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.element.scrollTop = top + ROW_PX - clientHeight;
    this.draw();
    this.on.select(this.rows[this.at].id);
  }

  toggle(index) {
    const row = this.rows[index];
    if (!row.group && !row.foldable) return;
    const closed = row.group ? this.opened : this.folded;
    if (row.group && this.showPruned) return;
    if (!closed.delete(row.id)) closed.add(row.id);
    this.on.change();
  }

  // Unfold whatever hides a node and go there.
  reveal(id, { quiet = false } = {}) {
    if (id === null || id === undefined) return;
    const { tree } = this.run;
    tree.settle();
    let changed = false;
    for (const above of [ROOT, ...tree.path(id)]) {
      if (above !== id && this.folded.delete(above)) changed = true;
      const parent = tree.nodes[above].parent;
      if (parent != null && tree.dead[above] && !tree.dead[parent] && !this.showPruned && !this.opened.has(parent)) {
        this.opened.add(parent);
        changed = true;
      }
    }
    if (changed) this.on.change();
    const index = this.rows.findIndex((row) => row.id === id && !row.group);
    if (index < 0) return;
    if (quiet) this.at = index;
    else this.moveTo(index);
  }

  foldAll(deep) {
    if (!this.run) return;
    this.folded.clear();
    this.opened.clear();
    if (deep) {
      this.run.tree.children.forEach((children, id) => {
        if (children.length > 1 && id !== ROOT) this.folded.add(id);
      });
    }
    this.on.change();
  }
}
