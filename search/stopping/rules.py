"""The rules. Each costs time in proportion to the paths that have finished, at most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import SearchError
from ..votes import AnswerGroup, VoteRule
from .posterior import vote_posterior, weighted_posteriors
from .rule import Situation, Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class BetaMajority:
    """Stop when the most frequent answer is truly the likelier of the two most frequent ones, with `confidence`.

    Adaptive-Consistency (arXiv 2305.11860), with its 0.95 by default. All third answers are ignored. At least
    `min_paths` must have voted.
    """

    name: ClassVar[str] = "beta"
    confidence: float = 0.95
    min_paths: int = 2

    def __post_init__(self) -> None:
        _check_share("confidence", self.confidence)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        groups = situation.vote.groups
        if sum(group.count for group in groups) < self.min_paths or situation.vote.rule is VoteRule.BEST:
            return None
        posterior = vote_posterior(situation.vote)
        # The vote may be by score; then the most frequent answer need not be the one that leads.
        if posterior < self.confidence or groups[0].count < max(group.count for group in groups):
            return None
        return Stop(
            rule=self.name,
            reason=f"{groups[0].answer} is the likeliest answer with {posterior:.1%}",
            detail={"posterior": posterior, "confidence": self.confidence},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedPosterior:
    """Stop when the leading answer's posterior, from all paths and their scores, reaches `confidence`."""

    name: ClassVar[str] = "posterior"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _check_share("confidence", self.confidence)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        groups = situation.vote.groups
        if not groups or any(member.score is None for group in groups for member in group.members):
            return None
        posterior = weighted_posteriors([[member.score or 0.0 for member in group.members] for group in groups])[0]
        if posterior < self.confidence:
            return None
        return Stop(
            rule=self.name,
            reason=f"{groups[0].answer} is right with {posterior:.1%}, if the scores can be believed",
            detail={"posterior": posterior, "confidence": self.confidence},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementWindow:
    """Stop when the last `window` paths that finished all gave the leading answer.

    Early-stopping self-consistency (Li et al., arXiv 2401.10480), which looks at windows of samples. Paths are
    ordered by their child numbers, not by time, so that scheduling cannot change the outcome: only paths that stand
    before all unfinished ones count.
    """

    name: ClassVar[str] = "window"
    window: int = 5

    def __post_init__(self) -> None:
        _check_whole("window", self.window)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        tree, vote = situation.tree, situation.vote
        open_paths = [node.path for node in (*tree.pending(), *tree.open_leaves()) if node.path]
        first_open = min(open_paths, default=None)
        done = [node for node in tree.finished_nodes() if first_open is None or node.path < first_open]
        recent = {node.id for node in done[-self.window :]}
        if len(done) < self.window or not vote.groups:
            return None
        leader = vote.groups[0]
        if not recent <= {member.node for member in leader.members}:
            return None
        return Stop(
            rule=self.name,
            reason=f"the last {self.window} paths agree on {leader.answer}",
            detail={"window": self.window},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotBeOvertaken:
    """Stop when no outcome of the paths that are left could change the answer; so it never does.

    By majority all that are left may go to one rival or to a new answer; by weight each of them may bring a score of
    1. The best score alone can always be reached by another path. Exact if equality of answers is transitive and
    nobody adds paths by hand.
    """

    name: ClassVar[str] = "lead"

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        vote, left = situation.vote, situation.left
        if not vote.groups or left == 0 or vote.rule is VoteRule.BEST:
            return None
        lead = vote.groups[0].value(vote.rule) - max((_value(group, vote.rule) for group in vote.groups[1:]), default=0)
        if lead <= left:
            return None
        return Stop(
            rule=self.name,
            reason=f"the {left} paths that are left cannot overtake {vote.groups[0].answer}",
            detail={"lead": lead, "left": left},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreThreshold:
    """Stop when a path with the leading answer has a score of at least `score`."""

    name: ClassVar[str] = "score"
    score: float = 0.98

    def __post_init__(self) -> None:
        _check_share("score", self.score)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        winner = situation.vote.winner
        if winner is None or winner.score is None or winner.score < self.score:
            return None
        return Stop(
            rule=self.name,
            reason=f"the path to {winner.answer} scores {winner.score:.3f}",
            detail={"score": winner.score, "threshold": self.score},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImprovement:
    """Stop when the best score of all finished paths has not risen over the last `paths` of them, in path order."""

    name: ClassVar[str] = "patience"
    paths: int = 8

    def __post_init__(self) -> None:
        _check_whole("paths", self.paths)

    def __call__(self, situation: Situation) -> Stop | None:
        """Return why to stop, or None to go on."""
        scores = [node.score for node in situation.tree.finished_nodes() if node.score is not None]
        if len(scores) <= self.paths or not situation.vote.groups:
            return None
        before = max(scores[: -self.paths])
        if max(scores[-self.paths :]) > before:
            return None
        return Stop(
            rule=self.name,
            reason=f"none of the last {self.paths} paths scores above {before:.3f}",
            detail={"best": before, "paths": self.paths},
        )


def _value(group: AnswerGroup, rule: VoteRule) -> float:
    return group.value(rule)


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise SearchError(f"{name} is {value}; use a number above 0, up to 1")


def _check_whole(name: str, value: int) -> None:
    if value < 1 or value != int(value):
        raise SearchError(f"{name} is {value}; use a whole number of 1 or more")
