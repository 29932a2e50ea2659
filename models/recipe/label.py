"""Step labels for the reward model: Monte Carlo rollouts from prefixes, made with ramify's own engine.

A prefix's label is the share of continuations from it that reach the right answer (Math-Shepherd, Wang et al.,
arXiv 2312.08935, eq. 4: soft estimation). Every sampled solution is a continuation of each of its own prefixes, and
further rollouts may fork from them; prefixes with the same text share what went on from any of them.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

from ramify.engine.answers.equality import decide_quickly
from ramify.engine.answers.extract import extract_answer
from ramify.engine.engine import Engine
from ramify.engine.policy import PolicyModel, PolicySession, StepRequest, StepResult
from ramify.engine.problem import Problem
from ramify.engine.runtime.messages import SamplingParams
from ramify.engine.seeds import node_seed
from ramify.models.problems.generate import generate_one
from ramify.models.problems.partition import stream_seed
from ramify.search.node import FinishReason, Node
from ramify.search.tree import ROOT, SearchTree

log = logging.getLogger(__name__)

LABEL_SEED = 987654
MAX_STEP_TOKENS = 64
MAX_ROLLOUT_TOKENS = 256
MAX_DEPTH = 16

Steps = tuple[str, ...]
"""The steps of one solution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlan:
    """How many `solutions` are sampled for each problem and how many more `rollouts` from each prefix.

    `parallel` problems share the cache; more of them only make each lane look at more cells.
    """

    solutions: int = 32
    rollouts: int = 0
    seed: int = 0
    parallel: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSolution:
    """A sampled solution; `values[i]` is the chance of a right answer after `steps[: i + 1]`."""

    id: str
    question: str
    steps: tuple[str, ...]
    values: tuple[float, ...]


