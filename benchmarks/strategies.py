"""Accuracy and cost of the strategies on fresh problems of the bundled task.

    python benchmarks/strategies.py --count 200 --seed 4242 --out docs/results/strategies.json

Every strategy sees the same problems with the same seeds. Accuracy comes with a 95 % Wilson interval, differences to
REBASE with a paired bootstrap interval. Prompt and reward tokens are counted separately from generated ones.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

import ramify

WIDTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One strategy's figures over all problems; tokens are means a problem."""

    strategy: str
    model: str
    accuracy: float
    low: float
    high: float
    versus_rebase: tuple[float, float, float] | None
    generated_tokens: float
    prompt_tokens: float
    reward_tokens: float
    reevaluated_tokens: int
    gflops: float
    wall_s: float
    correct: tuple[bool, ...]


def strategies() -> list[Any]:
    """Return the strategies to be compared, all of one width."""
    return [
        ramify.Greedy(),
        ramify.Majority(width=WIDTH),
        ramify.Weighted(width=WIDTH),
        ramify.BestOfN(width=WIDTH),
        ramify.BeamSearch(width=WIDTH),
        ramify.Dvts(width=WIDTH),
        ramify.ParticleFilter(width=WIDTH),
        ramify.Mcts(width=WIDTH),
        ramify.AbMcts(width=WIDTH),
        ramify.Widening(width=WIDTH),
        ramify.Rebase(width=WIDTH),
    ]


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (Wilson 1927)."""
    share = successes / count
    centre = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return (centre - spread) / scale, (centre + spread) / scale


def paired_difference(left: Sequence[bool], right: Sequence[bool], draws: int = 10_000) -> tuple[float, float, float]:
    """Return mean(left - right) with its 95 % bootstrap interval over problems."""
    differences = [int(a) - int(b) for a, b in zip(left, right, strict=True)]
    generator = random.Random(0)
    means = sorted(sum(generator.choices(differences, k=len(differences))) / len(differences) for _ in range(draws))
    return sum(differences) / len(differences), means[int(0.025 * draws)], means[int(0.975 * draws)]


async def measure(
    engine: ramify.Engine, strategy: Any, problems: Sequence[ramify.Problem], seed: int, name: str
) -> Row:
    """Solve all problems with one strategy."""
    started = time.monotonic()
    solutions = {
        solution.problem_id: solution
        async for solution in engine.solve_many(
            problems, parallel=1, strategy=strategy, seed=seed, budget=ramify.Budget()
        )
    }
    wall_s = time.monotonic() - started
    found = [solutions[problem.id] for problem in problems]
    correct = tuple(
        each.answer is not None and ramify.answers_equal(each.answer, problem.answer or "")
        for each, problem in zip(found, problems, strict=True)
    )
    low, high = wilson(sum(correct), len(correct))
    count = len(found)
    usages = [each.usage for each in found]
    return Row(
        strategy=strategy.name if strategy.width == 1 else f"{strategy.name}@{strategy.width}",
        model=name,
        accuracy=sum(correct) / count,
        low=low,
        high=high,
        versus_rebase=None,
        generated_tokens=sum(usage.policy.generated_tokens for usage in usages) / count,
        prompt_tokens=sum(usage.policy.prompt_tokens for usage in usages) / count,
        reward_tokens=sum(usage.reward.evaluated_tokens for usage in usages) / count,
        reevaluated_tokens=sum(usage.policy.reevaluated_tokens + usage.reward.reevaluated_tokens for usage in usages),
        gflops=sum(usage.flops for usage in usages) / count / 1e9,
        wall_s=wall_s,
        correct=correct,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| model | strategy | accuracy | 95 % interval | minus REBASE | generated tokens | reward tokens "
        "| re-evaluated | GFLOPs |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        versus = "" if row.versus_rebase is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row.versus_rebase)
        lines.append(
            f"| {row.model} | {row.strategy} | {row.accuracy:.3f} | {row.low:.3f} to {row.high:.3f} | {versus} "
            f"| {row.generated_tokens:.0f} | {row.reward_tokens:.0f} | {row.reevaluated_tokens} | {row.gflops:.2f} |"
        )
    return "\n".join(lines)


async def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", action="append", help="policy, may be given again (default: demo-m)")
    parser.add_argument("--reward", default="demo-prm")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, required=True, help="seed of the problems and of the sampling")
    parser.add_argument("--threads", type=int, help="processor threads of each model (default: all)")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    options = parser.parse_args()
    problems = ramify.generate_problems(count=options.count, seed=options.seed)
    rows: list[Row] = []
    for name in options.model or ["demo-m"]:
        async with ramify.Engine(model=name, reward=options.reward, threads=options.threads) as engine:
            measured: list[Row] = []
            for strategy in strategies():
                measured.append(await measure(engine, strategy, problems, options.seed, name))
                sys.stderr.write(f"{name} {measured[-1].strategy}: {measured[-1].accuracy:.3f}\n")
        rebase = measured[-1]
        for row in measured:
            versus = None if row is rebase else paired_difference(row.correct, rebase.correct)
            rows.append(Row(**{**asdict(row), "versus_rebase": versus}))
    sys.stdout.write(table(rows) + "\n")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "seed": options.seed,
            "count": options.count,
            "reward": options.reward,
            "rows": [asdict(row) for row in rows],
        }
        options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(main)
