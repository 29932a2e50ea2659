"""Labelling of steps by Monte Carlo rollouts from the prefixes of sampled solutions, each prefix evaluated once.

A prefix's soft label is the share of continuations from it that reach the right answer, its hard label whether any
does (Math-Shepherd, Wang et al., arXiv 2312.08935, eq. 3 and 4). Every sampled solution is a continuation of each of
its own prefixes, and further rollouts fork from them; prefixes with the same text share their outcomes.
The search looks for a wrong solution's first error by bisection (OmegaPRM, Luo et al., arXiv 2406.06592).
Exact labels need no rollouts: a step check compares the steps with the problem's worked solution.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Self

from ramify.answers.reading import AnswerReader
from ramify.config import DEFAULT_RUN, RunConfig
from ramify.engine.control.path_ends import PathEnds
from ramify.engine.policy.protocol import PolicySession
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.sampling_params import UNFILTERED, SamplingParams, TokenSampling, node_seed
from ramify.search.node import FinishReason, Node
from ramify.search.tree import ROOT, SearchTree
from ramify.settings import verify

MAX_DEPTH = 25
"""Most steps of a solution that is generated step by step, as in a search."""

MARKED = AnswerReader()
"""Reader of answers that texts mark."""
LabelMode = Literal["soft", "hard", "search", "exact", "outcome"]
StepCheck = Callable[[Problem, Sequence[str]], int | None]
"""Returns the first wrong step of a path, from 0; None if all are right."""
Steps = tuple[str, ...]
"""The steps of one solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """Settings of a labelling.

    `solutions` are sampled for each problem. From each of their prefixes `rollouts` more are sampled: exactly so many
    if labels are "soft", until one is right if they are "hard", and only from the prefixes that a bisection visits in
    a "search" for each wrong solution's first error; "exact" labels take a step check instead,
    and "outcome" labels are those of the final answer for all steps. `balance` keeps as many
    wrong as right solutions of a problem, and none of a problem that has only one kind. `parallel` problems share the
    cache; with more, each sequence attends to more of its cells. `sampling`, `answer`, `calculator` and the limits of
    steps and paths, in tokens, are those of a search (see `RunConfig`); a rollout and its prefix are one path. `agree`
    names the reward without whose agreement a solution gets no labels, None for none (see `agreement`).

    Raises:
        UsageError: if a search has no rollouts, or a setting is out of range.
    """

    solutions: int = 32
    rollouts: int = 0
    mode: LabelMode = "soft"
    balance: bool = False
    seed: int = 0
    parallel: int = 2
    sampling: SamplingParams = field(default_factory=SamplingParams)
    max_step_tokens: int = DEFAULT_RUN.max_step_tokens
    min_step_tokens: int = DEFAULT_RUN.min_step_tokens
    max_path_tokens: int = DEFAULT_RUN.max_path_tokens
    answer: str = DEFAULT_RUN.answer
    calculator: bool = False
    agree: str | None = None

    def __post_init__(self) -> None:
        verify(self.sampling)
        RunConfig(
            max_step_tokens=self.max_step_tokens,
            min_step_tokens=self.min_step_tokens,
            max_path_tokens=self.max_path_tokens,
            answer=self.answer,
        )
        if self.mode == "search" and self.rollouts < 1:
            raise UsageError("a search for the first error needs rollouts", "use 1 or more, such as 8")
        if self.mode in ("exact", "outcome") and self.rollouts:
            raise UsageError(f"{self.mode} labels need no rollouts", "leave them out")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSolution:
    """A sampled solution; `values[i]` is the chance of a right answer after `steps[: i + 1]`, 0 or 1 if it is hard.

    `count` is how often it was sampled, and `calculator` says that values after `=` were put in. Right solutions repeat
    more often than wrong ones, so values learned from them would be too low if each counted once.
    """

    id: str
    question: str
    steps: tuple[str, ...]
    values: tuple[float, ...]
    count: int = 1
    calculator: bool = False

    @property
    def first_error(self) -> int | None:
        """The first step, from 0, after which no continuation was right; None without one."""
        return next((number for number, value in enumerate(self.values) if value == 0), None)


