"""Accuracy of a budget shared by Portfolio and of an equal split, on fresh problems of the bundled task.

    python benchmarks/adaptive.py --count 100 --seed 7 --tokens-per-problem 400,800 --out docs/results/adaptive.json

Both get the same total of generated tokens and draw the very same paths in the same order for each problem, so the
difference is only where they went. Accuracy comes with a 95 % Wilson interval, the difference with a paired bootstrap.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

import ramify
from ramify.engine.ensembles.shared_budget import solve_set
from ramify.search.budget_sharing import Allocator, EqualSplit, Portfolio
from ramify.statistics import paired_difference, wilson


async def measure(
    engine: ramify.Engine, problems: Sequence[ramify.Problem], tokens: int, allocator: Allocator, seed: int
) -> dict[str, Any]:
    """Solve the set and return the figures."""
    found = await solve_set(engine, problems, generated_tokens=tokens, allocator=allocator, seed=seed, parallel=4)
    right = [
        each is not None and each.answer is not None and ramify.answers_equal(each.answer, problem.answer or "")
        for each, problem in zip(found, problems, strict=True)
    ]
    low, high = wilson(sum(right), len(right))
    return {
        "allocator": type(allocator).__name__,
        "accuracy": sum(right) / len(right),
        "low": low,
        "high": high,
        "generated_tokens": sum(each.usage.policy.generated_tokens for each in found if each is not None),
        "paths": [0 if each is None else len(each.candidates) for each in found],
        "right": right,
    }


async def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="demo-m")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--tokens-per-problem", default="400,800,1600")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    problems = ramify.generate_problems(count=options.count, seed=options.seed)
    rows = list[dict[str, Any]]()
    async with ramify.Engine(model=options.model, reward=None, threads=options.threads) as engine:
        for each in map(int, options.tokens_per_problem.split(",")):
            pair = [
                await measure(engine, problems, each * len(problems), allocator, options.seed)
                for allocator in (EqualSplit(tranche=4), Portfolio())
            ]
            difference = paired_difference(pair[1]["right"], pair[0]["right"], draws=10_000)
            shown = (difference.value, difference.low, difference.high)
            rows.append({"tokens_per_problem": each, "pair": pair, "portfolio_minus_equal": shown})
            sys.stdout.write(
                f"| {each} | {pair[0]['accuracy']:.3f} [{pair[0]['low']:.3f}, {pair[0]['high']:.3f}] "
                f"| {pair[1]['accuracy']:.3f} [{pair[1]['low']:.3f}, {pair[1]['high']:.3f}] "
                f"| {difference} "
                f"| {pair[0]['generated_tokens']} | {pair[1]['generated_tokens']} |\n"
            )
            sys.stdout.flush()
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"seed": options.seed, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(main)
