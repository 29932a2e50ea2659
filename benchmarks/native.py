"""Decode throughput, sampling included, beside llama.cpp: its benchmark, its C API from Python, and the `Llama` class.

    python benchmarks/native.py --model A.gguf B.gguf --lanes 1,8,16 [--native BUILD/bin/llama-batched-bench]

All sides use the same library, file, threads, shared prompt and numbers of tokens, in turns, so that the ratios hold on
a machine whose speed drifts. ramify, as it sets itself up and sampling included, is compared with the best of four ways
in which llama.cpp decodes a batch of all sequences: one KV cache for all of them or one for each, with and without
flash attention. These four are runs of llama-batched-bench where it is given, else loops over `llama_decode` from
Python; both draw no tokens. `Llama` is llama-cpp-python's own class, which writes one sequence after the
other, sampling included.
Build llama-batched-bench from the llama.cpp that comes in the source package of llama-cpp-python: `cmake -B build &&
cmake --build build --target llama-batched-bench`. The library is the one beside the tool, or with --library installed,
or without the tool, the one that is installed. Without --model a model of random weights in the shape of SmolLM-135M is
written, Q8_0, with --vocabulary tokens.
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
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import anyio

LIBRARY_VARIABLE = "LLAMA_CPP_LIB_PATH"


MODES = {"one cache": (True, "on"), "split": (False, "on"), "one cache, no flash": (True, "off"),
         "split, no flash": (False, "off")}  # fmt: skip
"""Ways in which the native tool, or a loop over `llama_decode`, runs: whether all sequences share a cache, and flash
attention."""


LLAMA, RAMIFY, BEST = "`Llama`", "ramify", "best mode"
"""Sides beside the modes, and the best of the modes."""

SIDES = (*MODES, LLAMA, RAMIFY)
"""All that is measured, in the order of the table."""

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


class Plain:
    """One file opened by llama-cpp-python alone, for the sides without ramify."""

    def __init__(self, options: argparse.Namespace, path: Path, buffers: str) -> None:
        from llama_cpp import Llama, llama_cpp

        self._lib: Any = llama_cpp
        self._options, self._prompt = options, prompt_tokens(options)
        defaults = llama_cpp.llama_model_default_params

        def checked_defaults() -> Any:
            """Return the class's settings of a model, without the buffers that crash here."""
            params = defaults()
            params.use_extra_bufts = buffers == "all"
            return params

        llama_cpp.llama_model_default_params = checked_defaults
        try:
            self._model: Any = Llama(
                str(path), n_ctx=max(256, options.prompt + options.tokens + WARM_UP + 64), n_batch=64,
                n_threads=options.threads, n_threads_batch=options.threads, verbose=False,
            )  # fmt: skip
        finally:
            llama_cpp.llama_model_default_params = defaults

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def loop_speed(self) -> float:
        """Return the tokens per second of `Llama` after its prompt, drawn by temperature 1."""
        self._model.reset()
        drawn: Iterator[int] = self._model.generate(self._prompt, temp=1.0, top_k=0, top_p=1.0, min_p=0.0)
        list(islice(drawn, WARM_UP))
        started = time.perf_counter()
        list(islice(drawn, self._options.tokens))
        return self._options.tokens / (time.perf_counter() - started)

    def decode_speed(self, lanes: int, mode: str) -> float:
        """Return the tokens per second of `llama_decode` with a token of each sequence in a batch, none drawn."""
        lib, options = self._lib, self._options
        unified, flash = MODES[mode]
        generated = options.tokens + WARM_UP
        params = lib.llama_context_default_params()
        params.n_ctx = max(256, options.prompt + (lanes if unified else 1) * generated + (64 if unified else 0))
        if not unified:
            params.n_ctx = lanes * -(-params.n_ctx // 256) * 256
        params.n_batch = params.n_ubatch = max(512, lanes)
        params.n_seq_max, params.kv_unified, params.no_perf = lanes, unified, True
        params.flash_attn_type = int(flash == "on")
        params.n_threads = params.n_threads_batch = options.threads
        context = lib.llama_init_from_model(self._model.model, params)
        batch = lib.llama_batch_init(max(512, lanes), 0, 1)

        def decode(places: Sequence[tuple[int, int]], *, output: bool) -> None:
            """Decode a token at each of the places, pairs of sequence and position."""
            batch.n_tokens = len(places)
            for index, (sequence, position) in enumerate(places):
                batch.token[index], batch.pos[index] = token_at(position + sequence), position
                batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, sequence, output
            if lib.llama_decode(context, batch):
                raise SystemExit("llama_decode failed")

        try:
            for start in range(0, options.prompt, 512):
                decode([(0, place) for place in range(start, min(start + 512, options.prompt))], output=False)
            for sequence in range(1, lanes):
                lib.llama_memory_seq_cp(lib.llama_get_memory(context), 0, sequence, -1, -1)
            started = time.perf_counter()
            for step in range(WARM_UP + options.tokens):
                if step == WARM_UP:
                    started = time.perf_counter()
                decode([(sequence, options.prompt + step) for sequence in range(lanes)], output=True)
            return lanes * options.tokens / (time.perf_counter() - started)
        finally:
            lib.llama_batch_free(batch)
            lib.llama_free(context)


def token_at(position: int) -> int:
    """Return the token that prompts, and sequences whose tokens are not drawn, have at a position."""
    return 3 + position * 7 % 97


def prompt_tokens(options: argparse.Namespace) -> list[int]:
    """Return the shared prompt."""
    return [token_at(place) for place in range(options.prompt)]


async def ramify_speed(options: argparse.Namespace, model: Path, lanes: int) -> tuple[float, float, float]:
    """Return the tokens per second of ramify's worker, the prompt being there already, and two shares of the seconds.

    They are that of sampling and that of everything but `llama_decode`, sampling included.

    A token that several lanes drew after the same ones counts once, as it is evaluated once. Tokens that end a text
    are never drawn, so that all lanes are as long as those of the native tool.
    """
    from ramify.engine.runtime.llama.config import ModelConfig
    from ramify.engine.runtime.messages import StepRequest, StepResult
    from ramify.engine.runtime.serve.client import Runtime

    config = ModelConfig(
        path=str(model), threads=options.threads, max_lanes=lanes, pools=1, muted=_ends(str(model)),
    )  # fmt: skip
    results: list[StepResult] = []
    async with Runtime("process") as runtime:
        loaded = await runtime.load(config)
        run = await loaded.open_run(prompt_tokens(options))
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
    return evaluated / seconds, sampling_s / seconds, 1 - decode_s / seconds


def _ends(path: str) -> tuple[int, ...]:
    from ramify.engine.runtime.llama.config import ModelConfig
    from ramify.engine.runtime.llama.native import Model

    model = Model(ModelConfig(path=path), vocabulary_only=True)
    try:
        return tuple(sorted(model.vocabulary.ends))
    finally:
        model.close()


def measure(options: argparse.Namespace, path: Path, plain: Plain, lanes: int, buffers: str) -> dict[str, Any]:
    """Return the medians over the rounds for one number of lanes, and of the rounds' ratios of ramify to the others."""
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    sampling: list[float] = []
    outside: list[float] = []
    for _ in range(options.rounds):
        for mode in MODES:
            if options.native:
                found[mode].append(native_speed(options, path, lanes, mode, buffers=buffers))
            else:
                found[mode].append(plain.decode_speed(lanes, mode))
        found[LLAMA].append(plain.loop_speed())
        speed, sampling_share, outside_share = anyio.run(ramify_speed, options, path, lanes)
        found[RAMIFY].append(speed)
        sampling.append(sampling_share)
        outside.append(outside_share)
    rounds = [dict(zip(found, speeds, strict=True)) for speeds in zip(*found.values(), strict=True)]
    ratios = {
        LLAMA: [each[RAMIFY] / each[LLAMA] for each in rounds],
        BEST: [each[RAMIFY] / max(each[mode] for mode in MODES) for each in rounds],
    }
    return {
        "model": path.name, "lanes": lanes, "speeds": {name: statistics.median(each) for name, each in found.items()},
        "ratios": {name: statistics.median(each) for name, each in ratios.items()}, "rounds": rounds,
        "sampling": statistics.median(sampling), "outside": statistics.median(outside),
    }  # fmt: skip


def write_row(cells: Sequence[str]) -> None:
    """Write one row of the table."""
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--native", type=Path, help="llama-batched-bench (default: it is left out)")
    parser.add_argument("--library", choices=("native", "installed"), default="native", help="which library all use")
    parser.add_argument("--model", type=Path, nargs="+", help="GGUF files (default: random weights, 135M, Q8_0)")
    parser.add_argument("--vocabulary", type=int, default=49_152, help="tokens of the random model")
    parser.add_argument("--lanes", default="1,4,16,64", help="sequences in a batch")
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
        paths: list[Path] = options.model or []
        if not paths:
            from random_model import write_model

            paths = [write_model(Path(folder) / "random-135m.gguf", vocabulary=options.vocabulary)]
        rows = list[dict[str, Any]]()
        compared = [LLAMA, BEST]
        head = [
            "model",
            "lanes",
            *SIDES,
            *(f"ramify / {name}" for name in compared),
            "sampling",
            "outside `llama_decode`",
        ]
        write_row(head)
        write_row(["---"] * len(head))
        for path in paths:
            buffers = usable_buffers(str(path))
            if buffers != "all":
                sys.stderr.write(f"{path.name}: special CPU buffers: {buffers}, as others crash here\n")
            plain = Plain(options, path, buffers)
            for lanes in [int(each) for each in options.lanes.split(",")]:
                row = measure(options, path, plain, lanes, buffers)
                rows.append(row)
                write_row([
                    path.name, str(lanes), *(f"{row['speeds'][name]:.0f}" for name in SIDES),
                    *(f"{row['ratios'][name]:.2f}" for name in compared), f"{row['sampling']:.1%}",
                    f"{row['outside']:.1%}",
                ])  # fmt: skip
            plain.close()
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _library_folder(options: argparse.Namespace) -> Path:
    if options.native and options.library == "native":
        return options.native.resolve().parent
    from importlib.util import find_spec

    found = find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise SystemExit("llama-cpp-python is not installed")
    return Path(found.origin).parent / "lib"


if __name__ == "__main__":
    main()
