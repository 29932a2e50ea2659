"""A report as text, Markdown, CSV and JSON: first tables, then what they look like."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.statistics import wilson
from ramify.usage import RoleUsage

from .analysis import Analysis, ItemFigures, Share
from .compare import Comparison

FORMATS = ("text", "json", "csv", "markdown", "html")
_ITEM_COLUMNS = (
    "id repeat status correct answer gold score agreement generated_tokens total_tokens flops seconds stop_reason error"
).split()
_LONGEST_CELL = 60


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its title; all cells are text. `note` says what a reader must know, "" nothing."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def tables(analysis: Analysis) -> list[Table]:
    """Return the tables of one run; those without rows are left out."""
    report, items = analysis.report, analysis.items
    found = [
        Table("Run", ("", ""), tuple(_facts(analysis))),
        Table("Cost", ("", "policy", "reward", "both"), tuple(_costs(analysis))),
        Table(
            "Cost of an item",
            ("", "mean", "median", "95 %", "most"),
            (
                _spread_row("generated tokens", [each.generated_tokens for each in items]),
                _spread_row("FLOPs", [each.flops for each in items]),
                _spread_row("seconds", [each.seconds for each in items]),
            ),
        ),
        *(_share_table(f"By {name}", name, shares) for name, shares in analysis.groups.items()),
        _share_table("By stop reason", "stop reason", analysis.stop_reasons),
        _share_table("Votes held again", "rule", analysis.votes, _vote_note(analysis)),
        _share_table("By agreement of the votes", "agreement", analysis.agreement),
        _share_table(
            "Calibration of the scores", "score", analysis.calibration, "Share of right answers among paths by score."
        ),
        Table("How steps ended", ("end", "steps"), tuple((each, _count(n)) for each, n in analysis.cut_steps.items())),
        Table("Errors", ("error", "items"), tuple((each, _count(n)) for each, n in report.errors.items())),
        Table(
            "Wrong and failed, the surest first",
            ("id", "answer", "right", "agreement", "score", "tokens", "tree"),
            tuple(_worst_row(analysis, each) for each in analysis.worst),
        ),
    ]
    return [table for table in found if table.rows]


def comparison_table(comparison: Comparison) -> Table:
    """Return the table of one comparison."""
    rows = [("problems in common", _count(comparison.problems))]
    if comparison.p_value is not None:
        rows += [
            ("both right", _count(comparison.both or 0)),
            ("only the first right", _count(comparison.only_first or 0)),
            ("only the second right", _count(comparison.only_second or 0)),
            ("both wrong", _count(comparison.neither or 0)),
            ("McNemar's exact p", f"{comparison.p_value:.3g}"),
        ]
    gain = f"{comparison.difference:+.1%} ({comparison.low:+.1%} to {comparison.high:+.1%})"
    rows.append(("accuracy of the second minus the first", gain))
    if comparison.token_ratio is not None:
        rows.append(("generated tokens, second / first", f"{comparison.token_ratio:.2f}"))
    return Table(
        f"{comparison.first} against {comparison.second}",
        ("", ""),
        tuple(rows),
        "Interval: 95 %, paired bootstrap over problems.",
    )


def as_text(parts: Sequence[Table]) -> str:
    """Return aligned columns under their titles."""
    return "\n".join(_text_table(each) for each in parts)


def as_markdown(parts: Sequence[Table]) -> str:
    """Return Markdown tables under headings."""
    return "\n".join(_markdown_table(each) for each in parts)


def as_csv(analyses: Sequence[Analysis]) -> str:
    """Return one line for each item, with the fields of its problem; the run comes first if there are several."""
    fields = sorted({name for analysis in analyses for each in analysis.items for name in each.metadata})
    several = len(analyses) > 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(["run"] if several else []), *_ITEM_COLUMNS, *fields])
    for analysis in analyses:
        for each in analysis.items:
            run = [str(analysis.folder)] if several else []
            values = [getattr(each, name) for name in _ITEM_COLUMNS]
            writer.writerow([*run, *values, *(each.metadata.get(name) for name in fields)])
    return text.getvalue().rstrip("\n")


def as_json(analyses: Sequence[Analysis], comparisons: Sequence[Comparison]) -> str:
    """Return one object: that of the run, or `runs` and `comparisons` if there are several."""
    runs = [each.to_dict() for each in analyses]
    value = runs[0] if len(runs) == 1 else {"runs": runs, "comparisons": [each.to_dict() for each in comparisons]}
    return json.dumps(value, ensure_ascii=False, indent=2)


def present(analyses: Sequence[Analysis], comparisons: Sequence[Comparison], form: str) -> str:
    """Return the report on some runs as `form`: one of FORMATS."""
    if form == "json":
        return as_json(analyses, comparisons)
    if form == "csv":
        return as_csv(analyses)
    if form == "html":
        from .page import page

        return page(analyses, comparisons)
    parts = [table for each in analyses for table in tables(each)] + [comparison_table(each) for each in comparisons]
    return (as_markdown(parts) if form == "markdown" else as_text(parts)).rstrip("\n")


def percent(share: float | None) -> str:
    """Return a share as a percentage, "-" for None."""
    return "-" if share is None else f"{share:.1%}"


def _facts(analysis: Analysis) -> list[tuple[str, str]]:
    report, manifest = analysis.report, analysis.manifest
    strategy = manifest.get("configuration", {}).get("strategy", {})
    settings = ", ".join(f"{name} {value}" for name, value in strategy.items() if name != "name")
    model: Mapping[str, Any] = manifest.get("model") or {}
    reward: Mapping[str, Any] | None = manifest.get("reward")
    states = f"{report.done} of {report.items} done"
    states += f", {report.failed} failed" if report.failed else ""
    states += f", {report.pending} to do" if report.pending else ""
    rows = [
        ("folder", str(analysis.folder)),
        ("model", str(model.get("name", "-"))),
        ("reward", "-" if reward is None else str(reward["name"])),
        *([("fallback", _fallback(manifest))] if "fallback" in manifest else []),
        ("strategy", f"{strategy.get('name', '-')} ({settings})"),
        ("items", states),
        ("with an answer", _count(report.answered)),
    ]
    if report.graded:
        rows.append(("correct", f"{report.correct} of {report.graded}"))
        rows.append(
            ("accuracy", f"{percent(report.accuracy)} (95 % interval {percent(report.low)} to {percent(report.high)})")
        )
    return rows


def _fallback(manifest: Mapping[str, Any]) -> str:
    confidence = manifest["configuration"]["fallback"]["confidence"]
    return f"{manifest['fallback']['name']} below a certainty of {confidence:g}"


def _costs(analysis: Analysis) -> list[tuple[str, ...]]:
    report = analysis.report
    policy, reward = report.usage.policy, report.usage.reward

    def row(title: str, value: Callable[[RoleUsage], float], form: Callable[[float], str] = _count) -> tuple[str, ...]:
        return title, form(value(policy)), form(value(reward)), form(value(policy) + value(reward))

    rows = [
        row("tokens generated", lambda role: role.generated_tokens),
        row("of these, evaluated for other paths too", lambda role: role.shared_tokens),
        row("tokens read", lambda role: role.prompt_tokens),
        row("tokens read again", lambda role: role.reevaluated_tokens),
        row("tokens from the cache", lambda role: role.cached_tokens),
        row("FLOPs", lambda role: role.flops, lambda value: f"{value:.3g}"),
        ("seconds", "", "", f"{report.wall_seconds:,.1f}"),
        ("generated tokens/s", "", "", f"{report.tokens_per_s:,.0f}"),
    ]
    wasted = report.other_usage.policy.generated_tokens
    return [*rows, ("generated in vain", _count(wasted), "", "")] if wasted else rows


def _share_table(title: str, name: str, shares: Sequence[Share], note: str = "") -> Table:
    with_tokens = any(each.tokens is not None for each in shares)
    head = (name, "items", "correct", "accuracy", "95 % interval", *(("tokens",) if with_tokens else ()))
    return Table(title, head, tuple(_share_row(each, with_tokens=with_tokens) for each in shares), note)


def _share_row(share: Share, *, with_tokens: bool) -> tuple[str, ...]:
    low, high = wilson(share.successes, share.trials)
    tokens = "-" if share.tokens is None else f"{share.tokens:,.0f}"
    cells = (share.label, _count(share.trials), _count(share.successes), percent(share.share))
    return (*cells, f"{percent(low)} to {percent(high)}", *((tokens,) if with_tokens else ()))


def _vote_note(analysis: Analysis) -> str:
    if any("k=" in each.label for each in analysis.votes):
        return "From the stored paths, the first k of each item; an item with fewer finished paths is left out at k."
    return "From the stored paths. They depend on each other, so there is no vote among fewer of them."


def _spread_row(title: str, values: Sequence[float]) -> tuple[str, ...]:
    from ramify.statistics import quantile

    form = _figure if max(values, default=0) >= 1e6 or max(values, default=0) < 100 else _count
    mean = sum(values) / len(values) if values else 0.0
    return title, *(
        form(each) for each in (mean, quantile(values, 0.5), quantile(values, 0.95), max(values, default=0))
    )


def _worst_row(analysis: Analysis, item: ItemFigures) -> tuple[str, ...]:
    agreement = "-" if item.agreement is None else f"{item.agreement:.0%}"
    score = "-" if item.score is None else f"{item.score:.3f}"
    answer = item.error or item.answer or "-"
    return (
        item.id if item.repeat == 0 else f"{item.id} (repeat {item.repeat})",
        answer,
        item.gold or "-",
        agreement,
        score,
        _count(item.generated_tokens),
        analysis.tree_of(item) or "-",
    )


def _text_table(table: Table) -> str:
    cells = [[_one_line(cell) for cell in row] for row in table.rows]
    head = [table.head] if any(table.head) else []
    widths = [max(len(cell) for cell in column) for column in zip(*head, *cells, strict=True)]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (*head, *cells)
    ]
    note = [f"  {table.note}"] if table.note else []
    return "\n".join([table.title, *lines, *note, ""])


def _markdown_table(table: Table) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_one_line(cell).replace("|", "\\|") for cell in cells) + " |"

    lines = [f"## {_one_line(table.title)}", "", line(table.head), "|" + " --- |" * len(table.head)]
    note = ["", table.note] if table.note else []
    return "\n".join([*lines, *map(line, table.rows), *note, ""])


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_CELL else line[: _LONGEST_CELL - 1] + "…"


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _figure(value: float) -> str:
    return f"{value:.3g}"
