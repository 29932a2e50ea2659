"""Speed of one ramify process and of two beside each other that want the same cores.

    python benchmarks/shared_cores.py --model FILE.gguf [--threads auto,2,1] [--spins 600,2000] [--rounds 3]

Each process votes among 8 paths of one problem; its clock runs from the first token asked for to the answer, without
loading. "auto" leaves the number of threads to ramify. `--spins` are the rounds that threads spin for each other
(GOMP_SPINCOUNT). Settings take turns; figures are medians over the rounds. "together / alone" is what the machine does
with two processes, in terms of one process alone with the same setting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from itertools import product
from pathlib import Path

import anyio

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips did "
    "Natalia sell altogether in April and May?"
)
PATHS = 8
BESIDE_S = 2.0
"""Two processes begin this long after they have loaded the model, so that neither loads while the other runs."""


async def searched(model: str, threads: int | None, tokens: int, wait_s: float) -> float:
    """Return the generated tokens a second of one vote in this process."""
    import time

    import ramify
    from ramify.search.registry import make_strategy

    async with ramify.Engine(model, threads=threads, reward="none") as engine:
        vote = make_strategy("majority", width=PATHS)
        await engine.solve(QUESTION, strategy=vote, budget=ramify.Budget(generated_tokens=2 * PATHS), seed=9)
        await anyio.sleep(wait_s)
        begun_s = time.monotonic()
        found = await engine.solve(QUESTION, strategy=vote, budget=ramify.Budget(generated_tokens=tokens), seed=1)
        return found.usage.policy.generated_tokens / (time.monotonic() - begun_s)


async def timed(options: argparse.Namespace, threads: str, spins: str, processes: int) -> list[float]:
    """Return the speeds of so many processes that begin together."""
    command = [sys.executable, __file__, "--model", str(options.model), "--tokens", str(options.tokens)]
    command += ["--one", threads, "--wait", str(BESIDE_S if processes > 1 else 0.0)]
    environment = {**os.environ, "GOMP_SPINCOUNT": spins}
    running = [
        await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
        for _ in range(processes)
    ]
    replies = [await each.communicate() for each in running]
    return [json.loads(out) for out, _ in replies]


async def compared(options: argparse.Namespace) -> None:
    """Measure all settings by turns, and print the table."""
    settings = list(product(options.threads.split(","), options.spins.split(",")))
    alone: dict[tuple[str, str], list[float]] = {each: [] for each in settings}
    together: dict[tuple[str, str], list[float]] = {each: [] for each in settings}
    for _ in range(options.rounds):
        for setting in settings:
            alone[setting] += await timed(options, *setting, 1)
            together[setting].append(sum(await timed(options, *setting, 2)))
    print("| model | threads | rounds of spinning | alone | two together | together / alone |")
    print("|---|---|---|---|---|---|")
    for setting in settings:
        one, two = statistics.median(alone[setting]), statistics.median(together[setting])
        print(f"| {options.model.name} | {' | '.join(setting)} | {one:.0f} | {two:.0f} | {two / one:.2f} |")


def main() -> None:
    """Compare settings, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", default="auto,2,1")
    parser.add_argument("--spins", default="600")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=480, help="generated tokens of a vote")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--wait", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is None:
        asyncio.run(compared(options))
    else:
        threads = None if options.one == "auto" else int(options.one)
        print(json.dumps(anyio.run(searched, str(options.model), threads, options.tokens, options.wait)))


if __name__ == "__main__":
    main()
