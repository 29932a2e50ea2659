"""Time from the shell to the first token: ramify beside `llama_cpp.Llama` with the same file.

`python benchmarks/start.py FILE [--judge FILE] [--rounds 5]`. Both sides are whole processes that load the file, read
the same question in the file's chat format and write one token; with a judge, both load it too and read the text with
it. They take turns; the figures are medians of wall seconds and of processor seconds, worker included.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

QUESTION = "A pen costs 3 dollars and a book 4 dollars more. How much do both cost?"
PLAIN = """
import sys
from llama_cpp import Llama
threads, question, path, *judges = sys.argv[1:]
options = {"n_threads": int(threads), "n_threads_batch": int(threads), "verbose": False}
text = Llama(path, **options).create_chat_completion([{"role": "user", "content": question}], max_tokens=1)
for judge in judges:
    Llama(judge, **options)(question, max_tokens=1)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one process, on the clock and of the processors."""

    wall_s: float
    processor_s: float


def run(command: list[str], folder: Path) -> Cost:
    """Run a process to its end."""
    places = {"RAMIFY_CACHE_DIR": str(folder / "cache"), "RAMIFY_CONFIG": str(folder / "config.toml")}
    # Without compiled modules a checkout would be compiled in each process, which no installation is.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began_s = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**environment, **places}
    )
    assert process.stderr is not None
    said = process.stderr.read().decode("utf-8", "replace")
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began_s
    process.returncode = os.waitstatus_to_exitcode(status)
    # One token is no answer, which ramify says with exit code 4.
    if process.returncode not in (0, 4):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {said}")
    return Cost(wall_s, used.ru_utime + used.ru_stime)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    threads, judges = str(options.threads), [] if options.judge is None else [str(options.judge)]
    reward = f"mean-logprob:{options.judge}" if judges else "none"
    ours = [sys.executable, "-m", "ramify", QUESTION, "-m", str(options.file), "--reward", reward, "--threads", threads]
    ours += ["--strategy", "best-of-n", "--width", "1"] if judges else ["--strategy", "greedy"]
    ours += ["--max-path-tokens", "1", "--no-save", "--quiet"]
    sides = {
        "ramify": ours,
        "Llama": [sys.executable, "-c", PLAIN, threads, QUESTION, str(options.file), *judges],
        "ramify --help": [sys.executable, "-m", "ramify", "--help"],
    }
    costs: dict[str, list[Cost]] = {name: [] for name in sides}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.toml").touch()
        for number in range(options.rounds + 1):
            for side, command in sides.items():
                cost = run(command, folder)
                # The first round probes the processor and fills the system's caches.
                if number:
                    costs[side].append(cost)
    for side, found in costs.items():
        wall_s = statistics.median(each.wall_s for each in found)
        processor_s = statistics.median(each.processor_s for each in found)
        print(f"{side:14} {wall_s:7.2f} s  {processor_s:7.2f} s of processors")
    pairs = list(zip(costs["ramify"], costs["Llama"], strict=True))
    wall = statistics.median(ours.wall_s / plain.wall_s for ours, plain in pairs)
    processor = statistics.median(ours.processor_s / plain.processor_s for ours, plain in pairs)
    print(f"ramify / Llama: {wall:.2f} on the clock, {processor:.2f} of processors (load {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
