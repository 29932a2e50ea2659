"""Evaluation of a reward: sampled paths with the scores of their steps, and the accuracy of votes and a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio
from anyio.to_thread import run_sync

from ramify.answers.checkers import Checker
from ramify.answers.grader import Grader
from ramify.engine.engine import Engine
from ramify.engine.many import for_each
from ramify.errors import LockHeld, RewardContextExceeded, RunFolderError, UsageError
from ramify.files import lock
from ramify.journals import Journal, read_journal
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel, ScoredStep
from ramify.search.budget import Budget
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import WeightedVote
from ramify.search.tree import SearchTree
from ramify.search.votes import Aggregation, VoteRule, candidates, decide
from ramify.solution import Solution
from ramify.usage import Usage

from .labelling import LabelledSolution, StepCheck
from .preflight import check_answered, check_output, problem_key

VOTES = {"majority": VoteRule.MAJORITY, "weighted": VoteRule.WEIGHTED, "best-of-n": VoteRule.BEST}
SEARCH = "rebase"
NO_LIMIT = Budget()
HALF = 0.5


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
    """One evaluated problem: for each method whether its answer is right, and its usage; the sampled paths.

    `paths` are those that finished; `unfinished` ones reached a limit without an answer, and `unscored` ones finished
    and could not be scored.
    """

    problem: str
    correct: Mapping[str, bool]
    usage: Mapping[str, Usage]
    paths: tuple[ScoredPath, ...]
    unfinished: int = 0
    unscored: int = 0

    @property
    def tokens(self) -> int:
        """Tokens that all methods together generated; the votes share their paths."""
        votes, search = self.usage.get("weighted"), self.usage.get(SEARCH)
        return sum(each.policy.generated_tokens for each in (votes, search) if each is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**asdict(self), "usage": {method: usage.to_dict() for method, usage in self.usage.items()}}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EvaluatedProblem:
        """Rebuild an evaluated problem from `to_dict()`."""
        return cls(
            problem=data["problem"],
            correct=data["correct"],
            usage={method: Usage.from_dict(usage) for method, usage in data["usage"].items()},
            paths=tuple(_path_from(path) for path in data["paths"]),
            unfinished=data["unfinished"],
            unscored=data["unscored"],
        )


def _path_from(data: Mapping[str, Any]) -> ScoredPath:
    """Rebuild a path from plain JSON types, in which tuples are lists."""
    lists = ("steps", "scores", "values", "good")
    rest = {name: value for name, value in data.items() if name not in lists}
    steps, scores, values, good = (None if data[name] is None else tuple(data[name]) for name in lists)
    return ScoredPath(steps=steps or (), scores=scores or (), values=values or (), good=good, **rest)


class EvaluationJournal:
    """Evaluated problems in a file, for one process; open in a `with` block.

    The file belongs to one reward, one policy and one choice of settings. Problems are known by all that they say.

    Raises:
        UsageError: on entering, if another process holds the file, or it cannot be written or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journal = Journal(path)
        self._stack = ExitStack()
        self._known: dict[str, EvaluatedProblem] = {}

    def __enter__(self) -> EvaluationJournal:
        check_output(self.path)
        try:
            with ExitStack() as stack:
                stack.enter_context(lock(self.path.with_suffix(".lock")))
                stack.enter_context(self._journal)
                for row, _ in read_journal(self.path):
                    self._known[row["key"]] = EvaluatedProblem.from_dict(row["found"])
                self._stack = stack.pop_all()
        except LockHeld as error:
            raise UsageError(f"another evaluation writes {self.path} ({error.holder})", "wait for its end") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.path} cannot be gone on with ({error})", "remove this file") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def known(self, problem: Problem) -> EvaluatedProblem | None:
        """Return the result of a problem, None without one."""
        return self._known.get(problem_key(problem))

    def add(self, problem: Problem, found: EvaluatedProblem) -> None:
        """Write the result of a problem; it is on the disk when this returns.

        Raises:
            RunFolderError: if there is no room.
        """
        try:
            self._journal.append({"key": problem_key(problem), "found": found.to_dict()})
        except OSError as error:
            raise RunFolderError.not_written(self.path, error) from error

    def remove(self) -> None:
        """Remove the file, after the block."""
        for path in (self.path, self.path.with_suffix(".lock")):
            path.unlink(missing_ok=True)


