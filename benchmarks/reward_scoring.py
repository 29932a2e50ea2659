"""Throughput of scoring by depth: each step once, against every path read anew at every step.

    python benchmarks/reward_scoring.py [--reward demo-prm] [--paths 16] [--depths 2,4,8,16] [--json FILE]
    python benchmarks/reward_scoring.py --own-head FILE     # a model with a linear head in a row of its output matrix

A search scores its paths after each step. Incrementally, a step costs its own tokens; a scorer without a cache reads
question and path again. Both score the same paths here, one after the other in each repeat, and the table has the
medians of the repeats. Processor time is that of the whole process, whose one model thread does all the work.

With --own-head, REBASE searches are done with FILE as policy and reward, where the head is read on the states that the
policy has computed, and with a copy of it as the reward, which reads all that the policy wrote a second time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.loading import load_reward
from ramify.models import generate_problems
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel, RewardSession, ScoredStep, ScoreUsage
from ramify.search.registry import make_strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One depth: tokens evaluated and seconds of both ways, all steps up to that depth together."""

    depth: int
    steps: int
    tokens: int
    tokens_anew: int
    processor_s: float
    processor_anew_s: float
    wall_s: float
    wall_anew_s: float


Paths = Sequence[tuple[str, ...]]


def make_paths(count: int, depth: int, seed: int) -> tuple[str, list[tuple[str, ...]]]:
    """Return a question and `count` paths of `depth` different steps, put together from worked solutions."""
    problems = generate_problems(steps=(8, 8), count=3 * count, seed=seed)
    lines = [tuple((problem.solution or "").splitlines()[:-1]) for problem in problems]
    paths = [sum(lines[number : number + 3], ())[:depth] for number in range(0, 3 * count, 3)]
    question: Problem = problems[0]
    return question.question, [tuple(f"{line}\n" for line in path) for path in paths]


async def incremental(reward: RewardModel, question: str, paths: Paths) -> ScoreUsage:
    """Score level by level, each step below its parent."""
    session = await reward.open(question)
    for depth in range(1, len(paths[0]) + 1):
        await session.score(
            [
                ScoredStep(node=_node(depth, i), parent=_node(depth - 1, i) if depth > 1 else None, path=path[:depth])
                for i, path in enumerate(paths)
            ]
        )
    usage = session.usage
    await session.close()
    return usage


async def anew(reward: RewardModel, question: str, paths: Paths) -> ScoreUsage:
    """Score level by level, each path in a session that knows nothing; those of a level share batches."""
    total = ScoreUsage()
    for depth in range(1, len(paths[0]) + 1):
        sessions = [await reward.open(question) for _ in paths]
        async with anyio.create_task_group() as tasks:
            for session, path in zip(sessions, paths, strict=True):
                tasks.start_soon(session.score, [ScoredStep(node=1, parent=None, path=path[:depth])])
        for session in sessions:
            total += await _closed(session)
    return total


async def _closed(session: RewardSession) -> ScoreUsage:
    usage = session.usage
    await session.close()
    return usage


def _node(depth: int, number: int) -> int:
    return depth * 1000 + number


async def timed(work: Callable[[], Awaitable[ScoreUsage]]) -> tuple[int, float, float]:
    """Return tokens evaluated, processor seconds and wall-clock seconds."""
    processor_s, wall_s = time.process_time(), time.perf_counter()
    usage = await work()
    seconds = time.process_time() - processor_s, time.perf_counter() - wall_s
    return usage.evaluated_tokens + usage.reevaluated_tokens, *seconds


async def measure(reward: RewardModel, question: str, paths: Paths, repeats: int) -> Row:
    """Return the medians of both ways at one depth."""
    found: list[tuple[tuple[int, float, float], tuple[int, float, float]]] = []
    for number in range(repeats):
        # One is not always first, so that whatever changes meanwhile changes both.
        ways = [incremental, anew] if number % 2 == 0 else [anew, incremental]
        results = {way: await timed(lambda way=way: way(reward, question, paths)) for way in ways}
        found.append((results[incremental], results[anew]))
    medians = [[statistics.median(each[side][part] for each in found) for part in range(3)] for side in range(2)]
    return Row(
        depth=len(paths[0]),
        steps=len(paths) * len(paths[0]),
        tokens=int(medians[0][0]),
        tokens_anew=int(medians[1][0]),
        processor_s=medians[0][1],
        processor_anew_s=medians[1][1],
        wall_s=medians[0][2],
        wall_anew_s=medians[1][2],
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| steps deep | tokens | tokens anew | ratio | steps/s of processor | anew | ratio | ratio by wall clock |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_line, rows)])


