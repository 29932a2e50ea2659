"""Evaluation of a reward: sampled paths with the scores of their steps, and the accuracy of votes and a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import anyio
from anyio.to_thread import run_sync

from ramify.answers.checkers import Checker, make_checker
from ramify.engine.engine import Engine
from ramify.engine.many import for_each
from ramify.errors import RewardContextExceeded, UsageError
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel, ScoredStep
from ramify.search.budget import Budget
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import WeightedVote
from ramify.search.tree import SearchTree
from ramify.search.votes import Aggregation, VoteRule, candidates, decide
from ramify.solution import Solution
from ramify.usage import Usage

from .labelling import LabelledSolution

VOTES = {"majority": VoteRule.MAJORITY, "weighted": VoteRule.WEIGHTED, "best-of-n": VoteRule.BEST}
SEARCH = "rebase"
NO_LIMIT = Budget()
HALF = 0.5

StepCheck = Callable[[Problem, Sequence[str]], int | None]
"""Returns the first wrong step of a path, from 0; None if all are right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPath:
    """A finished path. `scores` and `values` have a number for each step.

    `values` is the chance of a right answer after the step: an estimate from labels, or this path's own outcome (1 or
    0), which is a draw with that chance. `good` is whether each step is right, None if unknown; `first_error` is the
    number of the first wrong step, from 0, None without one.
    """

    problem: str
    steps: tuple[str, ...]
    scores: tuple[float, ...]
    values: tuple[float, ...]
    right: bool
    good: tuple[bool, ...] | None
    first_error: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedProblem:
    """One evaluated problem: for each method whether its answer is right, and its usage; the sampled paths."""

    problem: str
    correct: Mapping[str, bool]
    usage: Mapping[str, Usage]
    paths: tuple[ScoredPath, ...]


async def evaluate(
    engine: Engine,
    problems: Sequence[Problem],
    *,
    width: int,
    seed: int = 0,
    check_steps: Callable[[Problem], StepCheck | None] = lambda problem: None,
    search: bool = True,
    parallel: int = 2,
    on_problem: Callable[[int], None] = lambda done: None,
) -> list[EvaluatedProblem]:
    """Sample `width` paths of each problem, let them vote, and search once more with REBASE; in the problems' order.

    All votes see the same paths. `check_steps` returns the step check of a problem, None if its steps cannot be
    checked. `search` False leaves REBASE out. `on_problem` is called with the number of problems done.

    Raises:
        UsageError: if a problem has no answer, or the engine has no reward.
    """
    without = next((problem.id for problem in problems if not (problem.answer or "").strip()), None)
    if without is not None:
        raise UsageError(f"problem {without} has no answer", "evaluate on problems with known answers")
    if engine.reward is None:
        raise UsageError("there is no reward to evaluate", "name one")
    found: dict[int, EvaluatedProblem] = {}

    async def work(place: int) -> None:
        problem = problems[place]
        found[place] = await _evaluate_one(engine, problem, check_steps(problem), width, seed, search=search)
        on_problem(len(found))

    await for_each(range(len(problems)), work, parallel=parallel)
    return [found[place] for place in range(len(problems))]


async def score_labels(
    reward: RewardModel, labels: Sequence[LabelledSolution], *, on_path: Callable[[int], None] = lambda done: None
) -> list[ScoredPath]:
    """Score labelled solutions step by step; each is repeated as often as it was sampled, ones too long are left out.

    A step is right if its value is at least a half; a path is if its last step is.

    Raises:
        RewardError: if steps cannot be scored for another reason, such as that the reward needs the policy's tokens.
    """
    found: list[ScoredPath] = []
    for number, label in enumerate(labels, 1):
        try:
            scores = await _scores(reward, label)
        except RewardContextExceeded:
            continue
        path = ScoredPath(
            problem=label.question,
            steps=label.steps,
            scores=tuple(scores),
            values=label.values,
            right=label.values[-1] >= HALF,
            good=tuple(value >= HALF for value in label.values),
            first_error=label.first_error,
        )
        found += [path] * label.count
        on_path(number)
    return found


async def _scores(reward: RewardModel, label: LabelledSolution) -> list[float]:
    session = await reward.open(label.question)
    try:
        scores: list[float] = []
        for number in range(1, len(label.steps) + 1):
            step = ScoredStep(node=number, parent=number - 1 or None, path=label.steps[:number])
            scores += await session.score([step])
        return scores
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()


async def _evaluate_one(
    engine: Engine, problem: Problem, steps: StepCheck | None, width: int, seed: int, *, search: bool
) -> EvaluatedProblem:
    sampled = await engine.solve(problem, strategy=WeightedVote(width=width), budget=NO_LIMIT, seed=seed)
    solutions = {"majority": sampled, "weighted": sampled, "best-of-n": sampled}
    if search:
        solutions[SEARCH] = await engine.solve(problem, strategy=Rebase(width=width), budget=NO_LIMIT, seed=seed)
    assert sampled.tree is not None
    checker, tree = make_checker(problem.check), sampled.tree
    grader = _Grader(checker, problem.answer or "")
    # Comparing answers may take seconds.
    answers = await run_sync(lambda: {rule: _vote(tree, VOTES[rule], checker) for rule in VOTES})
    if search:
        answers[SEARCH] = solutions[SEARCH].answer
    correct = {method: await grader.right(answer) for method, answer in answers.items()}
    return EvaluatedProblem(
        problem=problem.id,
        correct=correct,
        usage={method: _usage(method, solution) for method, solution in solutions.items()},
        paths=tuple(await _paths(problem, tree, grader, steps)),
    )


class _Grader:
    """Grades the answers to one problem, each answer once."""

    def __init__(self, checker: Checker, gold: str) -> None:
        self._checker = checker
        self._gold = gold
        self._known: dict[str, bool] = {}

    async def right(self, answer: str | None) -> bool:
        """Return whether an answer is right."""
        if answer is None:
            return False
        if answer not in self._known:
            quick = self._checker.accepts_quickly(answer, self._gold)
            self._known[answer] = await run_sync(self._checker.accepts, answer, self._gold) if quick is None else quick
        return self._known[answer]


def _vote(tree: SearchTree, rule: VoteRule, checker: Checker) -> str | None:
    paths = candidates(tree, Aggregation.LAST)
    if rule is not VoteRule.MAJORITY:
        paths = [path for path in paths if path.score is not None]
    return decide(paths, rule, checker.same).answer


def _usage(method: str, solution: Solution) -> Usage:
    """Return the usage of a method; a majority vote uses no reward."""
    usage = solution.usage
    return Usage(policy=usage.policy) if method == "majority" else usage


async def _paths(problem: Problem, tree: SearchTree, grader: _Grader, check: StepCheck | None) -> list[ScoredPath]:
    found: list[ScoredPath] = []
    for leaf in tree.finished_nodes():
        nodes = tree.path_nodes(leaf.id)
        scores = [node.score for node in nodes if node.score is not None]
        if len(scores) < len(nodes):
            continue
        steps, right = tuple(node.text for node in nodes), await grader.right(leaf.answer)
        error = None if check is None else check(problem, steps)
        found.append(
            ScoredPath(
                problem=problem.id,
                steps=steps,
                scores=tuple(scores),
                values=(float(right),) * len(steps),
                right=right,
                good=None if check is None else tuple(error is None or n < error for n in range(len(steps))),
                first_error=error,
            )
        )
    return found
