"""Shared budget: many problems solved by sampling within one budget of generated tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.search.budget import Budget
from ramify.search.budget_sharing import Allocator, Portfolio, ProblemProgress, Tranche
from ramify.search.strategies.sampling import MajorityVote, WeightedVote
from ramify.solution import Solution
from ramify.usage import Usage

from ..engine import Engine
from ..many import for_each


async def solve_set(
    engine: Engine,
    problems: Sequence[Problem],
    *,
    generated_tokens: int,
    allocator: Allocator | None = None,
    weighted: bool = False,
    seed: int = 0,
    parallel: int = 4,
    on_solution: Callable[[int, Solution], None] = lambda place, solution: None,
    **options: Any,
) -> list[Solution | None]:
    """Solve problems by sampling, all of them within `generated_tokens`, and return a solution for each, in order.

    `allocator` decides who gets the next samples; None means Portfolio with its defaults. Paths are counted, or with
    `weighted` their scores. Each tranche goes on with the problem's own tree, so a problem that got n samples has the
    very paths of a run of width n. `on_solution` gets the place and the solution so far after each tranche. `options`
    are those of `Engine.run`. A problem that got nothing has None.

    Raises:
        UsageError: if a number is below 1, or `weighted` is asked for without a reward model.
        RamifyError: if a search fails; `on_solution` has got the solutions before.
    """
    if generated_tokens < 1 or parallel < 1:
        raise UsageError(f"generated_tokens is {generated_tokens} and parallel {parallel}", "use 1 or more of each")
    if weighted and engine.reward is None:
        raise UsageError("a weighted vote needs a reward model and there is none", "load one, or leave weighted out")
    spender = _Spender(engine, problems, weighted=weighted, options={"seed": seed, **options})
    chooser = allocator or Portfolio()
    left = generated_tokens
    while left > 0 and (tranches := chooser.next(spender.standings(), left, parallel)):
        before = spender.tokens
        share = left // len(tranches)
        spend = partial(spender.spend, tokens=share, on_solution=on_solution)
        await for_each(tranches, spend, parallel=len(tranches))
        if spender.tokens == before:
            break
        left = generated_tokens - spender.tokens
    return spender.finish()


class _Spender:
    """Owns the solutions and their cost so far."""

    def __init__(self, engine: Engine, problems: Sequence[Problem], *, weighted: bool, options: dict[str, Any]) -> None:
        self._engine = engine
        self._problems = problems
        self._strategy = WeightedVote if weighted else MajorityVote
        self._options = options
        self._solutions: list[Solution | None] = [None] * len(problems)
        self._usage = [Usage() for _ in problems]
        self._samples = [0] * len(problems)

    @property
    def tokens(self) -> int:
        """Tokens generated for all problems."""
        return sum(usage.policy.generated_tokens for usage in self._usage)

    def standings(self) -> list[ProblemProgress]:
        """Return where the problems stand."""
        return [
            ProblemProgress(
                votes=() if solution is None else tuple(solution.vote_counts()),
                samples=samples,
                tokens=usage.policy.generated_tokens,
            )
            for solution, samples, usage in zip(self._solutions, self._samples, self._usage, strict=True)
        ]

    async def spend(self, tranche: Tranche, tokens: int, on_solution: Callable[[int, Solution], None]) -> None:
        """Write more samples for a problem within `tokens`."""
        place, before = tranche.problem, self._solutions[tranche.problem]
        width = self._samples[place] + tranche.samples
        solution = await self._engine.solve(
            self._problems[place],
            strategy=self._strategy(width=width),
            budget=Budget(generated_tokens=tokens),
            tree=None if before is None else before.tree,
            **self._options,
        )
        self._samples[place] = width
        self._usage[place] += solution.usage
        self._solutions[place] = solution
        on_solution(place, solution)

    def finish(self) -> list[Solution | None]:
        """Return the solutions, with the usage of all their tranches."""
        return [
            None if solution is None else replace(solution, usage=usage)
            for solution, usage in zip(self._solutions, self._usage, strict=True)
        ]
