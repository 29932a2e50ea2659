"""What the terminal UI costs: a frame of the tree, the first paint, and what drawing takes from decoding.

    python benchmarks/tui_frames.py             all three
    python benchmarks/tui_frames.py --no-model  without the last, which searches on the bundled models

A frame is what one tenth of a second of a fast search brings: 32 events, then the rows laid out and the screen drawn.
Drawing is measured by searching the same questions with the UI and without it, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pty
import random
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from ramify.cli.options import SearchPlan
from ramify.engine.events import Event, NodeAdded, NodeScored, NodesDispatched
from ramify.search.node import FinishReason, NodeState
from ramify.tui.app import RamifyApp
from ramify.tui.screens.run import RunScreen
from ramify.tui.session import Session
from ramify.tui.spec import RunSpec
from ramify.tui.state.run_view import Phase, RunView

SIZE = (120, 40)
EVENTS_A_FRAME = 32
STARTED = b"Recent runs"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--questions", type=int, default=24)
    parser.add_argument("--no-model", action="store_true")
    arguments = parser.parse_args()
    print(f"processor time of a frame at {SIZE[0]}x{SIZE[1]}, median and 95th percentile of {arguments.frames}")
    for nodes in arguments.nodes:
        times_ms = sorted(asyncio.run(frames(nodes, arguments.frames)))
        tail = times_ms[int(len(times_ms) * 0.95) - 1]
        print(f"  {nodes:>5} nodes  {statistics.median(times_ms):6.1f} ms  {tail:6.1f} ms")
    starts = [first_paint_s() for _ in range(arguments.starts)]
    print(f"first paint, from starting the process: median {statistics.median(starts):.2f} s, best {min(starts):.2f} s")
    if not arguments.no_model:
        asyncio.run(slowdown(arguments.questions))


def grown(nodes: int, seed: int = 0) -> Iterator[Event]:
    """Yield the events of a tree that grows at random places."""
    draw = random.Random(seed)
    for node in range(1, nodes + 1):
        parent = draw.randrange(max(0, node - 64), node)
        yield NodesDispatched(parent=parent, nodes=(node,))
        yield NodeAdded(
            node=node,
            parent=parent,
            depth=1,
            text=f"Step {node}: there are {draw.randrange(100)} pears in the basket now.\n",
            generated_tokens=12,
            logprob=-3.0,
            state=NodeState.OPEN,
            finish_reason=FinishReason.STEP,
            answer=None,
        )
        yield NodeScored(node=node, score=draw.random())


class Growing(Session):
    """A run that grows by a frame's events at a time."""

    def __init__(self, nodes: int, frames: int) -> None:
        super().__init__(RunSpec("How many pears?"), RunView("How many pears?"))
        self._events = grown(nodes + EVENTS_A_FRAME * (frames + 2) // 3 + 10)
        self.view.set_phase(Phase.RUNNING)
        self.grow(nodes * 3)

    def grow(self, count: int = EVENTS_A_FRAME) -> None:
        """Take in the next events."""
        for _ in range(count):
            self.view.apply(next(self._events))


async def frames(nodes: int, count: int) -> list[float]:
    """Return the processor time in milliseconds of each frame, from the events to the painted screen."""
    app = RamifyApp(SearchPlan.from_options)
    session = Growing(nodes, count)
    times = list[float]()
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(1.0)
        app.show_session(session)
        await pilot.pause(0.5)
        screen = app.screen
        assert isinstance(screen, RunScreen) and screen._frames is not None
        screen._frames.stop()
        for _ in range(count):
            await pilot.pause()
            began_s = time.thread_time()
            session.grow()
            screen.frame()
            await pilot.pause()
            times.append((time.thread_time() - began_s) * 1000)
    return times


def first_paint_s() -> float:
    """Return the seconds from starting `ramify` in a terminal to its first complete screen."""
    master, slave = pty.openpty()
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "ramify", "tui"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", "RAMIFY_DATA": folder},
            start_new_session=True,
        )
        os.close(slave)
        output = b""
        while STARTED not in output and select.select([master], [], [], 30)[0]:
            output += os.read(master, 1 << 16)
        taken_s = time.perf_counter() - began_s
        os.write(master, b"\x11")
        while select.select([master], [], [], 5)[0]:
            try:
                if not os.read(master, 1 << 16):
                    break
            except OSError:
                break
        process.wait()
        os.close(master)
    return taken_s


async def slowdown(questions: int) -> None:
    """Print what drawing takes from the speed of the same searches, each done with the UI and without it."""
    from ramify.engine.engine import Engine
    from ramify.models.problems import generate_problems

    problems = generate_problems(steps=(6, 8), count=questions, seed=11)
    app = RamifyApp(SearchPlan.from_options)
    ratios, drawn = list[float](), 0
    async with app.run_test(size=SIZE) as pilot, Engine() as engine:
        await pilot.pause(1.0)
        app._make_engine = None
        for number, problem in enumerate(problems):
            order = (True, False) if number % 2 else (False, True)
            rate = dict[bool, float]()
            for watched in order:
                if watched:
                    session = app.new_session(RunSpec(problem.question))
                    assert session is not None
                    app.show_session(session)
                    await asyncio.wait([session.task])
                    drawn += isinstance(app.screen, RunScreen)
                    usage = session.view.usage
                    app.go_home()
                    await pilot.pause()
                else:
                    usage = (await engine.solve(problem.question)).usage
                assert usage is not None
                rate[watched] = usage.tokens_per_s
            if number:  # The first one loads models and warms up.
                ratios.append(rate[True] / rate[False])
        await app.action_quit()
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"speed with the UI over speed without it, {len(ratios)} questions: "
        f"median {middle:.3f} (quartiles {low:.3f} to {high:.3f}), {drawn} drawn"
    )


if __name__ == "__main__":
    main()
