"""Measurement of one model in several quantizations, in turns, so that slow minutes of the machine affect all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import DEFAULT_QUANTIZATION, list_bundled
from ramify.engine.library.quantize import plan_quantization, quantization_named, quantize
from ramify.engine.loading import load_reward
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel
from ramify.search.budget import Budget
from ramify.search.strategies.sampling import MajorityVote
from ramify.solution import Solution

from .chains import Chain, chains_of, sample_row, score_chains
from .config import Unit

WHOLE = "f16"
"""Quantization of the bundled files that others are made of."""
BLOCK = 8
"""Problems of one file before the turn of the next file."""

_making = threading.Lock()
"""Units that are measured at the same time may need the same file."""


def files_of(name: str, more: Sequence[str] = ()) -> list[str]:
    """Return the names of a bundled model's files, the default one first, then those of `more` that can be made of it.

    Any other model has its name alone.
    """
    entry = next((each for each in list_bundled() if each.name == name), None)
    if entry is None:
        return [name]
    kinds = sorted(entry.files, key=lambda kind: (kind != DEFAULT_QUANTIZATION, kind))
    made = [quantization_named(kind) for kind in more] if WHOLE in kinds else []
    return [f"{name}:{kind}" for kind in dict.fromkeys([*kinds, *made])]


def file_for(label: str, folder: Path, threads: int | None) -> str:
    """Return the argument of an engine for one of the names of `files_of`; a file that does not exist yet is made.

    Raises:
        ModelLoadError: if it cannot be written.
    """
    name, _, kind = label.partition(":")
    entry = next((each for each in list_bundled() if each.name == name), None)
    if entry is None or not kind or kind in entry.files:
        return label
    path = folder / f"{name}.{kind}.gguf"
    with _making:
        if not path.exists():
            quantize(plan_quantization(f"{name}:{WHOLE}", str(path)), lambda done, of: None, threads=threads)
    return str(path)


async def alternate(
    unit: Unit,
    problems: Sequence[Problem],
    threads: int | None,
    folder: Path,
    *,
    keep: Callable[[Problem, dict[str, Any]], None],
) -> None:
    """Sample every problem with every file of the policy, and score the first file's samples with every reward's files.

    `keep` gets the problem and its row: for each policy file the samples and seconds, for each reward file the scores,
    tokens read and seconds. Files that are made go into `folder`. Seconds are those of a block of problems,
    divided by their number.
    """
    async with AsyncExitStack() as stack:
        engines = dict[str, Engine]()
        for name in files_of(unit.policy, unit.quantizations):
            file = await run_sync(file_for, name, folder, threads)
            engines[name] = await stack.enter_async_context(Engine(file, None, threads=threads))
        rewards = dict[str, RewardModel | None]()
        for reward in unit.rewards:
            files = files_of(reward, unit.quantizations)
            for name in files if len(files) > 1 else ():
                file = await run_sync(file_for, name, folder, threads)
                rewards[name] = await load_reward(stack, file, EngineConfig(threads=threads))
        for start in range(0, len(problems), BLOCK):
            block = problems[start : start + BLOCK]
            rows: list[dict[str, Any]] = [{"files": {}, "reward_files": {}} for _ in block]
            chains = list[list[Chain]]()
            for place, (name, engine) in enumerate(engines.items()):
                found, seconds = await _sample(engine, block, unit)
                if place == 0:
                    chains = [chains_of(each.tree) for each in found if each.tree is not None]
                for row, problem, solution in zip(rows, block, found, strict=True):
                    row["files"][name] = _sampled(problem, solution, engine) | {"seconds": seconds / len(block)}
            for name, reward in rewards.items():
                assert reward is not None
                for row, problem, samples in zip(rows, block, chains, strict=True):
                    started = time.monotonic()
                    scores = await score_chains(reward, problem.question, samples, ())
                    row["reward_files"][name] = {
                        "scores": [None if value is None else round(value, 6) for value in scores.values],
                        "tokens": scores.tokens[len(samples)],
                        "seconds": time.monotonic() - started,
                    }
            for row, problem in zip(rows, block, strict=True):
                keep(problem, row)


async def _sample(engine: Engine, block: Sequence[Problem], unit: Unit) -> tuple[list[Solution], float]:
    started = time.monotonic()
    found = dict[str | None, Solution]()
    stream = engine.solve_many(
        block, parallel=len(block), strategy=MajorityVote(width=unit.width), seed=unit.seed, budget=Budget()
    )
    async with stream:
        async for solution in stream:
            found[solution.problem_id] = solution
    return [found[problem.id] for problem in block], time.monotonic() - started


def _sampled(problem: Problem, solution: Solution, engine: Engine) -> dict[str, Any]:
    assert solution.tree is not None
    grader = problem.grader()
    row = sample_row(problem.question, chains_of(solution.tree), grader.checker.same, grader.right)
    return row | {"parameters": engine.policy.parameters, "prompt_tokens": solution.usage.policy.prompt_tokens}
