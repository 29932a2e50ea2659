"""Server against the engine in process: tokens per second, time to the first byte of a stream, memory.

    python benchmarks/serve.py [--requests 200] [--clients 32] [--memory 2000] [--out FILE]

The same problems are searched by `ramify serve`, asked by many clients at a time over HTTP, and by `solve_many` in a
process of its own, with equal numbers of searches at a time. The two take turns; the rates are those of all turns
together, for a second of the clock and for a second of processor time (of the server or the engine, and of its worker),
which other programs on the machine change less. The time to the first byte is that of streams on an idle server, so
that it holds no queueing. The last part sends many short requests and reads the resident memory of the server's
processes. /proc is read, so it needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

TEMPERATURE = 0.1
"""Balance of REBASE on both sides; by default the loaded reward chooses it."""
WARM_UP = 0.5
"""Share of the requests after which memory should be flat."""
TURNS = "server,process,process,server"
"""Order of the two; each comes once before and once after the other."""
ROUTE = "/v1/chat/completions"
IN_PROCESS = "--in-process"
"""Option of a child process that measures the engine alone."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Generated tokens, seconds of the clock, processor seconds of the main process and of its worker."""

    tokens: int = 0
    seconds: float = 0.0
    main_s: float = 0.0
    worker_s: float = 0.0

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            self.main_s + other.main_s,
            self.worker_s + other.worker_s,
        )

    @property
    def rates(self) -> dict[str, float]:
        """Tokens per second, and the processor time of 1,000 tokens."""
        return {
            "tokens_per_s": self.tokens / self.seconds,
            "tokens_per_processor_s": self.tokens / (self.main_s + self.worker_s),
            "main_ms_per_1000": 1e6 * self.main_s / self.tokens,
            "worker_ms_per_1000": 1e6 * self.worker_s / self.tokens,
        }


def children_of(pid: int) -> list[int]:
    """Return the child processes of a process, whichever of its threads started them."""
    return [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text(encoding="ascii").split()
    ]


