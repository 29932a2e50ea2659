"""Stop reasons of runs, and stop rules that end a run early when continuing is not worth it.

Each rule takes time in proportion to the finished paths, at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from itertools import takewhile
from math import floor
from typing import ClassVar, Protocol, runtime_checkable

from ramify.errors import SearchError
from ramify.text import nearest, shorten

from .tree import SearchTree
from .votes import AnswerGroup, Vote, VoteRule, vote_posterior, weighted_posteriors


class StopReason(StrEnum):
    """Reason why a run ended."""

    COMPLETED = auto()
    """The strategy had nothing left to do."""
    BUDGET_GENERATED_TOKENS = auto()
    """The limit of generated tokens was reached."""
    BUDGET_TOTAL_TOKENS = auto()
    """The limit of all evaluated tokens was reached."""
    BUDGET_FLOPS = auto()
    """The limit of floating point operations was reached."""
    BUDGET_SECONDS = auto()
    """The time was up."""
    BUDGET_NODES = auto()
    """The limit of nodes was reached."""
    BUDGET_JOULES = auto()
    """The limit of energy was reached."""
    BUDGET_COST = auto()
    """The limit of money was reached."""
    EARLY_STOP = auto()
    """A stop rule ended it."""
    USER = auto()
    """Stopped by the user; the best answer so far is the result."""
    FAILED = auto()
    """An error ended it; only the terminal UI saves such runs, with the error as the reason of their `Stop`."""

    @property
    def is_budget(self) -> bool:
        """True if a limit of the budget ended the run."""
        return self.startswith("budget_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Decision of a rule to end a run: the name of the rule, a sentence for the user, and figures in JSON types."""

    rule: str
    reason: str
    detail: Mapping[str, float | str] = field(default_factory=dict[str, "float | str"])


@dataclass(frozen=True, slots=True)
class Situation:
    """State of a run after a path has finished.

    `vote` is the vote if the run ended now. `width` is the most paths that may finish in all, including those that
    have; the user's steering can add to it.
    """

    tree: SearchTree
    vote: Vote
    width: int

    @property
    def voting(self) -> tuple[AnswerGroup, ...]:
        """The groups of equal answers, () for answers that do not vote: no rule can count on their numbers."""
        return self.vote.groups if self.vote.kind.votes else ()

    @property
    def left(self) -> int:
        """Number of paths that may still finish."""
        return max(0, self.width - self.tree.finished_count)


class StopRule(Protocol):
    """A rule that is called each time that a path has finished, and may end the run early. It changes nothing."""

    name: ClassVar[str]

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        ...


@runtime_checkable
class Gauged(Protocol):
    """A stop rule that can report how far it is from stopping."""

    def standing(self, situation: Situation) -> str:
        """Return its figure and the threshold, such as `beta 0.87 of 0.95`; "" if there is none yet."""
        ...


def standing(rule: StopRule, situation: Situation) -> str:
    """Return how far a rule is from stopping, "" if it cannot report it."""
    return rule.standing(situation) if isinstance(rule, Gauged) else ""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Stop as soon as one of `rules` does; the first in order gives the reason.

    Raises:
        SearchError: if there are none.
    """

    name: ClassVar[str] = "any-of"
    rules: Sequence[StopRule]

    def __post_init__(self) -> None:
        _check_rules(self.rules)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return the first rule's reason, or None to continue."""
        return next((stop for rule in self.rules if (stop := rule(situation)) is not None), None)

    def standing(self, situation: Situation) -> str:
        """Return how far each rule is."""
        return _standings(self.rules, situation, ", ")