def _line(row: Row) -> str:
    return (
        f"| {row.depth} | {row.tokens:,} | {row.tokens_anew:,} | {row.tokens_anew / row.tokens:.1f} "
        f"| {row.steps / row.processor_s:,.0f} | {row.steps / row.processor_anew_s:,.0f} "
        f"| {row.processor_anew_s / row.processor_s:.1f} | {row.wall_anew_s / row.wall_s:.1f} |"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHeadRow:
    """REBASE searches, with means a problem: `policy_tokens` and `reward_tokens` are what was evaluated."""

    reward: str
    policy_tokens: float
    reward_tokens: float
    processor_s: float
    wall_s: float
    gflops: float


async def measure_own_head(file: Path, problems: Sequence[Problem], width: int, repeats: int) -> list[OwnHeadRow]:
    """Return the medians of searches with the head in the policy's file, with a copy of it, and without a reward."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(file, Path(folder) / f"copy-{file.name}"))
        kinds = {"own file": (file, "rebase"), "separate file": (copy, "rebase"), "none": (None, "majority")}
        found: dict[str, list[OwnHeadRow]] = {kind: [] for kind in kinds}
        async with AsyncExitStack() as stack:
            engines = {
                kind: await stack.enter_async_context(Engine(file, reward, isolation="thread", threads=1))
                for kind, (reward, _) in kinds.items()
            }
            for number in range(repeats):
                for kind in sorted(kinds, reverse=number % 2 == 1):
                    found[kind].append(await _search(engines[kind], kind, kinds[kind][1], width, problems))
    return [_median(found[kind]) for kind in kinds]


async def _search(engine: Engine, kind: str, strategy: str, width: int, problems: Sequence[Problem]) -> OwnHeadRow:
    processor_s, wall_s = time.process_time(), time.perf_counter()
    plan = make_strategy(strategy, width=width)
    usages = [(await engine.solve(problem, strategy=plan, seed=0)).usage for problem in problems]
    seconds = time.process_time() - processor_s, time.perf_counter() - wall_s
    count = len(problems)
    return OwnHeadRow(
        reward=kind,
        policy_tokens=sum(each.policy.prompt_tokens + each.policy.generated_tokens for each in usages) / count,
        reward_tokens=sum(each.reward.evaluated_tokens for each in usages) / count,
        processor_s=seconds[0] / count,
        wall_s=seconds[1] / count,
        gflops=sum(each.flops for each in usages) / count / 1e9,
    )


def _median(rows: Sequence[OwnHeadRow]) -> OwnHeadRow:
    names = ("policy_tokens", "reward_tokens", "processor_s", "wall_s", "gflops")
    return OwnHeadRow(
        reward=rows[0].reward, **{name: statistics.median(getattr(row, name) for row in rows) for name in names}
    )


def own_head_table(rows: Sequence[OwnHeadRow]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| head | tokens of the policy | of the reward | processor seconds | wall seconds | GFLOPs |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.reward} | {row.policy_tokens:,.0f} | {row.reward_tokens:,.0f} | {row.processor_s:.3f} "
        f"| {row.wall_s:.3f} | {row.gflops:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


async def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--reward", default="demo-prm")
    parser.add_argument("--paths", type=int, default=16)
    parser.add_argument("--depths", default="2,4,8,16", help="at most 24 steps deep")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--own-head", type=Path, metavar="FILE", help="measure this instead")
    parser.add_argument("--task", default="arithmetic", help="bundled task for --own-head")
    parser.add_argument("--count", type=int, default=40, help="problems for --own-head")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if given.own_head is not None:
        problems = generate_problems(count=given.count, seed=given.seed, task=given.task)
        found = await measure_own_head(given.own_head, problems, given.paths, given.repeats)
        print(own_head_table(found))
        _save(given.json, found)
        return
    # In a thread of this process, so that its processor time counts.
    config = EngineConfig(isolation="thread", threads=1)
    rows: list[Row] = []
    async with AsyncExitStack() as stack:
        reward = await load_reward(stack, given.reward, config)
        assert reward is not None
        for depth in map(int, given.depths.split(",")):
            question, paths = make_paths(given.paths, depth, given.seed)
            if not rows:
                await incremental(reward, question, paths)
            rows.append(await measure(reward, question, paths, given.repeats))
    print(table(rows))
    _save(given.json, rows)


def _save(path: Path | None, rows: Sequence[Row] | Sequence[OwnHeadRow]) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    anyio.run(main)
