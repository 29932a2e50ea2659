"""Allocators of one budget of tokens among many problems.

Every problem gets a first tranche. From then on the next one goes where a token is expected to bring most: the chance
that it changes the leading answer (see `ramify.search.votes.chance_of_change`), times the share of votes
that the new leader would have, over the cost of a tranche. This is a knowledge gradient (Frazier, Powell and Dayanik,
"A Knowledge-Gradient Policy for Sequential Information Collection", 2008, eq. 3.1) with agreement in the place of the
unknown accuracy: a problem on which all samples disagree is undecided, but hardly worth more samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor
from typing import Protocol

from ramify.errors import SearchError

from .votes import chance_of_change


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemProgress:
    """State of a problem: `votes` of each answer in any order, `samples` begun, `tokens` generated for them."""

    votes: tuple[int, ...] = ()
    samples: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Tranche:
    """A number of further samples for a problem; `problem` is its index in the list of problems."""

    problem: int
    samples: int


class Allocator(Protocol):
    """A way to share a budget of generated tokens among problems."""

    def next(self, problems: Sequence[ProblemProgress], tokens_left: int, count: int) -> list[Tranche]:
        """Return up to `count` tranches for different problems, most worthwhile first; none if nothing is worth it.

        Together they are expected to cost no more than `tokens_left`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """Spend where it is likeliest to change an open answer.

    Every problem gets `first` samples, then `tranche` at a time, up to `most`. A problem whose expected gain is below
    `min_gain`, in shares of votes, gets no more, even if tokens are left.
    """

    first: int = 4
    tranche: int = 4
    most: int = 64
    min_gain: float = 0.002

    def __post_init__(self) -> None:
        for name in ("first", "tranche", "most"):
            if getattr(self, name) < 1:
                raise SearchError(f"{name} is {getattr(self, name)}; use 1 or more")
        if self.min_gain < 0:
            raise SearchError(f"min_gain is {self.min_gain}; use 0 or more")

    def next(self, problems: Sequence[ProblemProgress], tokens_left: int, count: int) -> list[Tranche]:
        """Return the next tranches; see Allocator.next."""
        new = [Tranche(place, self.first) for place, each in enumerate(problems) if not each.samples]
        if new:
            return _affordable(new, problems, tokens_left, count)
        gains = {place: self.gain(each) for place, each in enumerate(problems)}
        cost = {place: _tokens_per_sample(problems, place) for place in gains}
        open_ones = [
            place for place, each in enumerate(problems) if each.samples < self.most and gains[place] >= self.min_gain
        ]
        open_ones.sort(key=lambda place: (-gains[place] / cost[place], place))
        wanted = [Tranche(place, min(self.tranche, self.most - problems[place].samples)) for place in open_ones]
        return _affordable(wanted, problems, tokens_left, count)

    def gain(self, problem: ProblemProgress) -> float:
        """Return the expected gain of one tranche, in shares of votes."""
        votes = sorted(problem.votes, reverse=True)
        leader, runner_up = (*votes, 0, 0)[:2]
        share = (runner_up + 1) / (sum(votes) + len(votes) + 1)
        return chance_of_change(leader, runner_up, self.tranche) * share


@dataclass(frozen=True, slots=True, kw_only=True)
class EqualSplit:
    """Give every problem the same number of samples, `tranche` at a time, up to `most`: the baseline of Portfolio."""

    tranche: int = 4
    most: int = 64

    def __post_init__(self) -> None:
        for name in ("tranche", "most"):
            if getattr(self, name) < 1:
                raise SearchError(f"{name} is {getattr(self, name)}; use 1 or more")

    def next(self, problems: Sequence[ProblemProgress], tokens_left: int, count: int) -> list[Tranche]:
        """Return the next tranches, for those with the fewest samples; see Allocator.next."""
        places = sorted(range(len(problems)), key=lambda place: (problems[place].samples, place))
        wanted = [
            Tranche(place, min(self.tranche, self.most - problems[place].samples))
            for place in places
            if problems[place].samples < self.most
        ]
        return _affordable(wanted, problems, tokens_left, count)


def _affordable(
    wanted: Sequence[Tranche], problems: Sequence[ProblemProgress], tokens: int, count: int
) -> list[Tranche]:
    """Return the first `count` tranches that are expected to fit, one with fewer samples if need be."""
    chosen = list[Tranche]()
    for each in wanted:
        if len(chosen) == count:
            break
        cost = _tokens_per_sample(problems, each.problem)
        samples = min(each.samples, floor(tokens / cost))
        if samples < 1:
            continue
        chosen.append(Tranche(each.problem, samples))
        tokens -= round(samples * cost)
    return chosen


def _tokens_per_sample(problems: Sequence[ProblemProgress], place: int) -> float:
    """Return the tokens of a sample: the problem's own mean, else that of all, 1 before anything is known."""
    own = problems[place]
    if own.samples and own.tokens:
        return own.tokens / own.samples
    samples = sum(each.samples for each in problems)
    return max(1.0, sum(each.tokens for each in problems) / samples) if samples else 1.0
