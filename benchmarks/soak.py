"""Soak test: memory of one engine over thousands of problems.

    python benchmarks/soak.py [--problems 2000] [--out DIR]

One engine with the bundled policy and reward model searches problem after problem, four at a time, some of them
cancelled half-way. Now and then the resident memory of the worker and of this process is read from /proc, and, with
nothing in flight, the sequences and cells that the worker holds. Memory is flat if it grows by less than a few per cent
in the second half of the problems; sequences and cells must be 0. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

WARM_UP = 0.5
"""Share of the problems after which memory should be flat: caches of tokenised steps take a while to fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Readings after a number of problems; memory in MiB, times in seconds since the start."""

    problems: int
    seconds: float
    worker_mib: float
    own_mib: float
    sequences: int
    cells: int


def resident_mib(pid: int) -> float:
    """Return the memory that a process has in RAM, of which pages of the model file are a part."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"the process {pid} has no VmRSS; this needs Linux")


async def soak(options: argparse.Namespace) -> list[Look]:
    """Search all problems and return the readings on the way."""
    import ramify

    problems = ramify.generate_problems(steps=(2, 6), count=options.problems, seed=options.seed)
    looks = list[Look]()
    started = time.monotonic()
    async with ramify.Engine(threads=options.threads) as engine:
        runtime: Any = getattr(engine.policy, "model").runtime  # noqa: B009  # The worker is none of the engine's face.

        async def look(done: int) -> None:
            counters = [await model.statistics() for model in list(runtime._models.values())]
            looks.append(
                Look(
                    problems=done,
                    seconds=time.monotonic() - started,
                    worker_mib=resident_mib(runtime.worker.process.pid),
                    own_mib=resident_mib(os.getpid()),
                    sequences=sum(each.sequences_used for each in counters),
                    cells=sum(each.cells_used for each in counters),
                )
            )

        await look(0)
        for first in range(0, len(problems), options.every):
            batch = problems[first : first + options.every]
            async with anyio.create_task_group() as tasks:
                limiter = anyio.CapacityLimiter(options.parallel)
                for number, problem in enumerate(batch, start=first):
                    tasks.start_soon(_one, engine, problem, number, limiter, options)
            await look(first + len(batch))
            sys.stderr.write(f"\r{first + len(batch)} of {len(problems)}, worker {looks[-1].worker_mib:.1f} MiB ")
    sys.stderr.write("\n")
    return looks


async def _one(engine: Any, problem: Any, number: int, limiter: anyio.CapacityLimiter, options: Any) -> None:
    import ramify

    budget = ramify.Budget(generated_tokens=options.tokens)
    strategy = ramify.Rebase(width=options.width)
    async with limiter:
        if number % options.cancel_every:
            await engine.solve(problem, strategy=strategy, budget=budget, seed=number)
        else:
            with anyio.move_on_after(0.05):
                await engine.solve(problem, strategy=strategy, budget=budget, seed=number)


def summary(looks: Sequence[Look]) -> dict[str, Any]:
    """Return the growth after warm-up and the largest numbers of what is held with nothing in flight."""
    warm = next(each for each in looks if each.problems >= WARM_UP * looks[-1].problems and each.problems)
    return {
        "problems": looks[-1].problems,
        "seconds": round(looks[-1].seconds, 1),
        "warm_at": warm.problems,
        "worker_mib": {"start": looks[0].worker_mib, "warm": warm.worker_mib, "end": looks[-1].worker_mib},
        "own_mib": {"start": looks[0].own_mib, "warm": warm.own_mib, "end": looks[-1].own_mib},
        "worker_growth": looks[-1].worker_mib / warm.worker_mib - 1,
        "own_growth": looks[-1].own_mib / warm.own_mib - 1,
        "sequences": max(each.sequences for each in looks),
        "cells": max(each.cells for each in looks),
    }


def plot(looks: Sequence[Look], path: Path) -> None:
    """Draw the memory of both processes over the problems."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    done = [each.problems for each in looks]
    axes.plot(done, [each.worker_mib for each in looks], label="worker")
    axes.plot(done, [each.own_mib for each in looks], label="engine's process")
    axes.axvline(WARM_UP * done[-1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="problems", ylabel="resident memory, MiB", ylim=(0, None))
    axes.legend(frameon=False)
    figure.savefig(path)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it and print the summary as JSON; exit with 1 if something is held or memory grows beyond the limit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--width", type=int, default=4, help="paths of each search")
    parser.add_argument("--tokens", type=int, default=160, help="generated tokens of each search")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, default=50, help="problems between two looks")
    parser.add_argument("--cancel-every", type=int, default=10, help="one in so many is cancelled after 50 ms")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--limit", type=float, default=0.05, help="growth after warm-up that is let pass")
    parser.add_argument("--out", type=Path, help="folder for soak.json and soak.svg")
    options = parser.parse_args(arguments)
    looks = anyio.run(soak, options)
    found = summary(looks)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        rows = [asdict(each) for each in looks]
        (options.out / "soak.json").write_text(json.dumps({"summary": found, "looks": rows}, indent=1) + "\n")
        plot(looks, options.out / "soak.svg")
    grown = max(found["worker_growth"], found["own_growth"])
    if found["sequences"] or found["cells"] or grown > options.limit:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
