"""Server against the engine in process: tokens per second, time to the first byte of a stream, memory.

    python benchmarks/serve.py [--requests 200] [--clients 32] [--memory 2000] [--out FILE]

The same problems are searched by `ramify serve`, asked by many clients at a time over HTTP, and by `solve_many` in this
process, with equal numbers of searches at a time; both orders are run and the rates are those of both together. The
time to the first byte is that of streams on an idle server, so that it holds no queueing. The last part sends many
short requests and reads the resident memory of the server's processes from /proc; it needs Linux.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2

TEMPERATURE = 0.1
"""Balance of REBASE on both sides; by default the loaded reward chooses it."""
WARM_UP = 0.5
"""Share of the requests after which memory should be flat."""


@contextmanager
def served(options: argparse.Namespace) -> Any:
    """Run a server on a free port and yield its process and URL."""
    command = [sys.executable, "-m", "ramify", "serve", "--port", "0", "--max-queued", "4096"]
    command += ["--model", options.model, "--max-runs", str(options.parallel), "--threads", str(options.threads)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = next(line for line in process.stderr if "is served at" in line)
            # Nobody reads the log on: it must not fill the pipe.
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield process, line.split("served at ")[1].split("/v1")[0]
        finally:
            process.terminate()
            process.wait()
            drain.wait()


def request(options: argparse.Namespace, question: str, **fields: Any) -> dict[str, Any]:
    """Return the body of a request for one question."""
    return {
        "model": options.model,
        "messages": [{"role": "user", "content": question}],
        "ramify": {"strategy": "rebase", "width": options.width, "tree_temperature": TEMPERATURE},
        **fields,
    }


async def through_server(options: argparse.Namespace, url: str, questions: Sequence[str]) -> tuple[int, float]:
    """Ask all questions, `clients` at a time; return the generated tokens and the seconds."""
    waiting = list(questions)
    tokens = 0

    async def client() -> None:
        nonlocal tokens
        async with httpx2.AsyncClient(timeout=None) as http:
            while waiting:
                reply = await http.post(f"{url}/v1/chat/completions", json=request(options, waiting.pop()))
                reply.raise_for_status()
                tokens += reply.json()["usage"]["completion_tokens"]

    begun_s = time.monotonic()
    async with anyio.create_task_group() as tasks:
        for _ in range(options.clients):
            tasks.start_soon(client)
    return tokens, time.monotonic() - begun_s


async def in_process(options: argparse.Namespace, questions: Sequence[str]) -> tuple[int, float]:
    """Search all questions with one engine; return the generated tokens and the seconds."""
    import ramify

    async with ramify.Engine(options.model, threads=options.threads) as engine:
        strategy = ramify.Rebase(width=options.width, temperature=TEMPERATURE)
        await engine.solve(questions[0], strategy=strategy)
        tokens, begun_s = 0, time.monotonic()
        async for solution in engine.solve_many(questions, parallel=options.parallel, strategy=strategy):
            tokens += solution.usage.policy.generated_tokens
        return tokens, time.monotonic() - begun_s


async def first_bytes(options: argparse.Namespace, url: str, questions: Sequence[str]) -> list[float]:
    """Return the seconds to the first byte of the body of each stream, one stream at a time."""
    found = list[float]()
    async with httpx2.AsyncClient(timeout=None) as http:
        for question in questions:
            begun_s = time.monotonic()
            body = request(options, question, stream=True)
            async with http.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
                async for _ in reply.aiter_raw():
                    found.append(time.monotonic() - begun_s)
                    break
    return found


def resident_mib(pid: int) -> float:
    """Return the memory that a process and its children have in RAM."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    own = next(
        int(line.split()[1]) / 1024
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmRSS:")
    )
    return own + sum(resident_mib(int(child)) for child in children)


async def memory(options: argparse.Namespace, process: Any, url: str, questions: Sequence[str]) -> list[float]:
    """Return the resident memory in MiB after each twentieth of `options.memory` requests."""
    found = list[float]()
    for part in range(20):
        count = options.memory // 20
        chosen = [questions[(part * count + number) % len(questions)] for number in range(count)]
        await through_server(options, url, chosen)
        found.append(round(resident_mib(process.pid), 1))
    return found


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    import ramify

    problems = ramify.generate_problems(steps=(2, 6), count=options.requests, seed=options.seed)
    questions = [problem.question for problem in problems]
    sums = {"server": [0, 0.0], "process": [0, 0.0]}
    with served(options) as (process, url):
        await through_server(options, url, questions[:1])
        firsts = await first_bytes(options, url, questions[: options.streams])
        for place in ("server", "process", "process", "server"):
            if place == "server":
                tokens, seconds = await through_server(options, url, questions)
            else:
                tokens, seconds = await in_process(options, questions)
            sums[place][0] += tokens
            sums[place][1] += seconds
        rates = {place: tokens / seconds for place, (tokens, seconds) in sums.items()}
        report: dict[str, Any] = {
            "requests": options.requests,
            "clients": options.clients,
            "tokens": {place: tokens for place, (tokens, _) in sums.items()},
            "tokens_per_s": rates,
            "ratio": rates["server"] / rates["process"],
            "median_first_byte_ms": 1000 * statistics.median(firsts),
        }
        if options.memory:
            read = await memory(options, process, url, questions)
            half = int(len(read) * WARM_UP)
            report |= {"memory_mib": read, "growth": max(read[half:]) / read[half] - 1}
    return report


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-m")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--parallel", type=int, default=4, help="searches at a time, on both sides")
    parser.add_argument("--streams", type=int, default=30, help="streams whose first byte is timed")
    parser.add_argument("--memory", type=int, default=2000, help="requests of the memory test; 0 leaves it out")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    report = anyio.run(measure, options)
    text = json.dumps(report, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
