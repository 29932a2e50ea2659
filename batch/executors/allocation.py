"""What is known about each item while all of them share one budget, and how that is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ramify.errors import UsageError
from ramify.search.adaptive.portfolio import Portfolio, Standing
from ramify.search.strategies.sampling import Majority, Weighted
from ramify.search.strategy import AnyStrategy
from ramify.solution import Solution
from ramify.usage import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an item has got so far: the solution of all its `samples` and their cost; None and 0 before the first."""

    solution: Solution | None = None
    samples: int = 0
    usage: Usage = field(default_factory=Usage)

    def standing(self) -> Standing:
        """Return what decides who gets the next samples."""
        votes = () if self.solution is None else tuple(self.solution.vote_counts())
        return Standing(votes=votes, samples=self.samples, tokens=self.usage.policy.generated_tokens)

    def grown(self, solution: Solution, samples: int) -> Part:
        """Return the part with more samples, of a solution that went on with this part's tree."""
        return Part(solution=solution, samples=samples, usage=self.usage + solution.usage)

    def result(self) -> Solution | None:
        """Return the solution with the cost of all tranches."""
        return None if self.solution is None else replace(self.solution, usage=self.usage)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        solution = None if self.solution is None else self.solution.to_dict(tree=True)
        return {"samples": self.samples, "usage": self.usage.to_dict(), "solution": solution}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Part:
        """Rebuild a part from `to_dict()`."""
        solution = None if data["solution"] is None else Solution.from_dict(data["solution"])
        return cls(solution=solution, samples=data["samples"], usage=Usage.from_dict(data["usage"]))


def check_adaptive(strategy: AnyStrategy) -> Majority | Weighted:
    """Return the strategy if its samples can be bought in tranches.

    Raises:
        UsageError: if they cannot.
    """
    if not isinstance(strategy, Majority | Weighted):
        raise UsageError(
            f"the adaptive allocation adds independent samples, which {strategy.name} does not take",
            "use the strategy majority or weighted",
        )
    return strategy


def allocator(strategy: Majority | Weighted) -> Portfolio:
    """Return who decides; a problem gets at most as many samples as the strategy is wide."""
    usual = Portfolio()
    return Portfolio(
        first=min(usual.first, strategy.width), tranche=min(usual.tranche, strategy.width), most=strategy.width
    )
