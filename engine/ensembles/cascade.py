"""Several models on one question: a cascade from small to large, or an ensemble that votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK
from ramify.answers.similarity import mean_similarities
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.search.votes import VoteRule
from ramify.solution import Solution

from ..engine import Engine
from ..many import for_each
from ..planning.risk import posterior
from .vote_pooling import pool


async def cascade(
    engines: Sequence[Engine], problem: Problem | str, *, confidence: float = 0.95, **options: Any
) -> Solution:
    """Ask the engines in order until one is sure; the last one decides.

    An engine is sure if its two most frequent answers leave no doubt, with a posterior of at least `confidence` (see
    `ramify.search.votes.majority_posterior`). The solution is that of the engine that decided, with the
    usage of all that were asked. `options` are those of `Engine.run`.

    Raises:
        UsageError: if there are no engines, or `confidence` is not above 0 and at most 1.
    """
    _check(engines)
    if not 0 < confidence <= 1:
        raise UsageError(f"confidence is {confidence}", "use a number above 0, up to 1")
    solution = await engines[0].solve(problem, **options)
    for engine in engines[1:]:
        if certainty(solution) >= confidence:
            return solution
        larger = await engine.solve(problem, **options)
        solution = replace(larger, usage=solution.usage + larger.usage)
    return solution


async def ensemble(
    engines: Sequence[Engine], problem: Problem | str, *, vote: VoteRule | str = VoteRule.MAJORITY, **options: Any
) -> Solution:
    """Ask all engines at once and let all finished paths vote together (see `pool`).

    By weight or best score, the engines should share one reward model: scores of two models do not compare.

    Raises:
        UsageError: if there are no engines.
        RamifyError: if a search fails.
    """
    _check(engines)
    found: dict[int, Solution] = {}

    async def ask(place: int) -> None:
        found[place] = await engines[place].solve(problem, **options)

    await for_each(range(len(engines)), ask, parallel=len(engines))
    check = DEFAULT_CHECK if isinstance(problem, str) else problem.check
    return await pool([found[place] for place in range(len(engines))], vote, check=check)


def certainty(solution: Solution) -> float:
    """Return the posterior of a solution's answer against the most frequent other one; 0 without an answer.

    Of a text, which does not vote, it is the mean similarity to the texts of the other paths; 0 without others.
    """
    if solution.answer is not None and solution.reading is not None and not solution.reading.kind.votes:
        texts = [each.answer for each in solution.candidates if each.answer is not None]
        return (
            mean_similarities(texts)[texts.index(solution.answer)]
            if len(texts) > 1 and solution.answer in texts
            else 0.0
        )
    return posterior(solution)


def _check(engines: Sequence[Engine]) -> None:
    if not engines:
        raise UsageError("there are no engines to ask", "give at least one")
