"""Reward by the running totals in a path's text: each total must follow from the totals before.

A step such as "Eva has 7+5=12 pens" states a total. The next total of the same owner and thing has to start from it,
and a sum of two owners has to add what they have. Totals that the question states ("Eva has 7 pens") count too. Text
of any other form has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .protocol import ModelFreeSession, ScoredStep

TOTALS = "totals"
"""Name of the reward that checks running totals."""
CONTRADICTED_SCORE = 0.02
"""Score of a path with a total that does not follow from those before; as low as that of a false equation."""
MAX_CHARACTERS = 20_000
"""Of a longer question or step only the first so many characters are read."""

_NUMBER = r"\d{1,12}(?:,\d{3}){0,4}(?:\.\d{1,9})?"
_OWNER = r"[A-Z][a-z]{1,30}"
_THING = r"[a-z]{3,30}"
_STATED = re.compile(rf"\b({_OWNER}) (?:has|had|starts with|comes with) ({_NUMBER}) ({_THING})\b")
_SHARED = rf"{_OWNER} and {_OWNER}|All (?:three|four|five)"
_TOTAL = re.compile(
    rf"({_SHARED}|{_OWNER}) (?:then |now )?(?:has|had|have) "
    rf"({_NUMBER}(?: ?[-+*/] ?{_NUMBER}){{1,5}}) ?= ?({_NUMBER}) (more |fewer |less )?({_THING})\b"
)
_SENTENCES = re.compile(r"\n|(?<=[a-z)]\.) ")
_OPERANDS = re.compile(_NUMBER)
_PRONOUNS = frozenset("He She It They There This That We You Who The".split())
_NO_THINGS = frozenset("more fewer less times".split())


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals at one place of a path.

    `owned` is the total of each (owner, thing), `shared` the last sum of several owners as (thing, sum), None before
    one. `contradicted` is true if any total so far does not follow.
    """

    owned: Mapping[tuple[str, str], Fraction] = field(default_factory=dict[tuple[str, str], Fraction])
    shared: tuple[str, Fraction] | None = None
    contradicted: bool = False


def stated_totals(question: str) -> Totals:
    """Return the totals that a question states; the first of an owner and a thing counts."""
    owned = dict[tuple[str, str], Fraction]()
    for owner, number, thing in _STATED.findall(question[:MAX_CHARACTERS]):
        if owner not in _PRONOUNS and thing not in _NO_THINGS:
            owned.setdefault((owner, _singular(thing)), _value(number))
    return Totals(owned)


def after_step(totals: Totals, step: str) -> Totals:
    """Return the totals after one more step."""
    for sentence in _SENTENCES.split(step[:MAX_CHARACTERS]):
        match = _TOTAL.match(sentence.strip())
        if match is not None:
            totals = _after_total(totals, *match.groups())
    return totals


def contradicts(question: str, steps: Sequence[str]) -> bool:
    """Return whether a total in the steps does not follow from those before it."""
    totals = stated_totals(question)
    for step in steps:
        totals = after_step(totals, step)
    return totals.contradicted


def _after_total(totals: Totals, owner: str, expression: str, result: str, compared: str | None, thing: str) -> Totals:
    operands = [_value(each) for each in _OPERANDS.findall(expression)]
    value, thing = _value(result), _singular(thing)
    if owner in _PRONOUNS:
        return totals
    if " and " in owner:
        members = owner.split(" and ")
        held = [totals.owned.get((each, thing)) for each in members]
        follows = members[0] != members[1] and _contains(operands, held)
        return Totals(totals.owned, (thing, value), totals.contradicted or not follows)
    if owner.startswith("All "):
        follows = totals.shared is None or totals.shared[0] != thing or totals.shared[1] in operands
        return Totals(totals.owned, (thing, value), totals.contradicted or not follows)
    follows = _contains(operands, [totals.owned.get((owner, thing))])
    owned = totals.owned if compared else {**totals.owned, (owner, thing): value}
    return Totals(owned, totals.shared, totals.contradicted or not follows)


def _contains(operands: Sequence[Fraction], wanted: Sequence[Fraction | None]) -> bool:
    """Return whether each wanted value is an operand of its own; None is any."""
    left = list(operands)
    for value in wanted:
        if value is None:
            continue
        if value not in left:
            return False
        left.remove(value)
    return True


def _value(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def _singular(thing: str) -> str:
    return thing.removesuffix("s")


class TotalsReward:
    """Scores paths by the totals in their text: `CONTRADICTED_SCORE` if one does not follow, else 1.

    Nothing is said about texts without totals, so the reward is a factor for other rewards.
    """

    parameters = 0
    name = TOTALS

    async def open(self, question: str) -> TotalsSession:
        """Start a session."""
        return TotalsSession(question)


class TotalsSession(ModelFreeSession[Totals]):
    """The paths of one question."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self._stated = stated_totals(question)

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score for each path, in order."""
        return [CONTRADICTED_SCORE if self._after(step).contradicted else 1.0 for step in steps]

    def _after(self, step: ScoredStep) -> Totals:
        known = None if step.parent is None else self._kept.get(step.parent)
        if known is None:
            known = self._stated
            for earlier in step.path[:-1]:
                known = after_step(known, earlier)
        found = self._kept[step.node] = after_step(known, step.path[-1])
        return found