def own_processor_s(pid: int) -> float:
    """Return the processor time of a process without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processor_s(pid: int) -> tuple[float, float]:
    """Return the processor time of a process, and of its children together."""

    def whole(child: int) -> float:
        return own_processor_s(child) + sum(map(whole, children_of(child)))

    return own_processor_s(pid), sum(map(whole, children_of(pid)))


@contextmanager
def measured(pid: int) -> Generator[list[Measured]]:
    """Measure a block: the list that is yielded has the figures afterwards, the tokens are for the block to add."""
    found = list[Measured]()
    main_s, worker_s = processor_s(pid)
    begun_s = time.monotonic()
    yield found
    seconds = time.monotonic() - begun_s
    main_later_s, worker_later_s = processor_s(pid)
    found.append(Measured(0, seconds, main_later_s - main_s, worker_later_s - worker_s))


@contextmanager
def served(options: argparse.Namespace) -> Generator[tuple[subprocess.Popen[str], str]]:
    """Run a server on a free port and yield its process and its address."""
    command = [sys.executable, "-m", "ramify", "serve", "--port", "0", "--max-queued", "4096"]
    command += ["--model", options.model, "--max-runs", str(options.parallel), "--threads", str(options.threads)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        drain = None
        try:
            line = next(line for line in process.stderr if "is served at" in line)
            # Nobody reads the log on: it must not fill the pipe.
            drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
            yield process, line.split("served at http://")[1].split("/v1")[0]
        finally:
            process.terminate()
            process.wait()
            if drain is not None:
                drain.wait()


def body(options: argparse.Namespace, question: str, **fields: Any) -> bytes:
    """Return the body of a request for one question."""
    asked = {
        "model": options.model,
        "messages": [{"role": "user", "content": question}],
        "ramify": {"strategy": "rebase", "width": options.width, "tree_temperature": TEMPERATURE},
        **fields,
    }
    return json.dumps(asked).encode()


HEADERS = {"Content-Type": "application/json"}


def through_server(options: argparse.Namespace, pid: int, address: str, questions: Sequence[str]) -> Measured:
    """Ask all questions, `clients` at a time, each over a connection that it keeps."""
    waiting = [body(options, question) for question in questions]

    def client(_: int) -> int:
        connection, tokens = HTTPConnection(address), 0
        while waiting:
            connection.request("POST", ROUTE, waiting.pop(), HEADERS)
            reply = connection.getresponse()
            text = reply.read()
            if reply.status != 200:
                raise SystemExit(f"status {reply.status}: {text[:500]!r}")
            tokens += json.loads(text)["usage"]["completion_tokens"]
        connection.close()
        return tokens

    with measured(pid) as found, ThreadPoolExecutor(options.clients) as pool:
        tokens = sum(pool.map(client, range(options.clients)))
    return replace(found[0], tokens=tokens)


async def solve_all(options: argparse.Namespace, questions: Sequence[str]) -> Measured:
    """Search all questions with one engine in this process."""
    import ramify

    async with ramify.Engine(options.model, threads=options.threads) as engine:
        strategy = ramify.Rebase(width=options.width, temperature=TEMPERATURE)
        await engine.solve(questions[0], strategy=strategy)
        tokens = 0
        with measured(os.getpid()) as found:
            async for solution in engine.solve_many(questions, parallel=options.parallel, strategy=strategy):
                tokens += solution.usage.policy.generated_tokens
        return replace(found[0], tokens=tokens)


def in_process(questions: Sequence[str]) -> Measured:
    """Search all questions with one engine in a process of its own."""
    command = [sys.executable, __file__, IN_PROCESS, *sys.argv[1:]]
    done = subprocess.run(command, input=json.dumps(questions), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return Measured(*json.loads(done.stdout))


def first_bytes(options: argparse.Namespace, address: str, questions: Sequence[str]) -> list[float]:
    """Return the seconds to the first byte of the body of each stream, one stream at a time."""
    found = list[float]()
    for question in questions:
        connection = HTTPConnection(address)
        connection.connect()
        begun_s = time.monotonic()
        connection.request("POST", ROUTE, body(options, question, stream=True), HEADERS)
        reply = connection.getresponse()
        reply.read(1)
        found.append(time.monotonic() - begun_s)
        reply.read()
        connection.close()
    return found


def resident_mib(pid: int) -> float:
    """Return the memory that a process has in RAM."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def memory(options: argparse.Namespace, pid: int, address: str, questions: Sequence[str]) -> dict[str, Any]:
    """Return the resident memory in MiB of the server and of its worker after each twentieth of the requests."""
    main, workers = list[float](), list[float]()
    for part in range(20):
        count = options.memory // 20
        chosen = [questions[(part * count + number) % len(questions)] for number in range(count)]
        through_server(options, pid, address, chosen)
        main.append(round(resident_mib(pid), 1))
        workers.append(round(sum(map(resident_mib, children_of(pid))), 1))
        print(f"{(part + 1) * count} requests: {main[-1]} + {workers[-1]} MiB", file=sys.stderr)
    total = [sum(both) for both in zip(main, workers, strict=True)]
    half = int(len(total) * WARM_UP)
    return {"memory_mib": main, "worker_memory_mib": workers, "growth": max(total[half:]) / total[half] - 1}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    import ramify

    count = max(options.requests, options.streams, 1)
    problems = ramify.generate_problems(steps=(2, 6), count=count, seed=options.seed)
    questions = [problem.question for problem in problems]
    turns = options.turns.split(",")
    sums = dict.fromkeys(turns, Measured())
    with served(options) as (process, address):
        through_server(options, process.pid, address, questions[: options.parallel])
        report: dict[str, Any] = {"requests": options.requests, "clients": options.clients, "width": options.width}
        if options.streams:
            firsts = first_bytes(options, address, questions[: options.streams])
            report["median_first_byte_ms"] = 1000 * statistics.median(firsts)
        if options.requests:
            for place in turns:
                chosen = questions[: options.requests]
                if place == "server":
                    sums[place] += through_server(options, process.pid, address, chosen)
                else:
                    sums[place] += in_process(chosen)
            for place, found in sums.items():
                report[place] = {"tokens": found.tokens, **found.rates}
            for rate in ("tokens_per_s", "tokens_per_processor_s") if len(sums) == 2 else ():
                report[f"ratio_of_{rate}"] = report["server"][rate] / report["process"][rate]
        if options.memory:
            report |= memory(options, process.pid, address, questions)
    return report


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-m")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--parallel", type=int, default=4, help="searches at a time, on both sides")
    parser.add_argument("--turns", default=TURNS, help="what is measured, in this order")
    parser.add_argument("--streams", type=int, default=30, help="streams whose first byte is timed")
    parser.add_argument("--memory", type=int, default=2000, help="requests of the memory test; 0 leaves it out")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path)
    parser.add_argument(IN_PROCESS, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.in_process:
        import anyio

        found = anyio.run(solve_all, options, json.load(sys.stdin))
        print(json.dumps([found.tokens, found.seconds, found.main_s, found.worker_s]))
        return
    text = json.dumps(measure(options), indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
