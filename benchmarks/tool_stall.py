"""Throughput of decoding while tools run: paths whose tools take 200 ms, against the same paths with instant tools.

    python benchmarks/tool_stall.py MODEL.gguf [--paths 16] [--delay-ms 200] [--tokens 200] [--rounds 3] [--seed 0]

Every second sentence of a path ends with a call, whatever the model writes, so that any model file will do. The tool
sleeps and says "ok". Both runs of a round have the same seed. A run is measured while at least three quarters of its
paths are unfinished. Its seconds are the processor time of the whole process (decoding takes one thread), and the time
in which nothing was decoded because all unfinished paths waited for tools. What else runs here does not count. A path
that waits is no part of a decode, which is narrower then and costs more for each token: so the mean number of
sequences in a decode, and its processor time, are told as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass

import anyio

import ramify
import ramify.engine.engine
import ramify.engine.policy.prompts.prompt_format
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.messages import Statistics
from ramify.search.node import NodeState, Origin
from ramify.tools.forms import PYTHON, Call, CallReader, Calls
from ramify.tools.tool import tool

LEAST_SHARE = 0.75
"""Share of the paths that are unfinished while a run is measured."""
QUESTION = "Write a very long story about a river and a town, in short sentences."


class EverySecondSentence(CallReader):
    """Reads a call of the tool at the end of every second sentence, after which the path goes on."""

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        """From one full stop to the next."""
        return ((".", "."),)

    def read(self, text: str) -> Calls:
        """Return the call at the end of a text, None if it has too few sentences."""
        return (Call(PYTHON, {"line": text[-80:]}),) if text.count(".") > 1 else None


@dataclass(slots=True)
class Measured:
    """Generated tokens and calls of one run, and its seconds: of processor time, without any decoding, and in all.

    `decodes` are the calls of llama.cpp, and `sequences` the sequences that drew a token in them, summed up.
    """

    tokens: int = 0
    calls: int = 0
    decodes: int = 0
    sequences: int = 0
    processor_s: float = 0.0
    stalled_s: float = 0.0
    wall_s: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second on a machine that does nothing else."""
        return self.tokens / (self.processor_s + self.stalled_s)

    @property
    def width(self) -> float:
        """Mean number of sequences that draw a token in a decode."""
        return self.sequences / self.decodes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--paths", type=int, default=16)
    parser.add_argument("--delay-ms", type=float, default=200.0)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round")
    anyio.run(_measure, parser.parse_args())


async def _measure(arguments: argparse.Namespace) -> None:
    for module in (ramify.engine.engine, ramify.engine.policy.prompts.prompt_format):
        module.CallReader = EverySecondSentence
    ratios, widths = list[float](), list[float]()
    async with ramify.Engine(arguments.model, None, isolation="thread", threads=1, step_format="line") as engine:
        # The first run of an engine reads its prompt and the vocabulary.
        await _run(engine, argparse.Namespace(**vars(arguments) | {"tokens": 16}), 0.0, arguments.seed)
        for seed in range(arguments.seed, arguments.seed + arguments.rounds):
            delays = (0.0, arguments.delay_ms / 1000) if seed % 2 else (arguments.delay_ms / 1000, 0.0)
            measured = {delay: await _run(engine, arguments, delay, seed) for delay in delays}
            instant, slow = measured[0.0], measured[max(delays)]
            ratios.append(slow.rate / instant.rate)
            widths.append(slow.width / instant.width)
            for name, each in (("instant", instant), (f"{arguments.delay_ms:g} ms", slow)):
                print(
                    f"seed {seed}  tools {name:<8} {each.tokens:>6} tokens {each.calls:>4} calls  "
                    f"processor {each.processor_s:6.1f} s  nothing decoded {each.stalled_s:5.2f} s  "
                    f"wall {each.wall_s:6.1f} s  {each.rate:6.1f} tokens/s  "
                    f"{each.width:5.2f} sequences and "
                    f"{1000 * each.processor_s / each.decodes:5.1f} ms a decode",
                    flush=True,
                )
    for name, found in (("throughputs", ratios), ("sequences in a decode", widths)):
        print(f"ratio of the {name}: median {statistics.median(found):.3f} of {[round(each, 3) for each in found]}")


async def _run(engine: ramify.Engine, arguments: argparse.Namespace, delay_s: float, seed: int) -> Measured:
    # The one tool of which models without a form of calls are told.
    @tool(name=PYTHON)
    async def wait(line: str) -> str:
        """Wait."""
        await anyio.sleep(delay_s)
        return "ok"

    found = Measured()
    options = {"max_path_tokens": arguments.tokens, "max_tool_calls": 1000, "max_run_tool_calls": 100_000}
    strategy = ramify.MajorityVote(width=arguments.paths)
    budget = ramify.Budget()
    async with (
        anyio.create_task_group() as tasks,
        engine.run(QUESTION, strategy=strategy, tools=[wait], budget=budget, seed=seed, **options) as run,
    ):

        async def watch() -> None:
            first = await _counters(engine)
            before = began = time.monotonic()
            processor = time.process_time()
            while arguments.paths - run.tree.finished_count >= arguments.paths * LEAST_SHARE:
                await anyio.sleep(0.02)
                now = time.monotonic()
                pending = [node.origin for node in run.tree if node.state is NodeState.PENDING]
                if pending and all(origin is Origin.TOOL for origin in pending):
                    found.stalled_s += now - before
                before = now
                found.tokens = run.usage.policy.generated_tokens
                found.calls = sum(node.origin is Origin.TOOL for node in run.tree)
                found.wall_s, found.processor_s = now - began, time.process_time() - processor
            last = await _counters(engine)
            found.decodes = last.decode_calls - first.decode_calls
            found.sequences = last.shared_sequences - first.shared_sequences

        tasks.start_soon(watch)
        await run.result()
        tasks.cancel_scope.cancel()
    return found


async def _counters(engine: ramify.Engine) -> Statistics:
    assert isinstance(engine.policy, LlamaPolicy)
    return await engine.policy.model.statistics()


if __name__ == "__main__":
    main()
