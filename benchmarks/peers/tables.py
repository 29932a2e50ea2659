"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from results import Entry, Item, Results

from ramify.scaling.fits import Array
from ramify.statistics import Estimate, bootstrap_ratio, paired_difference, wilson
from ramify.tables import markdown_table


def tables(results: Results) -> str:
    """Return all tables."""
    whole = [each for each in results.entries if each.items and each.failure is None]
    parts = [_costs(whole, results), _equal(whole), _failures(results.entries)]
    return "\n\n".join(part for part in parts if part)


def _costs(entries: Sequence[Entry], results: Results) -> str:
    limit = int(results.settings["budget_tokens"])
    base = next((each for each in entries if each.side == "ramify" and each.name == "majority"), None)
    head = "side, method, accuracy, 95 % interval, policy tokens, of these generated, all tokens, seconds, ratio"
    rows = list[tuple[str, ...]]()
    for entry in entries:
        right, count = sum(item.correct for item in entry.items), len(entry.items)
        low, high = wilson(right, count)
        seconds = _mean(entry, lambda item: item.seconds)
        ratio = "" if base is None else f"{seconds / _mean(base, lambda item: item.seconds):.2f}"
        rows.append(
            (
                entry.side,
                entry.name,
                f"{right / count:.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{_mean(entry, lambda item: item.policy_tokens):.0f}",
                f"{_mean(entry, lambda item: item.generated_tokens):.0f}",
                f"{_mean(entry, _all_tokens):.0f}",
                f"{seconds:.3f}",
                ratio,
                _honoured(entry, limit),
            )
        )
    return markdown_table([*head.split(", "), f"budget of {limit} generated tokens"], rows)


def _honoured(entry: Entry, limit: int) -> str:
    over = [item.generated_tokens for item in entry.items if item.generated_tokens > limit]
    return f"exceeded on {len(over)} of {len(entry.items)}, by up to {max(over) - limit}" if over else "kept"


def _equal(entries: Sequence[Entry]) -> str:
    """Return, for each peer, the quickest search of ramify that is not shown to be less accurate.

    Two runs of one search differ by their draws alone, so there are 95 % intervals over problems.
    """
    ours = [entry for entry in entries if entry.side == "ramify"]
    peers = [entry for entry in entries if not entry.side.startswith("ramify")]
    if not ours or not peers:
        return ""
    head = (
        "peer",
        "ramify",
        "accuracy, ramify - peer",
        "seconds, ramify / peer",
        "all tokens, ramify / peer",
        "half the seconds and not more tokens",
    )
    rows = list[tuple[str, ...]]()
    for peer in peers:
        able = [entry for entry in ours if _gain(entry, peer).high >= 0]
        if not able:
            rows.append((f"{peer.side}, {peer.name}", "none", "", "", "", "no"))
            continue
        best = min(able, key=lambda entry: _mean(entry, lambda item: item.seconds))
        time = _ratio(best, peer, lambda item: item.seconds)
        tokens = _ratio(best, peer, _all_tokens)
        met = "yes" if time.value <= 0.5 and tokens.low <= 1.0 else "no"
        gain = str(_gain(best, peer))
        rows.append((f"{peer.side}, {peer.name}", best.name, gain, _shown(time), _shown(tokens), met))
    return markdown_table(head, rows)


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"


def _gain(entry: Entry, peer: Entry) -> Estimate:
    ours, theirs = _pairs(entry, peer, lambda item: float(item.correct))
    return paired_difference(ours, theirs)


def _ratio(entry: Entry, peer: Entry, value: Callable[[Item], float]) -> Estimate:
    return bootstrap_ratio(*_pairs(entry, peer, value))


def _pairs(entry: Entry, peer: Entry, value: Callable[[Item], float]) -> tuple[Array, Array]:
    """Return both sides' figures for the problems that both have solved."""
    theirs = {item.problem: item for item in peer.items}
    both = [(value(item), value(theirs[item.problem])) for item in entry.items if item.problem in theirs]
    return np.array([each for each, _ in both]), np.array([each for _, each in both])


def _failures(entries: Sequence[Entry]) -> str:
    rows = [(f"{each.side}, {each.name}", _line(each.failure)) for each in entries if each.failure]
    for entry in entries:
        wrong = [item.error for item in entry.items if item.error]
        if wrong:
            why = f"{len(wrong)} problems without an answer: {_line(wrong[0])}"
            rows.append((f"{entry.side}, {entry.name}", why))
    return markdown_table(("failed", "why"), rows) if rows else "Nothing failed to run."


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _mean(entry: Entry, value: Callable[[Item], float]) -> float:
    return sum(value(item) for item in entry.items) / len(entry.items)


def _all_tokens(item: Item) -> int:
    return item.policy_tokens + item.reward_tokens
