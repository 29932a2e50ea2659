"""Contents of the panels beside the tree: the answers, the amounts used of the budget, the speed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ramify.search.node import PruneReason
from ramify.text import duration_text, one_line

from .run_view import AnswerVotes, RunView

PERIOD_S = 0.25
"""Time that one rate of the speed stands for."""


GENERATED = "generated"
"""Label of the amount of generated tokens."""
LEAST_SECONDS = 0.5
LEAST_SHARE = 0.02
"""Time and share of a limit after which the time left is told."""


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer with its paths, the sum of their scores, and its share of the deciding votes or scores, in [0, 1]."""

    answer: str
    votes: int
    weight: float
    share: float
    leads: bool


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """All answers, best first.

    `votes` paths finished with an answer, `unanswered` without one. `margin` says how far the first answer is ahead,
    "" without answers.
    """

    rows: tuple[AnswerRow, ...]
    votes: int
    unanswered: int
    margin: str


def answer_table(view: RunView) -> AnswerTable:
    """Return the answers of a run so far."""
    values = [_value(view, each) for each in view.votes]
    whole = sum(values) if view.vote != "best" else 1.0
    rows = tuple(
        AnswerRow(each.answer, each.votes, each.weight, value / whole if whole > 0 else 0.0, place == 0)
        for place, (each, value) in enumerate(zip(view.votes, values, strict=True))
    )
    votes = sum(each.votes for each in view.votes)
    return AnswerTable(rows, votes, max(0, view.tree.finished_count - votes), _margin(view, values))


def _value(view: RunView, answer: AnswerVotes) -> float:
    """Return the number by which the vote ranks an answer."""
    if view.vote == "weighted":
        return answer.weight
    if view.vote == "best":
        return view.best_score(answer.answer) or 0.0
    return float(answer.votes)


