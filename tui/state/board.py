"""The vote as it stands, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from .run_view import Group, RunView


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """An answer with its paths, the sum of their scores, and its share of what decides, in [0, 1]."""

    answer: str
    votes: int
    weight: float
    share: float
    leads: bool


@dataclass(frozen=True, slots=True)
class Board:
    """All answers, best first. `margin` says how far the first is ahead, "" without answers."""

    rows: tuple[AnswerRow, ...]
    votes: int
    unanswered: int
    margin: str


def answer_board(view: RunView) -> Board:
    """Return the answers of a run so far; `unanswered` paths ended without one."""
    values = [_value(view, group) for group in view.groups]
    whole = sum(values) if view.vote != "best" else 1.0
    rows = tuple(
        AnswerRow(group.answer, group.votes, group.weight, value / whole if whole > 0 else 0.0, place == 0)
        for place, (group, value) in enumerate(zip(view.groups, values, strict=True))
    )
    votes = sum(group.votes for group in view.groups)
    return Board(rows, votes, max(0, len(view.finished) - votes), _margin(view, values))


def _value(view: RunView, group: Group) -> float:
    if view.vote == "weighted":
        return group.weight
    if view.vote == "best":
        return view.best_score(group.answer) or 0.0
    return float(group.votes)


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