class Labeller:
    """Labels the solutions of one problem."""

    def __init__(self, problem: Problem, session: PolicySession, plan: LabelPlan) -> None:
        self._problem = problem
        self._session = session
        self._plan = plan
        self._seed = node_seed(plan.seed, tuple(problem.id.encode()))
        self._tree = SearchTree()
        self._ended: set[int] = set()
        self._starts: dict[str, Node] = {}

    async def label(self) -> list[LabelledSolution]:
        """Sample solutions, roll out from their prefixes, and return what came of it."""
        paths = await (self._sample_steps() if self._plan.rollouts else self._sample_whole())
        tallies: dict[str, list[bool]] = {}
        for path in paths:
            outcome = self._right("".join(path))
            for end in range(1, len(path) + 1):
                tallies.setdefault("".join(path[:end]), []).append(outcome)
        await self._roll_out(tallies)
        values = {prefix: sum(outcomes) / len(outcomes) for prefix, outcomes in tallies.items()}
        return [self._solution(path, values) for path in dict.fromkeys(paths)]

    async def _sample_whole(self) -> list[Steps]:
        """Write solutions in one go each and cut them into steps."""
        texts: dict[int, str] = {}

        def take(result: StepResult) -> None:
            if result.finish_reason is FinishReason.EOS:
                texts[result.child] = result.text

        nodes = [self._tree.add_pending(ROOT) for _ in range(self._plan.solutions)]
        requests = [self._request(node, to_the_end=True) for node in nodes]
        await self._session.expand(requests, allowance=None, on_result=take)
        return [tuple(texts[child].splitlines(keepends=True)) for child in sorted(texts) if texts[child]]

    async def _sample_steps(self) -> list[Steps]:
        """Write solutions step by step, so that rollouts can fork from each of them."""
        frontier = [self._tree.add_pending(ROOT) for _ in range(self._plan.solutions)]
        leaves: list[Node] = []
        while frontier:
            await self._write([self._request(node) for node in frontier])
            growing = [node for node in frontier if node.id not in self._ended and node.depth < MAX_DEPTH]
            leaves += [node for node in frontier if node.id in self._ended]
            frontier = [self._tree.add_pending(node.id) for node in growing]
        for leaf in leaves:
            for node in self._tree.path_nodes(leaf.id)[:-1]:
                self._starts[self._tree.path_text(node.id)] = node
        return [tuple(node.text for node in self._tree.path_nodes(leaf.id)) for leaf in leaves]

    async def _write(self, requests: Sequence[StepRequest]) -> None:
        def take(result: StepResult) -> None:
            node = self._tree.complete(result.child, result.text, result.tokens, result.logprob, result.finish_reason)
            if result.finish_reason is FinishReason.EOS or extract_answer(self._tree.path_text(node.id)) is not None:
                self._ended.add(node.id)

        await self._session.expand(requests, allowance=None, on_result=take)

    async def _roll_out(self, tallies: dict[str, list[bool]]) -> None:
        """Add the outcomes of further continuations of every prefix."""
        prefixes: dict[int, str] = {}
        requests: list[StepRequest] = []
        for prefix, node in self._starts.items():
            for _ in range(self._plan.rollouts):
                request = self._request(self._tree.add_pending(node.id), to_the_end=True)
                prefixes[request.child] = prefix
                requests.append(request)

        def take(result: StepResult) -> None:
            prefix = prefixes[result.child]
            tallies[prefix].append(self._right(prefix + result.text))

        if requests:
            await self._session.expand(requests, allowance=None, on_result=take)

    def _right(self, text: str) -> bool:
        answer = extract_answer(text)
        return answer is not None and decide_quickly(answer, self._problem.answer or "") is True

    def _request(self, node: Node, *, to_the_end: bool = False) -> StepRequest:
        assert node.parent is not None
        return StepRequest(
            parent=node.parent,
            child=node.id,
            path=node.path,
            seed=node_seed(self._seed, node.path),
            prefix=self._tree.path_text(node.parent),
            max_tokens=MAX_ROLLOUT_TOKENS if to_the_end else MAX_STEP_TOKENS,
            sampling=SamplingParams(),
            to_the_end=to_the_end,
        )

    def _solution(self, path: Steps, values: dict[str, float]) -> LabelledSolution:
        return LabelledSolution(
            id=self._problem.id,
            question=self._problem.question,
            steps=path,
            values=tuple(values["".join(path[:end])] for end in range(1, len(path) + 1)),
        )


def label_stream(numbers: range, seed: int = LABEL_SEED) -> list[Problem]:
    """Return training problems whose solutions are labelled, of a stream that no policy was trained on."""
    return [generate_one(stream_seed("train", seed, i), (2, 8), "train", f"label-{i}") for i in numbers]


async def label_problems(model: str | Path, problems: Iterable[Problem], out: Path, plan: LabelPlan) -> int:
    """Append labelled solutions of `problems` to the JSON Lines file `out`; return how many problems were done.

    Problems whose id is in `out` already are skipped, so an interrupted call goes on where it was.
    """
    done = _done(out)
    todo = iter([problem for problem in problems if problem.id not in done])
    count = 0
    with out.open("a", encoding="utf-8") as file:

        async def work(policy: PolicyModel) -> None:
            nonlocal count
            for problem in todo:
                session = await policy.open(problem.question)
                try:
                    rows = await Labeller(problem, session, plan).label()
                finally:
                    with anyio.CancelScope(shield=True):
                        await session.close()
                file.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
                file.flush()
                count += 1
                if count % 100 == 0:
                    log.info("labelled %d problems", count)

        async with Engine(model, None, threads=1) as engine, anyio.create_task_group() as tasks:
            for _ in range(plan.parallel):
                tasks.start_soon(work, engine.policy)
    return count


def _done(path: Path) -> set[str]:
    return {row.id for row in read_labels(path)} if path.exists() else set[str]()


def read_labels(path: Path) -> Iterator[LabelledSolution]:
    """Yield the rows of a label file; a torn last line is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            row = json.loads(line)
            yield LabelledSolution(
                id=row["id"], question=row["question"], steps=tuple(row["steps"]), values=tuple(row["values"])
            )