@dataclass(frozen=True, slots=True)
class AllOf:
    """Stop when all of `rules` would.

    Raises:
        SearchError: if there are none.
    """

    name: ClassVar[str] = "all-of"
    rules: Sequence[StopRule]

    def __post_init__(self) -> None:
        _check_rules(self.rules)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return all reasons in one, or None to continue."""
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


def _check_rules(rules: Sequence[StopRule]) -> None:
    if not rules:
        raise SearchError("a combination of stop rules has no rules; give it at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaMajority:
    """Stop when the most frequent answer is truly the likelier of the two most frequent ones, with `confidence`.

    Adaptive-Consistency (arXiv 2305.11860), with its 0.95 by default. All third answers are ignored. At least
    `min_paths` must have voted.

    Raises:
        SearchError: if an option is out of range.
    """

    name: ClassVar[str] = "beta"
    confidence: float = 0.95
    min_paths: int = 2

    def __post_init__(self) -> None:
        _check_share("confidence", self.confidence)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        posterior = self._posterior(situation)
        if posterior is None or posterior < self.confidence:
            return None
        return Stop(
            rule=self.name,
            reason=f"{situation.vote.groups[0].answer} is the likeliest answer with {posterior:.1%}",
            detail={"posterior": posterior, "confidence": self.confidence},
        )

    def standing(self, situation: Situation) -> str:
        """Return the posterior and the confidence."""
        return _of(self.name, self._posterior(situation), self.confidence)

    def _posterior(self, situation: Situation) -> float | None:
        groups = situation.voting
        if sum(group.count for group in groups) < self.min_paths or situation.vote.rule is VoteRule.BEST:
            return None
        # The vote may be by score; then the most frequent answer need not be the one that leads.
        most = max((group.count for group in groups), default=0)
        return vote_posterior(situation.vote) if groups and groups[0].count == most else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedPosterior:
    """Stop when the leading answer's posterior, from all paths and their scores, reaches `confidence`.

    Raises:
        SearchError: if an option is out of range.
    """

    name: ClassVar[str] = "posterior"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_share("confidence", self.confidence)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        posterior = self._posterior(situation)
        if posterior is None or posterior < self.confidence:
            return None
        return Stop(
            rule=self.name,
            reason=f"{situation.vote.groups[0].answer} is right with {posterior:.1%}, if the scores can be believed",
            detail={"posterior": posterior, "confidence": self.confidence},
        )

    def standing(self, situation: Situation) -> str:
        """Return the posterior and the confidence."""
        return _of(self.name, self._posterior(situation), self.confidence)

    def _posterior(self, situation: Situation) -> float | None:
        groups = situation.voting
        if not groups or any(member.score is None for group in groups for member in group.members):
            return None
        return weighted_posteriors([[member.score or 0.0 for member in group.members] for group in groups])[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementWindow:
    """Stop when the last `window` paths that finished all gave the leading answer.

    Early-stopping self-consistency (Li et al., arXiv 2401.10480), which uses windows of samples. Paths are ordered by
    their child numbers, not by time, so that scheduling cannot change the outcome: only paths before all unfinished
    ones count.

    Raises:
        SearchError: if an option is out of range.
    """

    name: ClassVar[str] = "window"
    window: int = 5

    def __post_init__(self) -> None:
        _check_whole("window", self.window)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        if self._agreeing(situation) < self.window:
            return None
        return Stop(
            rule=self.name,
            reason=f"the last {self.window} paths agree on {situation.vote.groups[0].answer}",
            detail={"window": self.window},
        )

    def standing(self, situation: Situation) -> str:
        """Return the number of the last paths that agree, and the number that must."""
        return f"{self.name} {min(self.window, self._agreeing(situation))} of {self.window}"

    def _agreeing(self, situation: Situation) -> int:
        """Return the number of paths, from the last one back, that gave the leading answer."""
        tree, groups = situation.tree, situation.voting
        open_paths = [node.path for node in (*tree.pending(), *tree.open_leaves()) if node.path]
        first_open = min(open_paths, default=None)
        done = [node.id for node in tree.finished_nodes() if first_open is None or node.path < first_open]
        leader = {member.node for member in groups[0].members} if groups else set[int]()
        return sum(1 for _ in takewhile(leader.__contains__, reversed(done)))


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotBeOvertaken:
    """Stop when no outcome of the remaining paths could change the answer.

    By majority all remaining paths may go to one rival or to a new answer; by weight each of them may have a score of
    1. The rule never stops a vote by the best score, which another path can always reach. It is exact if equality of
    answers is transitive and the user adds no paths.
    """

    name: ClassVar[str] = "lead"

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        lead, left = _lead(situation), situation.left
        if lead is None or left == 0 or lead <= left:
            return None
        return Stop(
            rule=self.name,
            reason=f"the {left} paths that are left cannot overtake {situation.vote.groups[0].answer}",
            detail={"lead": lead, "left": left},
        )

    def standing(self, situation: Situation) -> str:
        """Return the lead, and how many paths are left, which it has to exceed."""
        lead = _lead(situation)
        return "" if lead is None else f"{self.name} {lead:.4g} with {situation.left} left"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreThreshold:
    """Stop when a path with the leading answer has a score of at least `score`.

    Raises:
        SearchError: if an option is out of range.
    """

    name: ClassVar[str] = "score"
    score: float = 0.98

    def __post_init__(self) -> None:
        _check_share("score", self.score)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        winner = situation.vote.winner
        if winner is None or winner.score is None or winner.score < self.score:
            return None
        return Stop(
            rule=self.name,
            reason=f"the path to {shorten(winner.answer or '', 60)} scores {winner.score:.3f}",
            detail={"score": winner.score, "threshold": self.score},
        )

    def standing(self, situation: Situation) -> str:
        """Return the winner's score and the threshold."""
        winner = situation.vote.winner
        return _of(self.name, None if winner is None else winner.score, self.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImprovement:
    """Stop when the best score of all finished paths has not risen over the last `paths` of them, in path order.

    Raises:
        SearchError: if an option is out of range.
    """

    name: ClassVar[str] = "patience"
    paths: int = 8

    def __post_init__(self) -> None:
        _check_whole("paths", self.paths)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to continue."""
        scores = _scores(situation)
        if not situation.vote.groups or _since_best(scores) < self.paths:
            return None
        best = max(scores)
        return Stop(
            rule=self.name,
            reason=f"none of the last {self.paths} paths scores above {best:.3f}",
            detail={"best": best, "paths": self.paths},
        )

    def standing(self, situation: Situation) -> str:
        """Return the number of paths since the best one, and the number that ends the run."""
        return f"{self.name} {min(self.paths, _since_best(_scores(situation)))} of {self.paths}"


def _scores(situation: Situation) -> list[float]:
    return [node.score for node in situation.tree.finished_nodes() if node.score is not None]


def _since_best(scores: Sequence[float]) -> int:
    """Return the number of scores after the first of the highest ones."""
    return len(scores) - 1 - scores.index(max(scores)) if scores else 0


def _lead(situation: Situation) -> float | None:
    """Return the lead of the first answer over the next; None if nothing leads, or if another path can always lead."""
    rule = situation.vote.rule
    if not situation.voting or rule is VoteRule.BEST:
        return None
    first, *others = (group.value(rule) for group in situation.voting)
    return first - max(others, default=0.0)


def _of(name: str, value: float | None, wanted: float) -> str:
    """Return a figure and its threshold; the figure is rounded down, so that it never seems to be reached too early."""
    return "" if value is None else f"{name} {floor(value * 100) / 100:.2f} of {wanted:g}"


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise SearchError(f"{name} is {value}; use a number above 0, up to 1")


def _check_whole(name: str, value: int) -> None:
    if value < 1 or value != int(value):
        raise SearchError(f"{name} is {value}; use a whole number of 1 or more")


_RULES: dict[str, Callable[[str], StopRule]] = {
    "beta": lambda text: BetaMajority(confidence=float(text)) if text else BetaMajority(),
    "lead": lambda text: CannotBeOvertaken() if not text else _no_number(text),
    "patience": lambda text: NoImprovement(paths=int(text)) if text else NoImprovement(),
    "posterior": lambda text: WeightedPosterior(confidence=float(text)) if text else WeightedPosterior(),
    "score": lambda text: ScoreThreshold(score=float(text)) if text else ScoreThreshold(),
    "window": lambda text: AgreementWindow(window=int(text)) if text else AgreementWindow(),
}


def make_stop_rule(text: str) -> StopRule:
    """Return the rule that `text` describes: NAME or NAME:NUMBER, several separated by commas (any of them stops).

    Raises:
        SearchError: for an unknown name (naming the nearest) or a number that does not fit.
    """
    rules = [_one(part.strip()) for part in text.split(",")]
    return rules[0] if len(rules) == 1 else AnyOf(tuple(rules))


def _one(text: str) -> StopRule:
    name, _, number = text.partition(":")
    if name not in _RULES:
        raise SearchError(f"there is no stop rule {name!r}{nearest(name, _RULES)}")
    try:
        return _RULES[name](number)
    except SearchError:
        raise
    except ValueError:
        raise SearchError(f"the stop rule {name} cannot take {number!r}; give it a number") from None


def _no_number(text: str) -> StopRule:
    raise ValueError(text)
