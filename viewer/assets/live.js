// The live page of a server: questions, the search while it grows, its budget, steering, and the list of runs.

const RUNS = "v1/ramify/runs";
const RUN_HEADER = "X-Ramify-Run";
const DRAW_MS = 200;
const LIST_MS = 5000;
const UNITS = {
  generated_tokens: ["tokens", (run) => run.usage?.policy?.generated_tokens],
  total_tokens: ["all tokens", (run) => run.usage?.total_tokens],
  flops: ["FLOPs", (run) => run.usage?.flops],
  seconds: ["seconds", (run) => run.usage?.seconds],
  nodes: ["steps", (run) => run.facts.steps],
  joules: ["joules", (run) => run.usage?.energy_j],
  cost: ["cost", (run) => run.usage?.cost],
};
const PLACES = { seconds: 1, cost: 6 };

class Live {
  constructor(page, strategies) {
    this.page = page;
    this.server = new Connection();
    this.run = null;
    this.watching = null;
    this.asking = 0;
    this.page.onSelect = () => this.drawSteering();
    this.build(strategies);
    this.start();
  }

  build(strategies) {
    this.key = el("input", { type: "password", autocomplete: "off", "aria-label": "API key", placeholder: "API key" });
    this.keyForm = el("form", { hidden: true, class: "lines", onsubmit: (event) => this.takeKey(event) },
      el("p", { text: "This server asks for an API key. It stays in this page." }), this.key, el("button", { type: "submit", text: "Use key" }));
    this.question = el("textarea", { rows: "4", required: true, "aria-label": "Question", placeholder: "Question", onkeydown: (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.form.requestSubmit();
    } });
    this.model = el("select", { "aria-label": "Model" });
    this.strategy = el("select", { "aria-label": "Strategy" },
      ...["", ...strategies].map((each) => el("option", { value: each, text: each || "usual strategy" })));
    const count = (name) => el("input", { type: "number", min: "1", step: "1", "aria-label": name, placeholder: "usual" });
    this.width = count("Width");
    this.tokens = count("Limit of generated tokens");
    this.seconds = count("Limit of seconds");
    this.seed = el("input", { type: "number", step: "1", "aria-label": "Seed", placeholder: "0" });
    const field = (label, input) => el("label", {}, el("span", { text: label }), input);
    this.form = el("form", { class: "lines", onsubmit: (event) => this.ask(event) }, this.question,
      el("div", { class: "grid" }, field("Model", this.model), field("Strategy", this.strategy), field("Width", this.width),
        field("Tokens", this.tokens), field("Seconds", this.seconds), field("Seed", this.seed)),
      el("button", { type: "submit", class: "main", text: "Search", title: "Ctrl+Enter" }));
    this.state = el("p", { role: "status" });
    this.bars = el("div", { class: "bars" });
    this.buttons = {
      stop: button("Stop", "End the search; the best answer so far is the result", () => this.steer("stop", {})),
      raise: button("Double limits", "Double the limits of the budget", () => this.raise()),
      free: button("No limits", "Take all limits away", () => this.free()),
      prune: button("Prune", "Prune the selected step and all below it", () => this.steer("prune", { node: this.chosen })),
      expand: button("Expand", "Write two more children of the selected step", () => this.steer("expand", { node: this.chosen, children: 2 })),
      pin: button("Pin", "Make the answer of the selected path the result", () => this.steer("pin", { node: this.chosen })),
    };
    this.control = el("section", { class: "control", hidden: true, "aria-label": "Running search" }, this.state, this.bars,
      el("div", { class: "tools", role: "group", "aria-label": "Steering" }, ...Object.values(this.buttons)));
    this.list = el("ul", { class: "runs" });
    this.side = el("aside", { class: "side", "aria-label": "Searches" }, this.keyForm, el("h2", { text: "Ask" }), this.form, this.control,
      el("h2", { text: "Runs" }), this.list);
    document.querySelector("main").prepend(this.side);
    this.drawList([]);
  }