def _margin(view: RunView, values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return "no other answer"
    ahead = values[0] - values[1]
    if view.vote == "majority":
        votes = round(ahead)
        return "level with the next" if not votes else f"{votes} vote{'s' if votes > 1 else ''} ahead"
    return f"{ahead:.2f} {'weight' if view.vote == 'weighted' else 'score'} ahead"


def prune_text(reason: PruneReason | None) -> str:
    """Return in words why a node was given up, "" for None."""
    return "" if reason is None else _PRUNED.get(str(reason), str(reason).replace("_", " "))


_PRUNED = {
    "allocation": "got no share",
    "budget": "budget ended",
    "confidence": "unlikely tokens",
    "depth": "too deep",
    "duplicate": "says the same",
    "empty": "empty step",
    "path_length": "path too long",
    "stopped": "run ended",
    "user": "pruned by hand",
}


@dataclass(frozen=True, slots=True)
class UsedAmount:
    """An amount that was used; `limit` None means that there is none.

    `kind` is tokens, flops, seconds, nodes, joules, estimated joules, or the currency of a cost.
    """

    label: str
    used: float
    limit: float | None
    kind: str

    @property
    def share(self) -> float:
        """The share used, from 0 to 1; 0 without a limit."""
        return min(1.0, self.used / self.limit) if self.limit else 0.0

    @property
    def text(self) -> str:
        """The amount and its limit in words."""
        used = amount_text(self.used, self.kind)
        return used if self.limit is None else f"{used} of {amount_text(self.limit, self.kind)}"


def used_amounts(view: RunView, seconds: float, *, uses_reward: bool = True) -> list[UsedAmount]:
    """Return an amount for each cost, those with a limit first.

    `seconds` is the time that the run has taken. That of the reward is left out without `uses_reward`.
    """
    usage, budget = view.usage, view.budget
    read = 0 if usage is None else usage.policy.prompt_tokens + usage.policy.reevaluated_tokens
    scored = 0 if usage is None else usage.reward.evaluated_tokens
    flops = 0.0 if usage is None else usage.flops
    generated = view.generated_tokens
    if usage is not None and view.phase.over:
        generated = usage.policy.generated_tokens
    limits = {name: None if budget is None else getattr(budget, name) for name in _LIMITS}
    found = [
        UsedAmount(GENERATED, generated, limits["generated_tokens"], "tokens"),
        UsedAmount("time", seconds, limits["seconds"], "seconds"),
        *([UsedAmount("reward", scored, None, "tokens")] if uses_reward or scored else []),
        UsedAmount("compute", flops, limits["flops"], "flops"),
    ]
    if limits["total_tokens"] is not None:
        found.append(UsedAmount("all tokens", generated + read + scored, limits["total_tokens"], "tokens"))
    if limits["nodes"] is not None:
        found.append(UsedAmount("steps", view.step_count, limits["nodes"], "nodes"))
    if usage is not None and usage.energy_j is not None:
        kind = "estimated joules" if usage.energy_source == "estimate" else "joules"
        found.append(UsedAmount("energy", usage.energy_j, limits["joules"], kind))
    if usage is not None and usage.cost is not None:
        found.append(UsedAmount("cost", usage.cost, limits["cost"], usage.currency or ""))
    return sorted(found, key=lambda each: each.limit is None)


def time_left_s(view: RunView, seconds: float) -> float | None:
    """Return the seconds until a limit of the budget is reached at this speed, None if that cannot be told yet.

    The search may end earlier, when it has the paths that were asked for.
    """
    if view.phase.over or view.budget is None:
        return None
    found = list[float]()
    if view.budget.seconds is not None:
        found.append(view.budget.seconds - seconds)
    shares = [view.fraction or 0.0]
    if view.budget.generated_tokens is not None:
        shares.append(view.generated_tokens / view.budget.generated_tokens)
    if seconds >= LEAST_SECONDS and max(shares) >= LEAST_SHARE:
        found.append(seconds / max(shares) - seconds)
    return max(0.0, min(found)) if found else None


def amount_text(value: float, kind: str) -> str:
    """Return an amount in few characters; `kind` is as in `UsedAmount`."""
    if kind == "seconds":
        return duration_text(value)
    if kind == "flops":
        return _scaled(value, ("", "k", "M", "G", "T", "P")) + "FLOP"
    if kind in ("joules", "estimated joules"):
        return _scaled(value, ("", "k", "M", "G")) + ("J" if kind == "joules" else "J (estimate)")
    if kind not in ("tokens", "nodes"):
        return f"{value:.3g} {kind}"
    return f"{round(value):,}" if value < 100_000 else _scaled(value, ("", "k", "M", "G"))


def _scaled(value: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}".rstrip() + ("" if unit else " ")
        value /= 1000
    return f"{value:.3g} {units[-1]}"


END_TEXTS = {
    "": "done",
    "completed": "done",
    "user": "stopped by you",
    "early_stop": "settled early",
    "budget_generated_tokens": "token limit",
    "budget_total_tokens": "limit of all tokens",
    "budget_flops": "compute limit",
    "budget_seconds": "time limit",
    "budget_nodes": "step limit",
    "budget_joules": "energy limit",
    "budget_cost": "cost limit",
}
"""Reasons of a run's end in few words."""


def same_answer(one: str | None, other: str | None) -> bool:
    """Tell whether two answers mean the same, as far as that is seen at once; False where one is None."""
    from ramify.answers.checkers import DEFAULT_CHECK, make_checker

    if one is None or other is None:
        return False
    return one_line(one) == one_line(other) or make_checker(DEFAULT_CHECK).accepts_quickly(one, other) is True


_LIMITS = ("generated_tokens", "total_tokens", "flops", "seconds", "nodes", "joules", "cost")


class Speed:
    """Tokens per second in periods of PERIOD_S, newest last; `sample` is called at least that often."""

    def __init__(self, kept: int = 240) -> None:
        self.rates: deque[float] = deque(maxlen=kept)
        self._tokens = 0
        self._since_s: float | None = None

    def sample(self, now_s: float, tokens: int) -> None:
        """Take the number of tokens so far; the first call only starts the clock."""
        if self._since_s is None:
            self._since_s, self._tokens = now_s, tokens
        elif now_s - self._since_s >= PERIOD_S:
            self.rates.append(max(0, tokens - self._tokens) / (now_s - self._since_s))
            self._since_s, self._tokens = now_s, tokens

    @property
    def current(self) -> float:
        """Tokens per second over the last second, 0 before anything is known."""
        recent = list(self.rates)[-4:]
        return sum(recent) / len(recent) if recent else 0.0
