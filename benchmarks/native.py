"""Decode throughput, sampling included, against llama.cpp's own `llama-batched-bench`, which draws no tokens.

    python benchmarks/native.py --native BUILD/bin/llama-batched-bench [--model FILE.gguf] [--lanes 1,4,16,64]

Both use the same library, file, threads, shared prompt and numbers of tokens, in turns, so that the ratio holds on a
machine whose speed drifts. The native tool runs with one KV cache for all sequences and with one for each, with and
without flash attention; ramify, as it sets itself up, is compared with the best of the four. Without --model a model of
random weights in the shape of SmolLM-135M is written, Q8_0, with --vocabulary tokens. Build the tool from the llama.cpp
that comes in the source package of llama-cpp-python: `cmake -B build && cmake --build build --target
llama-batched-bench`. The library is the one beside the tool, or with --library installed the one that is installed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

LIBRARY_VARIABLE = "LLAMA_CPP_LIB_PATH"


MODES = {"one cache": (True, "on"), "split": (False, "on"), "one cache, no flash": (True, "off"),
         "split, no flash": (False, "off")}  # fmt: skip
"""Ways in which the native tool runs: whether all sequences share a cache, and flash attention."""


WARM_UP = 4
"""Tokens that each lane generates before the clock runs; the native tool warms up as well."""


def native_speed(options: argparse.Namespace, model: Path, lanes: int, mode: str, *, buffers: str) -> float:
    """Return the tokens per second that the native tool generates."""
    unified, flash = MODES[mode]
    cells = options.prompt + lanes * (options.tokens if unified else options.prompt + options.tokens) + 64
    command = [
        str(options.native), "-m", str(model), "-c", str(cells), "-npp", str(options.prompt), "-ntg",
        str(options.tokens), "-npl", str(lanes), "-pps", "-t", str(options.threads), "-tb", str(options.threads),
        "-fa", flash, "--output-format", "jsonl", *(["-kvu"] if unified else []),
        *([] if buffers == "all" else ["-nr"]),
    ]  # fmt: skip
    folders = [options.library_folder, options.native.resolve().parent]
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not rows:
        raise SystemExit(f"{options.native} failed with {done.returncode}: {done.stderr[-500:]}")
    return float(rows[-1]["speed_tg"])


async def ramify_speed(options: argparse.Namespace, model: Path, lanes: int) -> tuple[float, float]:
    """Return the tokens per second of ramify's worker, the prompt being there already, and sampling's share of a step.

    A token that several lanes drew after the same ones counts once, as it is evaluated once. Tokens that end a text
    are never drawn, so that all lanes are as long as those of the native tool.
    """
    from ramify.engine.runtime.llama.config import ModelConfig
    from ramify.engine.runtime.messages import StepRequest, StepResult
    from ramify.engine.runtime.serve.client import Runtime

    config = ModelConfig(
        path=str(model), threads=options.threads, max_lanes=lanes, pools=1,
        context_tokens=max(256, options.prompt + (lanes + 1) * (options.tokens + WARM_UP) + 64),
        muted=_ends(str(model)),
    )  # fmt: skip
    results: list[StepResult] = []
    async with Runtime("process") as runtime:
        loaded = await runtime.load(config)
        run = await loaded.open_run([3 + place * 7 % 97 for place in range(options.prompt)])
        first = range(1, lanes + 1)
        warm = [StepRequest(parent=0, child=child, seed=child, max_tokens=WARM_UP) for child in first]
        await run.expand(warm, allowance=None, on_result=lambda result: None)
        run.release(list(first))
        before = await loaded.statistics()
        wanted = [StepRequest(parent=0, child=lanes + child, seed=child, max_tokens=options.tokens) for child in first]
        started = time.perf_counter()
        await run.expand(wanted, allowance=None, on_result=results.append)
        seconds = time.perf_counter() - started
        after = await loaded.statistics()
        run.close()
    sampling_s, decode_s = after.sampling_s - before.sampling_s, after.decode_s - before.decode_s
    evaluated = sum(len(result.tokens) - result.shared_tokens for result in results)
    return evaluated / seconds, sampling_s / (sampling_s + decode_s)


def _ends(path: str) -> tuple[int, ...]:
    from ramify.engine.runtime.llama.config import ModelConfig
    from ramify.engine.runtime.llama.native import Model

    model = Model(ModelConfig(path=path), vocabulary_only=True)
    try:
        return tuple(sorted(model.vocabulary.ends))
    finally:
        model.close()


def measure(options: argparse.Namespace, model: Path, lanes: int, buffers: str) -> dict[str, Any]:
    """Return the medians over the rounds for one number of lanes."""
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    own: list[float] = []
    shares: list[float] = []
    for _ in range(options.rounds):
        for mode in MODES:
            found[mode].append(native_speed(options, model, lanes, mode, buffers=buffers))
        speed, share = anyio.run(ramify_speed, options, model, lanes)
        own.append(speed)
        shares.append(share)
    ratios = [speed / max(each) for speed, *each in zip(own, *found.values(), strict=True)]
    medians = {mode: statistics.median(values) for mode, values in found.items()}
    return {
        "lanes": lanes, "native": medians, "ramify": statistics.median(own), "ratio": statistics.median(ratios),
        "sampling": statistics.median(shares), "ratios": ratios,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--native", type=Path, required=True, help="llama-batched-bench")
    parser.add_argument("--library", choices=("native", "installed"), default="native", help="which library both use")
    parser.add_argument("--model", type=Path, help="GGUF file (default: random weights, 135M, Q8_0)")
    parser.add_argument("--vocabulary", type=int, default=49_152, help="tokens of the random model")
    parser.add_argument("--lanes", default="1,4,16,64")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the shared prompt")
    parser.add_argument("--tokens", type=int, default=64, help="tokens that each lane generates")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    options = parser.parse_args(arguments)
    options.library_folder = _library_folder(options)
    os.environ[LIBRARY_VARIABLE] = str(options.library_folder)
    from ramify.engine.runtime.llama.probe import usable_buffers

    with tempfile.TemporaryDirectory() as folder:
        model: Path | None = options.model
        if model is None:
            from random_model import write_model

            model = write_model(Path(folder) / "random-135m.gguf", vocabulary=options.vocabulary)
        buffers = usable_buffers(str(model))
        rows = list[dict[str, Any]]()
        sys.stdout.write(f"special CPU buffers: {buffers}{'' if buffers == 'all' else ', as others crash here'}\n")
        sys.stdout.write(f"| lanes | {' | '.join(MODES)} | ramify | ramify / best native | sampling |\n")
        sys.stdout.write(f"|{'---|' * (len(MODES) + 4)}\n")
        for lanes in [int(each) for each in options.lanes.split(",")]:
            row = measure(options, model, lanes, buffers)
            rows.append(row)
            cells = " | ".join(f"{row['native'][mode]:.0f}" for mode in MODES)
            sys.stdout.write(
                f"| {lanes} | {cells} | {row['ramify']:.0f} | {row['ratio']:.2f} | {row['sampling']:.1%} |\n"
            )
            sys.stdout.flush()
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _library_folder(options: argparse.Namespace) -> Path:
    if options.library == "native":
        return options.native.resolve().parent
    from importlib.util import find_spec

    found = find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise SystemExit("llama-cpp-python is not installed")
    return Path(found.origin).parent / "lib"


if __name__ == "__main__":
    main()