  async attempt(act) {
    try {
      await act();
      return true;
    } catch (error) {
      if (error.name === "AbortError") return false;
      if (error.status === 401) this.keyForm.hidden = false;
      this.page.say(error.message);
      return false;
    }
  }

  async start() {
    const reached = await this.attempt(async () => {
      const { data } = await this.server.json("v1/models");
      this.model.replaceChildren(...data.map(({ id }) => el("option", { value: id, text: oneLine(id, 60) })));
      const runs = await this.refreshList();
      if (runs.length && !this.run) this.watch(runs[0].id);
    });
    if (reached) this.keyForm.hidden = true;
    clearInterval(this.timer);
    this.timer = setInterval(() => {
      if (reached && document.visibilityState === "visible") this.refreshList().catch(() => {});
    }, LIST_MS);
  }

  takeKey(event) {
    event.preventDefault();
    this.server.key = this.key.value;
    this.page.say("");
    this.start();
  }

  // Runs of the server

  async refreshList() {
    const { data } = await this.server.json(RUNS);
    this.drawList(data);
    return data;
  }

  drawList(runs) {
    const shown = JSON.stringify([runs.map((each) => [each.id, each.status, each.answer]), this.run?.id]);
    if (shown === this.listed) return;
    this.listed = shown;
    const focused = document.activeElement?.dataset?.run;
    this.list.replaceChildren(...runs.map((each) => {
      const current = each.id === this.run?.id;
      const words = el("button", { type: "button", class: "link", "data-run": each.id, "aria-current": current ? "true" : null, onclick: () => this.watch(each.id) },
        el("span", { class: `status ${each.status}`, text: each.status }),
        el("span", { class: "said", text: oneLine(each.question, 80) }),
        el("strong", { class: "said", text: each.answer == null ? "" : oneLine(each.answer, 40) }));
      const beside = button("⇄", "Compare with the shown run", () => this.beside(each.id), { disabled: current || !this.run });
      return el("li", {}, words, beside);
    }));
    if (focused) [...this.list.querySelectorAll("button")].find((each) => each.dataset.run === focused)?.focus();
    if (!runs.length) this.list.append(el("li", { class: "note", text: "none yet" }));
  }

  async ask(event) {
    event.preventDefault();
    const content = this.question.value.trim();
    if (!content) return;
    const settings = { budget: {} };
    if (this.strategy.value) settings.strategy = this.strategy.value;
    if (this.width.value) settings.width = Number(this.width.value);
    if (this.tokens.value) settings.budget.generated_tokens = Number(this.tokens.value);
    if (this.seconds.value) settings.budget.seconds = Number(this.seconds.value);
    if (!Object.keys(settings.budget).length) delete settings.budget;
    const body = { model: this.model.value, messages: [{ role: "user", content }], stream: true, ramify: settings };
    if (this.seed.value) body.seed = Number(this.seed.value);
    this.page.say("The search begins; closing this page cancels it.");
    this.asking += 1;
    await this.attempt(async () => {
      const answer = await this.server.send("v1/chat/completions", { body });
      this.page.say("");
      this.watch(answer.headers.get(RUN_HEADER));
      let told = null;
      // The stream is read to its end, since the server cancels a search whose client is gone.
      await this.server.events(answer, (chunk) => (told = chunk.error ?? told));
      if (told) throw new ServerError(200, told.message);
    });
    this.asking -= 1;
    this.refreshList().catch(() => {});
  }

  // Show a run and follow it while it searches.
  async watch(id) {
    this.watching?.abort();
    const aborter = (this.watching = new AbortController());
    await this.attempt(async () => {
      const answer = await this.server.send(`${RUNS}/${encodeURIComponent(id)}/events`, { signal: aborter.signal });
      let lost = false;
      await this.server.events(answer, (event) => {
        if (aborter.signal.aborted) return;
        if (event.type === "snapshot") this.take(event.run);
        else if (this.run && !lost) {
          lost = !applyEvent(this.run, event);
          if (lost) this.read(id, aborter.signal).then(() => (lost = false));
          if (event.type === "run_ended") this.run.ended = event;
          this.drawSoon();
        }
      });
      if (aborter.signal.aborted) return;
      if (this.run.status !== "finished") await this.read(id, aborter.signal);
      // The server cuts off whoever reads too slowly.
      if (this.run.live && !aborter.signal.aborted) await this.watch(id);
    });
  }

