"""Features of labelled solutions under a judge, for the training of a head on it; kept on disk as they are read."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio
import numpy as np
import numpy.typing as npt

from ramify.config import EngineConfig
from ramify.engine.many import for_each
from ramify.engine.rewards.heads import FeatureSession, HeadReward, LikelihoodHeadReward, StatesHeadReward
from ramify.engine.rewards.loading import reader
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import RewardContextExceeded
from ramify.reward.likelihood_head import FEATURES, LikelihoodHead, Reads, state_features
from ramify.reward.protocol import ScoredStep

from .labelling import LabelledSolution
from .state_cache import StateCache, solution_key, states_key

Floats = npt.NDArray[np.float64]
T = TypeVar("T")
ReadSteps = Callable[[Sequence[ScoredStep]], Awaitable[Sequence[T]]]
"""Reads paths and returns a value for each."""
PARALLEL_PROBLEMS = 8
"""Problems that are read at a time."""
_NO_ROWS = np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class SolutionFeatures:
    """A labelled solution with the features [steps, n] of its steps under the judge."""

    label: LabelledSolution
    rows: Floats

    @property
    def targets(self) -> list[float]:
        """1 for each step before the first error, 0 from there on."""
        error = self.label.first_error
        return [float(error is None or number < error) for number in range(len(self.rows))]


def likelihood_part(solutions: Sequence[SolutionFeatures]) -> list[SolutionFeatures]:
    """Return the features of the log probabilities alone, with which those of a states head begin."""
    return [replace(each, rows=each.rows[:, :FEATURES]) for each in solutions]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Features of all labels that fit the judge's context, with the cost of the reading in this call."""

    solutions: list[SolutionFeatures]
    tokens: int
    seconds: float
    too_long: int


async def read_features(
    labels: Sequence[LabelledSolution],
    judge: Path,
    config: EngineConfig,
    on_problem: Callable[[int, int], None] = lambda done, total: None,
    *,
    reads: Reads = "tokens",
    cache: Path | None = None,
) -> Features:
    """Return the features of all labels; solutions that share steps share the reading.

    `cache` is the folder that keeps features, None for none: with it a reading that was cut goes on. `on_problem` gets
    the numbers of problems that were read and of all.
    """
    questions: dict[str, list[LabelledSolution]] = {}
    for label in labels:
        questions.setdefault(label.question, []).append(label)
    tokens, started_s = 0, time.monotonic()
    layout = {"features": reads, "prompt": config.prompt_preset}
    with StateCache(cache, states_key(judge, layout, config.context_tokens or 0)) as kept:
        missing = {
            question: left
            for question, own in questions.items()
            if (left := [label for label in own if _key(label) not in kept])
        }
        done = len(questions) - len(missing)
        if missing:
            async with Runtime(config.isolation) as runtime:
                loaded = await runtime.load(ModelConfig.of(config, judge, states=reads == "states"))
                model = reader(loaded, config.prompt_preset)
                count = FEATURES if reads == "tokens" else state_features(model.width)
                blank = LikelihoodHead(
                    judge="", files={}, mean=np.zeros(count), spread=np.ones(count), layers=(), reads=reads
                )
                kind = LikelihoodHeadReward if reads == "tokens" else StatesHeadReward
                reward = kind(blank, model, name="features")

                async def work(question: str) -> None:
                    nonlocal tokens, done
                    rows, cost = await _read_question(reward, question, missing[question])
                    kept.add({_key(label): row for label, row in zip(missing[question], rows, strict=True)})
                    tokens += cost
                    done += 1
                    on_problem(done, len(questions))

                await for_each(list(missing), work, parallel=PARALLEL_PROBLEMS)
        found = [(label, kept.get(_key(label))) for own in questions.values() for label in own]
    solutions = [SolutionFeatures(label, rows.astype(np.float64)) for label, rows in found if len(rows)]
    too_long = len(labels) - len(solutions)
    return Features(solutions=solutions, tokens=tokens, seconds=time.monotonic() - started_s, too_long=too_long)


async def _read_question(
    reward: HeadReward, question: str, labels: Sequence[LabelledSolution]
) -> tuple[list[npt.NDArray[np.float32]], int]:
    """Return the features of each solution, none for one beyond the context, and the tokens that were evaluated."""
    try:
        session: FeatureSession = await reward.open(question)
    except RewardContextExceeded:
        return [_NO_ROWS] * len(labels), 0
    try:
        rows = await read_prefixes(session.features, labels)
        return [_NO_ROWS if row is None else np.array(row, np.float32) for row in rows], session.usage.evaluated_tokens
    finally:
        with anyio.CancelScope(shield=True):
            await session.close()


async def read_prefixes(read: ReadSteps[T], labels: Sequence[LabelledSolution]) -> list[list[T] | None]:
    """Return the results of `read` after each step of one problem's solutions; equal prefixes are read once.

    None stands for a solution beyond the context.
    """
    known: dict[tuple[str, ...], tuple[int, T]] = {}
    calculator = any(label.calculator for label in labels)
    for depth in range(1, max((len(label.steps) for label in labels), default=0) + 1):
        prefixes = dict.fromkeys(label.steps[:depth] for label in labels if len(label.steps) >= depth)
        asked = [
            ScoredStep(
                node=len(known) + number,
                parent=known[prefix[:-1]][0] if depth > 1 else None,
                path=prefix,
                calculator=calculator,
            )
            for number, prefix in enumerate((each for each in prefixes if depth == 1 or each[:-1] in known), 1)
        ]
        while asked:
            try:
                values = await read(asked)
            except RewardContextExceeded as error:
                asked = [step for step in asked if step.node not in set(error.nodes)]
                continue
            known.update((step.path, (step.node, value)) for step, value in zip(asked, values, strict=True))
            break
    return [
        [known[label.steps[:end]][1] for end in range(1, len(label.steps) + 1)] if label.steps in known else None
        for label in labels
    ]


def _key(label: LabelledSolution) -> str:
    return solution_key(label.question, label.steps) + ("c" if label.calculator else "")
