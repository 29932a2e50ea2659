"""Tables of a report: totals, costs, groups and the worst items of a run, and the comparison of two runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.statistics import quantile, wilson
from ramify.usage import RoleUsage

from .analysis import Analysis, ItemFigures, Share
from .compare import Comparison


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text cells with its title. `head` is all "" without headings; `note` stands below, "" for none."""

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
        Table(
            "Cut by a limit with no answer",
            ("limit", "items"),
            tuple((each.replace("_", " "), _count(n)) for each, n in analysis.cut.items()),
            "They count as not right in the accuracy over all; `ramify batch run` with --retry cut does them again.",
        ),
        Table("Notes of searches", ("note", "items"), tuple((each, _count(n)) for each, n in report.notes.items())),
        Table("Errors", ("error", "items"), tuple((each, _count(n)) for each, n in report.errors.items())),
        Table(
            "Wrong and failed, the surest first",
            ("id", "answer", "right", "agreement", "score", "tokens", "tree"),
            tuple(_worst_row(analysis, each) for each in analysis.worst),
        ),
    ]
    return [table for table in found if table.rows]


def searches_table(analysis: Analysis) -> list[Table]:
    """Return the table of all items whose trees were saved, none if there are none."""
    rows = [
        (
            item.id if item.repeat == 0 else f"{item.id} (repeat {item.repeat})",
            item.answer or "-",
            item.gold or "-",
            {True: "right", False: "wrong", None: "-"}[item.correct],
            _count(item.generated_tokens),
            tree,
        )
        for item in analysis.items
        if (tree := analysis.tree_of(item)) is not None
    ]
    head = ("id", "answer", "right answer", "verdict", "tokens", "tree")
    return [Table("Searches", head, tuple(rows))] if rows else []


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
    states += f", {report.cut} cut by a limit with no answer" if report.cut else ""
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
        every = f"{percent(report.accuracy)} (95 % interval {percent(report.low)} to {percent(report.high)})"
        if report.graded_answered == report.graded:
            return [*rows, ("accuracy", every)]
        low, high = percent(report.low_answered), percent(report.high_answered)
        answered = f"{percent(report.accuracy_answered)} (95 % interval {low} to {high})"
        rows.append((f"accuracy over all {_count(report.graded)}", every))
        rows.append((f"accuracy over the {_count(report.graded_answered)} answered", answered))
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
        *(
            [row("of these, begins of prompts", lambda role: role.reused_tokens - role.stored_tokens)]
            if policy.reused_tokens > policy.stored_tokens
            else []
        ),
        *([row("generated or read, from the store", lambda role: role.stored_tokens)] if policy.stored_tokens else []),
        row("FLOPs", lambda role: role.flops, lambda value: f"{value:.3g}"),
        ("seconds", "", "", f"{report.wall_seconds:,.1f}"),
        ("generated tokens/s", "", "", f"{report.tokens_per_s:,.0f}"),
    ]
    if report.usage.energy_j is not None:
        rows.append((f"joules ({report.usage.energy_source})", "", "", f"{report.usage.energy_j:,.4g}"))
    if report.usage.cost is not None:
        rows.append((f"cost in {report.usage.currency}", "", "", f"{report.usage.cost:.4g}"))
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
        return (
            "From the stored paths: of each item the first k that ended, or all if fewer did; an item without any "
            "counts as wrong."
        )
    return "From the stored paths. They depend on each other, so there is no vote among fewer of them."


def _spread_row(title: str, values: Sequence[float]) -> tuple[str, ...]:
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


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _figure(value: float) -> str:
    return f"{value:.3g}"
