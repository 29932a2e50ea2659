"""Cost of the terminal UI: a frame of the tree, the first paint, and the share of decoding time.

    python benchmarks/tui_frames.py             all three
    python benchmarks/tui_frames.py --no-model  without the last, which searches on the bundled models

A frame is what one tenth of a second of a fast search brings: 32 events, then the rows laid out and the screen drawn.
Drawing is measured by searching the same questions with the UI and without it, in turns. On a busy machine only the
processor times mean anything.
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
from collections import deque

from ramify.cli.options import SearchPlan
from ramify.events import Event, NodeAdded, NodeScored, NodesDispatched
from ramify.search.node import FinishReason, NodeState
from ramify.tui.app import RamifyApp
from ramify.tui.screens.run import RunScreen
from ramify.tui.state.run_view import Phase, RunView
from ramify.tui.state.session import Session
from ramify.tui.state.spec import RunSpec

SIZE = (120, 40)
EVENTS_A_FRAME = 32
STARTED = b"Recent runs"
MODEL, WIDTH, TOKENS = "demo-l", 64, 8000
"""A search of some seconds, so that it is the drawing that is measured and not the opening of a screen."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--questions", type=int, default=6)
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


class Growing(Session):
    """A run whose tree grows at random places; the events of a frame are taken in when it is drawn."""

    def __init__(self, nodes: int, seed: int = 0) -> None:
        super().__init__(RunSpec("How many pears?"), RunView("How many pears?"))
        self._draw = random.Random(seed)
        self._events = deque[Event]()
        self.view.set_phase(Phase.RUNNING)
        for _ in range(nodes):
            self._add_node()
        self.take_in(len(self._events))

    def search(self) -> None:
        """Grow the tree by a frame's events, as the engine does between two frames."""
        while len(self._events) < EVENTS_A_FRAME:
            self._add_node()

    def take_in(self, count: int = EVENTS_A_FRAME) -> None:
        """Take in the next events."""
        for _ in range(count):
            self.view.apply(self._events.popleft())

    def _add_node(self) -> None:
        tree, draw = self.view.tree, self._draw
        node = len(tree)
        parent = draw.randrange(max(0, node - 64), node)
        text, score = f"Step {node}: there are {draw.randrange(100)} pears in the basket now.\n", draw.random()
        tree.add_pending(parent)
        tree.complete(node, text, (), -3.0, token_count=12)
        tree.score(node, score)
        self._events += [
            NodesDispatched(parent=parent, nodes=(node,)),
            NodeAdded(
                node=node,
                parent=parent,
                depth=tree.node(node).depth,
                text=text,
                generated_tokens=12,
                logprob=-3.0,
                state=NodeState.OPEN,
                finish_reason=FinishReason.STEP,
                answer=None,
            ),
            NodeScored(node=node, score=score),
        ]


async def frames(nodes: int, count: int) -> list[float]:
    """Return the processor time in milliseconds of each frame, from the events to the painted screen."""
    app = RamifyApp(SearchPlan.from_options)
    session = Growing(nodes)
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
            session.search()
            began_s = time.thread_time()
            session.take_in()
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
    """Print what the UI takes from the speed of long searches, each done with it and without it."""
    from ramify.engine.engine import Engine
    from ramify.models.tasks import generate_problems
    from ramify.search.budget import Budget
    from ramify.search.strategies.rebase import Rebase

    problems = generate_problems(steps=(8, 8), count=questions + 1, seed=11)
    asked = RunSpec().with_options(model=MODEL, strategy="rebase", width=WIDTH, max_generated_tokens=TOKENS)
    ratios, shares = list[float](), list[float]()
    app = RamifyApp(SearchPlan.from_options)
    async with app.run_test(size=SIZE) as pilot, Engine(model=MODEL) as engine:
        await pilot.pause(1.0)
        for number, problem in enumerate(problems):
            rates = dict[bool, float]()
            for watched in (True, False) if number % 2 else (False, True):
                cpu_s, wall_s = time.process_time(), time.perf_counter()
                if watched:
                    session = app.new_session(asked.with_question(problem.question))
                    assert session is not None
                    app.show_session(session)
                    await asyncio.wait([session.task])
                    usage = session.view.usage
                else:
                    budget = Budget(generated_tokens=TOKENS)
                    usage = (await engine.solve(problem.question, strategy=Rebase(width=WIDTH), budget=budget)).usage
                assert usage is not None
                rates[watched] = usage.tokens_per_s
                share = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
                if watched:
                    app.go_home()
                    await pilot.pause()
                    shares.append(share)
            if number:  # The first one loads models and warms up.
                ratios.append(rates[True] / rates[False])
        await app.action_quit()
    print(
        f"speed with the UI over speed without it, {MODEL}, width {WIDTH}, {len(ratios)} questions: "
        f"median {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); "
        f"this process, which draws, used {statistics.median(shares):.1%} of one processor"
    )


if __name__ == "__main__":
    main()
