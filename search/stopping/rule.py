"""The shape of a stop rule, what it looks at, and how rules are combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from ramify.errors import SearchError

if TYPE_CHECKING:
    from ..tree import SearchTree
    from ..votes import Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a rule ends a run: the rule's name, a sentence for the user, and its figures in plain JSON types."""

    rule: str
    reason: str
    detail: Mapping[str, float | str] = field(default_factory=dict[str, "float | str"])


@dataclass(frozen=True, slots=True)
class Situation:
    """How a run stands after a path has finished.

    `vote` is the vote if the run ended now. `width` is the most paths that may finish in all, those that have
    included; steering by hand can add to it.
    """

    tree: SearchTree
    vote: Vote
    width: int

    @property
    def left(self) -> int:
        """Number of paths that may still finish."""
        return max(0, self.width - self.tree.finished_count)


class StopRule(Protocol):
    """Looks at a run each time that a path has finished, and may end it early. It changes nothing."""

    name: ClassVar[str]

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        ...


@runtime_checkable
class Gauged(Protocol):
    """A stop rule that can say how far it is from stopping."""

    def standing(self, situation: Situation) -> str:
        """Return its figure and what it waits for, such as `beta 0.87 of 0.95`; "" if there is nothing to say yet."""
        ...


def standing(rule: StopRule, situation: Situation) -> str:
    """Return how far a rule is from stopping, "" if it cannot say."""
    return rule.standing(situation) if isinstance(rule, Gauged) else ""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Stops as soon as one of `rules` does; the first in order says why.

    Raises SearchError if there are none.
    """

    name: ClassVar[str] = "any-of"
    rules: Sequence[StopRule]

    def __post_init__(self) -> None:
        _check(self.rules)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return the first rule's reason, or None to go on."""
        return next((stop for rule in self.rules if (stop := rule(situation)) is not None), None)

    def standing(self, situation: Situation) -> str:
        """Return how far each rule is."""
        return _standings(self.rules, situation, ", ")


@dataclass(frozen=True, slots=True)
class AllOf:
    """Stops when all of `rules` would.

    Raises SearchError if there are none.
    """

    name: ClassVar[str] = "all-of"
    rules: Sequence[StopRule]

    def __post_init__(self) -> None:
        _check(self.rules)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return all reasons in one, or None to go on."""
        stops = [rule(situation) for rule in self.rules]
        found = [stop for stop in stops if stop is not None]
        if len(found) < len(stops):
            return None
        return Stop(
            rule=" and ".join(stop.rule for stop in found),
            reason="; ".join(stop.reason for stop in found),
            detail={f"{stop.rule}.{name}": value for stop in found for name, value in stop.detail.items()},
        )

    def standing(self, situation: Situation) -> str:
        """Return how far each rule is."""
        return _standings(self.rules, situation, " and ")


def _standings(rules: Sequence[StopRule], situation: Situation, between: str) -> str:
    return between.join(said for rule in rules if (said := standing(rule, situation)))


def _check(rules: Sequence[StopRule]) -> None:
    if not rules:
        raise SearchError("a combination of stop rules has no rules; give it at least one")
