"""Decode throughput with sampling: ramify at several lanes against the high-level `Llama` class in a loop.

    python benchmarks/decode.py --model demo-m:f16 --lanes 1,4,16

Both sides use the same library, file, number of threads, prompts, sampling and token limit, in one process and in
turns, so that the ratio holds on a machine whose speed drifts. Loading and prompts are left out of neither side.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio

import ramify
from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.sampling_params import node_seed

MAX_TOKENS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Generated tokens per second over the rounds; `ratio` is the median of the rounds' ratios to `Llama`."""

    side: str
    tokens_per_s: float
    ratio: float


def llama_round(model: Any, prompts: Sequence[str], samples: int, seed: int) -> float:
    """Return the tokens per second of one completion after another."""
    tokens, started = 0, time.perf_counter()
    for prompt in prompts:
        for sample in range(samples):
            done = model.create_completion(
                prompt, max_tokens=MAX_TOKENS, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed + sample
            )
            tokens += done["usage"]["completion_tokens"]
    return tokens / (time.perf_counter() - started)


async def ramify_round(engine: ramify.Engine, questions: Sequence[str], lanes: int, seed: int) -> float:
    """Return the tokens per second of `lanes` completions at a time from each question."""
    results: list[StepResult] = []
    started = time.perf_counter()
    for question in questions:
        session = await engine.policy.open(question)
        requests = [
            StepRequest(
                parent=0,
                child=lane + 1,
                path=(lane,),
                seed=node_seed(seed, (lane,)),
                prefix="",
                max_tokens=MAX_TOKENS,
                sampling=ramify.SamplingParams(),
                to_the_end=True,
            )
            for lane in range(lanes)
        ]
        await session.expand(requests, allowance=None, on_result=results.append)
        await session.close()
    return sum(result.generated_tokens for result in results) / (time.perf_counter() - started)


async def main() -> None:
    """Measure all sides in turns."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="demo-m:f16", help="policy; a float one runs on every build")
    parser.add_argument("--lanes", default="1,4,16")
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from llama_cpp import Llama

    problems = ramify.generate_problems(count=options.problems, seed=77)
    questions = [problem.question for problem in problems]
    prompts = [f"<|user|>{question}<|assistant|>" for question in questions]
    lanes = [int(each) for each in options.lanes.split(",")]
    peer = Llama(
        str(resolve_model(options.model).path), n_ctx=512, n_threads=options.threads,
        n_threads_batch=options.threads, verbose=False,
    )  # fmt: skip
    speeds: dict[str, list[float]] = {"Llama": [], **{f"ramify, {count} lanes": [] for count in lanes}}
    async with ramify.Engine(model=options.model, reward=None, threads=options.threads) as engine:
        for number in range(options.rounds + 1):
            found = {"Llama": llama_round(peer, prompts, 1, number)}
            for count in lanes:
                found[f"ramify, {count} lanes"] = await ramify_round(engine, questions, count, number)
            if number:  # The first round warms caches up.
                for side, speed in found.items():
                    speeds[side].append(speed)
    rows = [
        Throughput(
            side=side,
            tokens_per_s=statistics.median(found),
            ratio=statistics.median(a / b for a, b in zip(found, speeds["Llama"], strict=True)),
        )
        for side, found in speeds.items()
    ]
    sys.stdout.write("| side | tokens/s | ratio to `Llama` |\n|---|---|---|\n")
    for row in rows:
        sys.stdout.write(f"| {row.side} | {row.tokens_per_s:.0f} | {row.ratio:.2f} |\n")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    anyio.run(main)