async def evaluate(
    engine: Engine,
    problems: Sequence[Problem],
    *,
    width: int,
    seed: int = 0,
    check_steps: Callable[[Problem], StepCheck | None] = lambda problem: None,
    search: bool = True,
    parallel: int = 2,
    journal: EvaluationJournal | None = None,
    on_problem: Callable[[EvaluatedProblem], None] = lambda found: None,
    **options: Any,
) -> list[EvaluatedProblem]:
    """Sample `width` paths of each problem, let them vote, and search once more with REBASE; in the problems' order.

    All votes see the same paths. `check_steps` returns the step check of a problem, None if its steps cannot be
    checked. `search` False leaves REBASE out. Problems that `journal` knows are not evaluated again, and what is found
    for the others goes there. `on_problem` is called after each of these. `options` are those of `Engine.run`, such as
    the sampling and the limits of steps and paths.

    Raises:
        UsageError: if a problem has no answer, or the engine has no reward.
    """
    check_answered(problems, "evaluate on")
    if engine.reward is None:
        raise UsageError("there is no reward to evaluate", "name one")
    found: dict[int, EvaluatedProblem] = {}
    if journal is not None:
        known = {place: journal.known(problem) for place, problem in enumerate(problems)}
        found = {place: each for place, each in known.items() if each is not None}
    options = {"budget": NO_LIMIT, "seed": seed, **options}

    async def work(place: int) -> None:
        problem = problems[place]
        each = await _evaluate_one(engine, problem, check_steps(problem), width, search=search, **options)
        if journal is not None:
            journal.add(problem, each)
        found[place] = each
        on_problem(each)

    await for_each([place for place in range(len(problems)) if place not in found], work, parallel=parallel)
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
        good = tuple(value >= HALF for value in label.values)
        path = ScoredPath(
            problem=label.question,
            steps=label.steps,
            scores=tuple(scores),
            values=label.values,
            right=good[-1],
            good=good,
            first_error=None if good[-1] else good.index(False),
        )
        found += [path] * label.count
        on_path(number)
    return found


async def _scores(reward: RewardModel, label: LabelledSolution) -> list[float]:
    session = await reward.open(label.question)
    try:
        scores: list[float] = []
        for number in range(1, len(label.steps) + 1):
            step = ScoredStep(
                node=number, parent=number - 1 or None, path=label.steps[:number], calculator=label.calculator
            )
            scores += await session.score([step])
        return scores
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()


async def _evaluate_one(
    engine: Engine, problem: Problem, steps: StepCheck | None, width: int, *, search: bool, **options: Any
) -> EvaluatedProblem:
    sampled = await engine.solve(problem, strategy=WeightedVote(width=width), **options)
    solutions = {"majority": sampled, "weighted": sampled, "best-of-n": sampled}
    if search:
        solutions[SEARCH] = await engine.solve(problem, strategy=Rebase(width=width), **options)
    assert sampled.tree is not None
    tree, grader = sampled.tree, problem.grader()
    # Comparing answers may take seconds.
    answers = await run_sync(lambda: {rule: _vote(tree, VOTES[rule], grader.checker) for rule in VOTES})
    if search:
        answers[SEARCH] = solutions[SEARCH].answer
    correct = {method: await grader.judge(answer) for method, answer in answers.items()}
    paths = tuple(await _paths(problem, tree, grader, steps))
    return EvaluatedProblem(
        problem=problem.id,
        correct=correct,
        usage={method: _usage(method, solution) for method, solution in solutions.items()},
        paths=paths,
        unfinished=max(0, width - tree.finished_count),
        unscored=tree.finished_count - len(paths),
    )


def _vote(tree: SearchTree, rule: VoteRule, checker: Checker) -> str | None:
    paths = candidates(tree, Aggregation.LAST)
    if rule is not VoteRule.MAJORITY:
        paths = [path for path in paths if path.score is not None]
    return decide(paths, rule, checker.same).answer


def _usage(method: str, solution: Solution) -> Usage:
    """Return the usage of a method; a majority vote uses no reward."""
    usage = solution.usage
    return Usage(policy=usage.policy) if method == "majority" else usage


async def _paths(problem: Problem, tree: SearchTree, grader: Grader, check: StepCheck | None) -> list[ScoredPath]:
    found: list[ScoredPath] = []
    for leaf in tree.finished_nodes():
        nodes = tree.path_nodes(leaf.id)
        scores = [node.score for node in nodes if node.score is not None]
        if len(scores) < len(nodes):
            continue
        steps, right = tuple(node.text for node in nodes), await grader.judge(leaf.answer)
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
