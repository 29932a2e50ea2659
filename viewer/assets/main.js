// The page: toolbar, panels, replay, search, files, and the choice of light and dark.

const LARGEST_FILE = 256 * 1024 * 1024;
const TICK_MS = 100;

class Page {
  constructor(data) {
    this.panels = [];
    this.runs = [];
    this.timer = null;
    this.details = el("aside", { class: "details", "aria-label": "Selected step", tabindex: "0" });
    this.compare = el("div", { class: "comparison" });
    this.columns = el("div", { class: "columns" });
    this.said = el("p", { class: "said-aloud", role: "status", "aria-live": "polite" });
    this.app = document.getElementById("app");
    this.app.append(this.toolbar(), this.said, el("main", {}, el("div", { class: "left" }, this.compare, this.columns), this.details));
    document.addEventListener("keydown", (event) => this.key(event));
    if (data.runs?.length) this.show(SearchRun.read(data));
    else if (!data.live) this.say("No run is loaded: open a saved tree or run.");
  }

  toolbar() {
    this.find = el("input", { type: "search", placeholder: "Search steps", "aria-label": "Search steps", oninput: () => this.search(), onkeydown: (event) => this.findKey(event) });
    this.found = el("span", { class: "found", role: "status" });
    this.slider = el("input", { type: "range", min: "1", value: "1", "aria-label": "Replay: number of steps", oninput: () => this.replay(Number(this.slider.value)) });
    this.place = el("output", { class: "place" });
    this.play = button("▶", "Replay the search step by step", () => this.togglePlay());
    this.pruned = button("Pruned", "Show all pruned steps", () => this.togglePruned(), { "aria-pressed": "false" });
    this.chooser = el("select", { "aria-label": "Run to compare with", onchange: () => this.choose() });
    this.file = el("input", { type: "file", accept: ".json,.html", hidden: true, onchange: () => this.open() });
    this.theme = el("select", { "aria-label": "Colours", onchange: () => this.paint() },
      ...["system", "light", "dark"].map((each) => el("option", { value: each, text: each })));
    return el("div", { class: "toolbar", role: "group", "aria-label": "View" },
      el("strong", { class: "brand", text: "ramify" }),
      el("span", { class: "tools" }, this.find, button("↑", "Previous match", () => this.stepMatch(-1)), button("↓", "Next match", () => this.stepMatch(1)), this.found),
      el("span", { class: "tools replay" }, this.play, button("−1", "One step back", () => this.replay(this.limit - 1)), button("+1", "One step on", () => this.replay(this.limit + 1)), this.slider, this.place),
      el("span", { class: "tools" }, this.pruned, button("Fold", "Fold all branches", () => this.each((panel) => panel.outline.foldAll(true))), button("Unfold", "Unfold all branches", () => this.each((panel) => panel.outline.foldAll(false)))),
      el("span", { class: "tools" }, this.chooser, button("Open…", "Open a saved tree or run (.json, .html) beside this one", () => this.file.click()), this.file, this.theme));
  }

  say(text) {
    this.said.textContent = text;
  }

  each(act) {
    this.panels.forEach(act);
  }

  // Take runs; the first is shown, and a second one beside it.
  show(runs) {
    this.runs = runs;
    this.arrange(runs[0], runs[1] ?? null);
  }

  arrange(first, second) {
    this.stopPlay();
    const on = { select: (panel, id) => this.select(panel, id) };
    this.panels = [first, second].filter(Boolean).map((run) => new Panel(run, on));
    this.columns.replaceChildren(...this.panels.map((panel) => panel.element));
    this.columns.classList.toggle("two", this.panels.length > 1);
    this.compare.replaceChildren(...(second ? [comparison(first, second)] : []));
    this.chooser.replaceChildren(el("option", { value: "", text: "Compare with…" }));
    this.runs.forEach((run, index) => {
      if (run !== first) this.chooser.append(el("option", { value: index, text: oneLine(run.title ?? run.question, 60) || `run ${index + 1}`, selected: run === second }));
    });
    this.chooser.hidden = this.runs.length < 2;
    this.slider.max = this.longest;
    this.placeSlider();
    document.title = `${oneLine(first.question, 60) || "Search tree"} - ramify`;
    if (this.find.value) this.search();
    for (const panel of this.panels) if (panel.run.hasTree) panel.outline.reveal(panel.selected);
    this.select(this.panels[0], this.panels[0].selected);
    this.say("");
  }

  // Show a newer state of a run in its panel; what is folded and selected there stays.
  renew(panel, run) {
    panel.take(run);
    this.grown();
  }