  async read(id, signal) {
    const data = await (await this.server.send(`${RUNS}/${encodeURIComponent(id)}`, { signal })).json();
    if (!signal.aborted) this.take(data);
  }

  static runOf(data) {
    const live = ["queued", "running"].includes(data.status);
    const run = new SearchRun({ id: data.id, question: data.question, solution: data.solution, tree: data.tree ?? { nodes: [] }, winner: data.winner });
    const { status, budget, usage, fraction, error } = data;
    return Object.assign(run, { status, budget, usage, fraction, error, live, leading: data.answer, strategy: data.strategy });
  }

  take(data) {
    const run = Live.runOf(data);
    const [panel] = this.page.panels;
    this.run = run;
    if (panel?.run.id === run.id) this.page.renew(panel, run);
    else this.page.show([run]);
    this.drawControl();
    this.refreshList().catch(() => {});
  }

  async beside(id) {
    await this.attempt(async () => {
      const other = Live.runOf(await this.server.json(`${RUNS}/${encodeURIComponent(id)}`));
      this.page.runs = [this.run, other];
      this.page.arrange(this.run, other);
    });
  }

  // Drawing and steering

  drawSoon() {
    if (this.drawing) return;
    this.drawing = setTimeout(() => {
      this.drawing = null;
      this.page.grown();
      this.drawControl();
    }, DRAW_MS);
  }

  get chosen() {
    const { chosen } = this.page;
    return chosen && chosen.panel.run === this.run ? chosen.id : null;
  }

  drawControl() {
    const { run } = this;
    this.control.hidden = !run;
    if (!run) return;
    const ended = run.ended?.error ?? run.error;
    this.state.textContent = `${words(run.ended?.status ?? run.status)}${ended ? `: ${printable(ended)}` : ""}`;
    this.bars.replaceChildren();
    for (const [unit, [label, read]] of Object.entries(UNITS)) {
      const limit = run.budget?.[unit];
      const used = read(run);
      if (limit == null) continue;
      const text = `${number(used ?? 0, PLACES[unit] ?? 0)} of ${number(limit, PLACES[unit] ?? 1)}`;
      this.bars.append(el("p", { class: "part" }, el("span", { class: "said", text: label }), bar((used ?? 0) / limit), el("span", { class: "count", text })));
    }
    if (!this.bars.childElementCount) this.bars.append(el("p", { class: "note", text: "no limits" }));
    this.drawSteering();
  }

  drawSteering() {
    const running = Boolean(this.run?.live && this.run.status !== "queued" && !this.run.ended);
    const id = this.chosen;
    const node = id ? this.run.tree.nodes[id] : null;
    const limited = Object.values(this.run?.budget ?? {}).some((limit) => limit != null);
    const can = {
      stop: running, raise: running && limited, free: running && limited,
      prune: running && node && node.state !== "pruned", expand: running && (id === ROOT || node?.state === "open"),
      pin: running && node?.state === "finished" && node.answer != null,
    };
    for (const [name, each] of Object.entries(this.buttons)) each.disabled = !can[name];
  }

  async steer(action, body) {
    await this.attempt(async () => {
      const data = await this.server.json(`${RUNS}/${encodeURIComponent(this.run.id)}/${action}`, body);
      if (data.budget) this.run.budget = data.budget;
      this.page.say("");
      this.drawControl();
    });
  }

  raise() {
    const limits = Object.entries(this.run.budget).filter(([, limit]) => limit != null);
    return this.steer("budget", Object.fromEntries(limits.map(([unit, limit]) => [unit, 2 * limit])));
  }

  free() {
    const limits = Object.entries(this.run.budget).filter(([, limit]) => limit != null);
    return this.steer("budget", Object.fromEntries(limits.map(([unit]) => [unit, null])));
  }
}
