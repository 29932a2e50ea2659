"""Number of threads for a decode while other programs use the same processors.

The threads of llama.cpp wait for each other many times in a decode. If another program takes the processor of one of
them, all others wait with it, so more threads than free processors are slower than fewer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ramify.host_resources import allowed_processors

WINDOW_S = 0.25
"""Seconds between two looks at the processors."""

MUCH_WAITING = 0.2
"""Share of their time that threads wait for a processor from which on there are too many of them."""

IDLE_SHARE = 0.8
"""Share of a window that a processor is idle from which on it can take another thread."""

LEAST_HOLD_S, MOST_HOLD_S = 0.5, 8.0
"""Seconds after threads were taken away until they are added again; the more often in vain, the longer."""

_PROC = Path("/proc")

Waits = Mapping[str, tuple[float, float]]
"""Seconds that each thread of this process has run, and has waited for a processor, by the id of the thread."""


class FreeCores:
    """Chooses the threads of each decode: `most` on a machine without other work, fewer where they would wait.

    A window of WINDOW_S in which the threads waited for processors lowers the number to those that could run. Where
    processors are idle it rises again, later each time that this was followed by waiting. Where the system does not
    tell these times the number is always `most`. `waits` returns the times of the threads, `idle_seconds` the idle time
    of each processor that the process may use, and `clock` seconds; they are parameters for tests.
    """

    def __init__(
        self,
        most: int,
        *,
        waits: Callable[[], Waits] | None = None,
        idle_seconds: Callable[[], list[float]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = self._threads = most
        self._read_waits, self._read_idle, self._clock = waits or thread_waits, idle_seconds or idle_times, clock
        self._looked_s = clock()
        self._changed_s = self._looked_s
        self._hold_s = LEAST_HOLD_S
        self._waits: Waits = self._read_waits() if most > 1 else {}
        self._idle: list[float] = []

    def threads(self) -> int:
        """Return the number of threads for the next decode."""
        now_s = self._clock()
        window_s = now_s - self._looked_s
        if self.most > 1 and window_s >= WINDOW_S:
            self._looked_s = now_s
            self._look(now_s, window_s)
        return self._threads

    def _look(self, now_s: float, window_s: float) -> None:
        before, self._waits = self._waits, self._read_waits()
        ran = waited = 0.0
        for thread, (run_s, wait_s) in self._waits.items():
            if thread in before:
                ran += run_s - before[thread][0]
                waited += wait_s - before[thread][1]
        idle_before, self._idle = self._idle, self._read_idle() if self._threads < self.most else []
        if self._threads > 1 and waited > MUCH_WAITING * (ran + waited) and ran + waited > window_s / 2:
            raised_lately = now_s - self._changed_s < 2 * self._hold_s
            self._hold_s = min(MOST_HOLD_S, 2 * self._hold_s) if raised_lately else LEAST_HOLD_S
            fitting = round(self._threads * ran / (ran + waited))
            self._threads, self._changed_s = max(1, min(self._threads - 1, fitting)), now_s
            self._idle = []
        elif idle_before and now_s - self._changed_s >= self._hold_s:
            spent = zip(self._idle, idle_before, strict=False)
            free = sum(after - earlier >= IDLE_SHARE * window_s for after, earlier in spent)
            if free:
                self._threads, self._changed_s = min(self.most, self._threads + free), now_s


def thread_waits(root: Path = _PROC) -> Waits:
    """Return the times of all threads of this process, none where the system does not tell them."""
    found = dict[str, tuple[float, float]]()
    try:
        for thread in os.listdir(root / "self/task"):
            ran, waited, *_ = (root / f"self/task/{thread}/schedstat").read_bytes().split()
            found[thread] = int(ran) / 1e9, int(waited) / 1e9
    except (OSError, ValueError):
        # A thread may end between the two calls; the others say enough.
        pass
    return found


def idle_times(root: Path = _PROC) -> list[float]:
    """Return the seconds that each processor which this process may use has been idle, none where it is not known."""
    try:
        allowed = {f"cpu{number}" for number in allowed_processors()}
        ticks_s = 1 / os.sysconf("SC_CLK_TCK")
        lines = [line.split() for line in (root / "stat").read_text("ascii").splitlines() if line.startswith("cpu")]
        return [(int(line[4]) + int(line[5])) * ticks_s for line in lines if line[0] in allowed]
    except (OSError, ValueError, IndexError):
        return []