class _Sum:
    """Base of dataclasses of numbers that are added field by field."""

    __slots__ = ()

    def __add__(self, other: Self) -> Self:
        names = [each.name for each in fields(self)]  # pyright: ignore[reportArgumentType]
        return type(self)(**{name: getattr(self, name) + getattr(other, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelCost(_Sum):
    """Cost of labels.

    `rollouts` were sampled; `all_rollouts` is the planned number for all prefixes. `evaluated_tokens` took a forward
    pass, generated ones included. `unshared_tokens` is the cost of the same texts if each solution and each rollout
    evaluated its question and its prefix anew.
    """

    solutions: int = 0
    rollouts: int = 0
    all_rollouts: int = 0
    generated_tokens: int = 0
    evaluated_tokens: int = 0
    unshared_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLosses(_Sum):
    """Sampled solutions that got no labels, by reason, and those that count as wrong because they have no answer.

    `length` reached the limit of a path without an answer, `context` the end of the model's context, and `steps` had
    MAX_DEPTH steps and no end; `empty` had no text. `balance` were left out for the sake of equal numbers, and
    `disputed` because rollouts, judge and equations do not agree on them. `unanswered` came to their end without an
    answer: they have labels.
    """

    length: int = 0
    context: int = 0
    steps: int = 0
    empty: int = 0
    balance: int = 0
    disputed: int = 0
    unanswered: int = 0

    @property
    def lost(self) -> int:
        """Number of solutions without labels."""
        return self.length + self.context + self.steps + self.empty + self.balance + self.disputed


def split_lines(text: str) -> list[str]:
    """Return the lines of a text, each with the newline that ends it."""
    return text.splitlines(keepends=True)


class Labeller:
    """Labels the solutions of one problem.

    `split` cuts a whole solution into steps as a search would. `sampling` is that of the model for what the plan leaves
    open. `answers` reads the answers; as in a search, it gives way to another reader where no solution marks one.
    `ends_at_answer` tells whether a path ends with its first answer, else it ends where its text does or at the limit
    of a path, with the last answer. `first_error` checks steps for exact labels.

    Raises:
        UsageError: if labels are to be exact and there is no `first_error`.
    """

    def __init__(
        self,
        problem: Problem,
        session: PolicySession,
        plan: LabelPlan,
        *,
        split: Callable[[str], list[str]] = split_lines,
        sampling: TokenSampling = UNFILTERED,
        answers: AnswerReader = MARKED,
        ends_at_answer: bool = True,
        first_error: StepCheck | None = None,
    ) -> None:
        if plan.mode == "exact" and first_error is None:
            raise unchecked(problem)
        self._first_error = first_error
        self.cost = LabelCost()
        """Cost so far."""
        self.losses = LabelLosses()
        """Solutions without labels so far."""
        self._problem = problem
        self._session = session
        self._plan = plan
        self._split = split
        self._grader = problem.grader()
        self._seed = node_seed(plan.seed, tuple(problem.id.encode()))
        self._tree = SearchTree()
        self._sampling = plan.sampling.resolved(sampling)
        self._ends = PathEnds(self._tree, answers, plan.max_path_tokens, ends_at_answer)
        self._answers: dict[str, str | None] = {}
        self._starts: dict[str, Node] = {}
        self._outcomes: dict[str, list[bool]] = {}
        # Prefixes with a right continuation, and those from which all rollouts failed.
        self._proven: set[str] = set()
        self._refuted: set[str] = set()

    async def label(self) -> list[LabelledSolution]:
        """Sample solutions, roll out from their prefixes, and return the labelled solutions."""
        plan = self._plan
        paths = await (self._sample_steps() if plan.rollouts else self._sample_whole())
        self._settle_answers(paths)
        right = dict(zip(paths, await self._judge(["".join(path) for path in paths]), strict=True))
        for path in paths:
            self._note("".join(path), right[path], _prefixes(path))
        counts = Counter(paths)
        chosen = self._balanced(right) if plan.balance else list(right)
        self.losses += LabelLosses(
            balance=len(paths) - len(chosen) if plan.balance else 0,
            unanswered=sum(self._answers["".join(path)] is None for path in paths),
        )
        wanted = {prefix for path in chosen for prefix in _prefixes(path)[:-1]}
        starts = [prefix for prefix in self._starts if prefix in wanted]
        self.cost += LabelCost(solutions=plan.solutions, all_rollouts=plan.rollouts * len(starts))
        if plan.mode == "soft":
            await self._roll_out([prefix for prefix in starts for _ in range(plan.rollouts)])
        elif plan.mode == "hard":
            await self._settle(starts)
        elif plan.mode == "search":
            await self._search([path for path in chosen if not right[path]])
        return [self._solution(path, right[path], 1 if plan.balance else counts[path]) for path in chosen]

    def _settle_answers(self, paths: Sequence[Steps]) -> None:
        """Read the answers in another way if no solution marks one and its reader knows such a way."""
        texts = ["".join(path) for path in paths]
        reader = None if self._ends.ends_at_answer else self._ends.answers.settled(texts)
        if reader is not None:
            self._ends = replace(self._ends, answers=reader)
            self._answers.update((text, reader.read(text)) for text in texts)

    def _balanced(self, right: dict[Steps, bool]) -> list[Steps]:
        """Return as many right as wrong solutions, in the order in which they were sampled."""
        sides = [[path for path in right if right[path] is side] for side in (True, False)]
        chance = random.Random(self._seed)
        chosen = {path for side in sides for path in chance.sample(side, min(map(len, sides)))}
        return [path for path in right if path in chosen]

    # Sampling

    async def _sample_whole(self) -> list[Steps]:
        """Generate each solution in one request and split it into steps."""
        nodes = [self._tree.add_pending(ROOT) for _ in range(self._plan.solutions)]
        await self._write([self._request(node, to_the_end=True) for node in nodes])
        ended = [self._tree.path_text(node.id) for node in nodes if self._has_ended(node)]
        return [tuple(self._split(text)) for text in ended]

    async def _sample_steps(self) -> list[Steps]:
        """Generate solutions step by step, so that rollouts can fork from each of them."""
        frontier = [self._tree.add_pending(ROOT) for _ in range(self._plan.solutions)]
        leaves: list[Node] = []
        while frontier:
            await self._write([self._request(node) for node in frontier])
            open_nodes = [node for node in frontier if self._is_open(node)]
            leaves += [node for node in frontier if not self._is_open(node) and self._has_ended(node)]
            frontier = [self._tree.add_pending(node.id) for node in open_nodes]
        for leaf in leaves:
            for node in self._tree.path_nodes(leaf.id)[:-1]:
                self._starts[self._tree.path_text(node.id)] = node
        return [tuple(node.text for node in self._tree.path_nodes(leaf.id)) for leaf in leaves]

    def _is_open(self, node: Node) -> bool:
        """Tell whether a path goes on."""
        answer = self._ends.answer(node)
        stays = answer is None and node.finish_reason is not FinishReason.EOS and node.depth < MAX_DEPTH
        return stays and self._ends.dead_end(node, answer) is None

    def _has_ended(self, node: Node) -> bool:
        """Tell whether a path that does not go on has come to its end; count it as lost if not."""
        answer, text = self._ends.answer(node), self._tree.path_text(node.id)
        if text.strip() and (answer is not None or node.finish_reason is FinishReason.EOS):
            self._answers[text] = answer
            return True
        if not node.text.strip():
            self.losses += LabelLosses(empty=1)
        elif node.finish_reason is FinishReason.CONTEXT:
            self.losses += LabelLosses(context=1)
        elif self._tree.path_token_count(node.id) >= self._plan.max_path_tokens:
            self.losses += LabelLosses(length=1)
        else:
            self.losses += LabelLosses(steps=1)
        return False

    async def _write(self, requests: Sequence[StepRequest]) -> None:
        def take(result: StepResult) -> None:
            node = self._complete(result)
            # A whole solution reads its question once, whatever the number of its steps.
            self._count(result, 0 if node.depth == 1 else None)

        await self._session.expand(requests, allowance=None, on_result=take)

    def _complete(self, result: StepResult) -> Node:
        return self._tree.complete(
            result.child,
            result.text,
            result.tokens,
            result.logprob,
            result.finish_reason,
            token_count=result.generated_tokens,
        )

    # Rollouts

    async def _settle(self, prefixes: Iterable[str]) -> None:
        """Roll out in rounds until each prefix has a right continuation or has used up its rollouts."""
        wanted = list(dict.fromkeys(prefixes))
        for _ in range(self._plan.rollouts):
            await self._roll_out([prefix for prefix in wanted if prefix not in self._proven])
        self._refuted.update(prefix for prefix in wanted if prefix not in self._proven)

    async def _search(self, wrong: Sequence[Steps]) -> None:
        """Bisect each wrong solution for the shortest prefix from which no right answer is reached."""
        while True:
            middles: list[str] = []
            for path in wrong:
                low, high = self._bounds(path)
                if high - low > 1:
                    middles.append("".join(path[: (low + high) // 2]))
            if not middles:
                return
            await self._settle(middles)

    def _bounds(self, path: Steps) -> tuple[int, int]:
        """Return the longest prefix known to be good and the shortest known to be bad beyond it, in steps."""
        prefixes = list(enumerate(_prefixes(path), 1))
        low = max((number for number, prefix in prefixes if prefix in self._proven), default=0)
        return low, min(
            (number for number, prefix in prefixes if number > low and prefix in self._refuted), default=len(path)
        )

    async def _roll_out(self, prefixes: Sequence[str]) -> None:
        """Generate one continuation for each entry of `prefixes`."""
        texts: dict[int, str] = {}
        of: dict[int, str] = {}
        requests: list[StepRequest] = []
        for prefix in prefixes:
            request = self._request(self._tree.add_pending(self._starts[prefix].id), to_the_end=True)
            of[request.child] = prefix
            requests.append(request)

        def take(result: StepResult) -> None:
            start = self._starts[of[result.child]]
            self._count(result, self._tree.path_token_count(start.id))
            text = texts[result.child] = of[result.child] + result.text
            self._answers[text] = self._ends.answer(self._complete(result))

        if not requests:
            return
        await self._session.expand(requests, allowance=None, on_result=take)
        self.cost += LabelCost(rollouts=len(requests))
        for child, right in zip(texts, await self._judge(list(texts.values())), strict=True):
            self._note(texts[child], right, [of[child]])

    def _note(self, text: str, right: bool, prefixes: Iterable[str]) -> None:
        """Record an outcome for the prefixes of a text; a right text proves all its prefixes."""
        for prefix in prefixes:
            self._outcomes.setdefault(prefix, []).append(right)
        if right:
            self._proven.add(text)
            self._proven.update(prefix for prefix in self._starts if text.startswith(prefix))

    def _count(self, result: StepResult, prefix_tokens: int | None) -> None:
        """Add the cost of a result; `prefix_tokens` would be evaluated anew with the question, None: neither would."""
        read = 0 if prefix_tokens is None else self._session.prompt_tokens + prefix_tokens
        generated = result.generated_tokens
        self.cost += LabelCost(
            generated_tokens=generated,
            evaluated_tokens=result.prompt_tokens + result.reevaluated_tokens + generated,
            unshared_tokens=read + generated,
        )

    async def _judge(self, texts: Sequence[str]) -> list[bool]:
        """Return whether the answer of each text is right."""
        return [await self._grader.judge(self._answers[text]) for text in texts]

    def _request(self, node: Node, *, to_the_end: bool = False) -> StepRequest:
        assert node.parent is not None
        left = max(1, self._plan.max_path_tokens - self._tree.path_token_count(node.parent))
        return StepRequest(
            parent=node.parent,
            child=node.id,
            path=node.path,
            seed=node_seed(self._seed, node.path),
            prefix=self._tree.path_text(node.parent),
            max_tokens=left if to_the_end else min(self._plan.max_step_tokens, left),
            min_tokens=self._plan.min_step_tokens,
            sampling=self._sampling,
            to_the_end=to_the_end,
            calculator=self._plan.calculator,
        )

    # Values

    def _solution(self, path: Steps, right: bool, count: int) -> LabelledSolution:
        return LabelledSolution(
            id=self._problem.id,
            question=self._problem.transcript,
            steps=path,
            values=tuple(self._values(path, right)),
            count=count,
            calculator=self._plan.calculator,
        )

    def _values(self, path: Steps, right: bool) -> Iterable[float]:
        prefixes = _prefixes(path)
        if self._plan.mode == "soft":
            return (sum(self._outcomes[prefix]) / len(self._outcomes[prefix]) for prefix in prefixes)
        if self._plan.mode == "outcome":
            return [float(right)] * len(path)
        if self._plan.mode == "exact":
            assert self._first_error is not None
            error = self._first_error(self._problem, path)
            return (float(error is None or number < error) for number in range(len(path)))
        if self._plan.mode == "hard":
            return (float(any(self._outcomes[prefix]) or prefix in self._proven) for prefix in prefixes)
        good = len(path) if right else self._bounds(path)[0]
        return (float(number <= good) for number in range(1, len(path) + 1))


def unchecked(problem: Problem) -> UsageError:
    """Return the error for a problem whose steps cannot be labelled exactly."""
    return UsageError(
        f"the steps of problem {problem.id} cannot be checked",
        "exact labels need a problem of a bundled task with its worked solution (`ramify problems --solutions`)",
    )


def _prefixes(path: Steps) -> list[str]:
    """Return the texts of a solution after each of its steps."""
    return ["".join(path[:end]) for end in range(1, len(path) + 1)]
