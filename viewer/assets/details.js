// Details of the selected step, and the table that compares two runs.

function detailsOf(panel, id) {
  const { run } = panel;
  const node = run.tree.nodes[id];
  if (!node || id === ROOT) {
    return [el("h2", { text: "Question" }), el("pre", { class: "text", text: printable(run.question).trim() || "(no question)" })];
  }
  const facts = [
    ["State", words(node.state) + (node.prune_reason ? `, ${words(node.prune_reason)}` : "")],
    ["Score", node.score == null ? "-" : node.score.toFixed(4)],
    ["Answer", node.answer == null ? null : printable(node.answer)],
    ["Tokens", number(node.token_count)],
    ["Log-probability", node.logprob == null ? null : node.logprob.toFixed(3)],
    ["Step ended by", node.finish_reason ? words(node.finish_reason) : null],
    ["Origin", node.origin && node.origin !== "model" ? words(node.origin) : null],
    ["About", node.about == null ? null : `step ${node.about}`],
    ["Below", `${number(run.tree.children[id].length)} children, ${number(run.tree.below[id])} steps`],
  ];
  const list = el("dl", { class: "pairs" });
  for (const [name, value] of facts) {
    if (value !== null) list.append(el("dt", { text: name }), el("dd", { text: value }));
  }
  const made = [el("h2", { text: `Step ${id}${run.winning.has(id) ? ", winning path" : ""}` }), list];
  const parts = Object.entries(node.scores ?? {});
  if (parts.length) {
    const rows = parts.map(([name, score]) =>
      el("p", { class: "part" }, el("span", { class: "said", text: oneLine(name, 60) }), bar(score), el("span", { class: "count", text: Number(score).toFixed(3) })));
    made.push(el("h3", { text: "Scores of the reward's parts" }), ...rows);
  }
  made.push(el("h3", { text: "Text" }), el("pre", { class: "text", text: printable(node.text) }));
  const path = run.tree.path(id);
  if (path.length > 1) made.push(el("h3", { text: `Path of ${path.length} steps` }), pathList(panel, path, id));
  return made;
}

function pathList(panel, path, selected) {
  const { tree } = panel.run;
  return el("ol", { class: "path" }, ...path.map((id) => {
    const node = tree.nodes[id];
    const score = el("span", { class: "score", text: node.score == null ? "" : node.score.toFixed(2) });
    if (node.score != null) {
      const { fill, ink } = scoreColour(node.score);
      score.style.background = fill;
      score.style.color = ink;
    }
    return el("li", {}, el("button", { type: "button", class: "link", "aria-current": id === selected ? "step" : null, onclick: () => panel.outline.reveal(id) },
      score, el("span", { text: printable(node.text).trim() || "(no text)" })));
  }));
}

// Figures of two runs beside each other.
function comparison(left, right) {
  const value = (read) => [left, right].map((run) => (run.solution ? read(run.solution, run.facts) : read(null, run.facts)) ?? "-");
  const rows = [
    ["Answer", ...value((solution) => solution && (solution.answer == null ? "none" : oneLine(solution.answer, 60)))],
    ["Score", ...value((solution) => (solution?.score == null ? null : solution.score.toFixed(3)))],
    ["Strategy", ...value((solution) => solution && oneLine(`${solution.strategy.name ?? ""} ${solution.strategy.width ?? ""}`, 40))],
    ["Stopped by", ...value((solution) => solution && words(solution.stop_reason))],
    ["Steps", ...value((solution, facts) => number(facts.steps))],
    ["Finished paths", ...value((solution, facts) => number(facts.finished))],
    ["Pruned steps", ...value((solution, facts) => number(facts.pruned))],
    ["Generated tokens", ...value((solution, facts) => number(solution?.usage?.policy?.generated_tokens ?? facts.tokens))],
    ["All evaluated tokens", ...value((solution) => solution && number(solution.usage?.total_tokens))],
    ["FLOPs", ...value((solution) => solution && number(solution.usage?.flops))],
    ["Seconds", ...value((solution) => solution && number(solution.usage?.seconds, 2))],
  ];
  const head = el("tr", {}, el("td"), ...[left, right].map((run) => el("th", { scope: "col", text: oneLine(run.title ?? run.question, 40) || "run" })));
  const body = rows.map(([name, ...cells]) => {
    const differ = cells[0] !== cells[1];
    return el("tr", { class: differ ? "differ" : null }, el("th", { scope: "row", text: name }), ...cells.map((text) => el("td", { text })));
  });
  const common = commonSteps(left.tree, right.tree);
  const caption = `${number(common)} steps stand at the same place with the same text in both trees`;
  return el("table", { class: "compare" }, el("caption", { text: caption }), el("thead", {}, head), el("tbody", {}, ...body));
}

function commonSteps(left, right) {
  const place = (node) => (node.path ?? []).join(".");
  const texts = new Map(left.nodes.map((node) => [place(node), node.text]));
  return right.nodes.filter((node) => node.id !== ROOT && texts.get(place(node)) === node.text).length;
}