  // Draw what has changed in the shown runs.
  grown() {
    this.each((panel) => panel.grow());
    this.slider.max = this.longest;
    this.placeSlider();
    if (this.chosen) this.drawDetails();
  }

  choose() {
    const run = this.runs[Number(this.chooser.value)];
    this.arrange(this.panels[0].run, this.chooser.value === "" ? null : run);
  }

  select(panel, id) {
    this.chosen = { panel, id };
    this.drawDetails();
    this.onSelect?.(panel, id);
  }

  drawDetails() {
    const { panel, id } = this.chosen;
    const { tree, winner, question } = panel.run;
    tree.settle();
    const key = [this.panels.indexOf(panel), panel.run.id, question, id, winner, tree.nodes[id], tree.children[id].length, tree.below[id]];
    redraw(this.details, key, () => detailsOf(panel, id));
  }

  search() {
    const query = this.find.value.trim().toLowerCase();
    this.each((panel) => panel.search(query));
    const count = this.panels.reduce((sum, panel) => sum + panel.matches.length, 0);
    this.found.textContent = query ? `${number(count)} found` : "";
  }

  stepMatch(direction) {
    this.each((panel) => panel.step(direction));
  }

  findKey(event) {
    if (event.key === "Enter") this.stepMatch(event.shiftKey ? -1 : 1);
    if (event.key === "Escape") {
      this.find.value = "";
      this.search();
      this.panels[0]?.outline.element.focus();
    }
  }

  togglePruned() {
    const shown = this.pruned.getAttribute("aria-pressed") !== "true";
    this.pruned.setAttribute("aria-pressed", shown);
    this.each((panel) => {
      panel.outline.showPruned = shown;
      panel.refresh();
    });
  }

  get longest() {
    return Math.max(1, ...this.panels.map((panel) => panel.run.tree.size));
  }

  get limit() {
    return Number(this.slider.value);
  }

  placeSlider() {
    this.slider.value = Math.max(1, ...this.panels.map((panel) => panel.limit));
    this.place.textContent = `${number(this.limit - 1)} / ${number(this.longest - 1)}`;
  }

  replay(limit) {
    this.each((panel) => panel.setLimit(limit));
    this.placeSlider();
    const newest = this.panels[0];
    if (!newest || newest.atEnd || !this.timer) return;
    newest.run.tree.settle();
    if (!newest.run.tree.dead[newest.limit - 1]) newest.outline.reveal(newest.limit - 1);
  }

  togglePlay() {
    if (this.timer) return this.stopPlay();
    if (this.limit >= this.longest) this.replay(1);
    const step = Math.max(1, Math.round(this.longest / 400));
    this.play.textContent = "❚❚";
    this.play.setAttribute("aria-label", "Stop the replay");
    this.timer = setInterval(() => {
      this.replay(this.limit + step);
      if (this.limit >= this.longest) this.stopPlay();
    }, TICK_MS);
  }

  stopPlay() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "▶";
    this.play.setAttribute("aria-label", "Replay the search step by step");
  }

  async open() {
    const [file] = this.file.files;
    this.file.value = "";
    if (!file) return;
    try {
      if (file.size > LARGEST_FILE) throw new Error("it is larger than 256 MB");
      const runs = SearchRun.read(parseFile(await file.text()), file.name);
      this.runs.push(...runs);
      if (this.panels.length) this.arrange(this.panels[0].run, runs[0]);
      else this.show(this.runs);
    } catch (error) {
      this.say(`${file.name} cannot be shown: ${error.message}`);
    }
  }

  paint() {
    document.documentElement.dataset.theme = this.theme.value;
    this.each((panel) => panel.graph.draw());
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input, textarea, select")) return;
    const actions = {
      "/": () => this.find.focus(),
      n: () => this.stepMatch(1),
      N: () => this.stepMatch(-1),
      p: () => this.togglePruned(),
      ",": () => this.replay(this.limit - 1),
      ".": () => this.replay(this.limit + 1),
      w: () => this.each((panel) => panel.outline.reveal(panel.run.winner)),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}

// The value of a JSON file, or of the data inside a page like this one.
function parseFile(text) {
  if (!text.trimStart().startsWith("<")) return JSON.parse(text);
  // Written in parts, since this very script must not hold the end of one.
  const open = "<" + 'script type="application/json" id="data">';
  const start = text.indexOf(open);
  const end = text.indexOf("<" + "/script>", start);
  if (start < 0 || end < 0) throw new Error("it is no page of ramify");
  return JSON.parse(text.slice(start + open.length, end));
}

const pageData = JSON.parse(document.getElementById("data").textContent);
const page = new Page(pageData);
if (pageData.live) new Live(page, pageData.strategies ?? []);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.paint());
