"""How often frames are drawn, so that drawing never takes much of the processor from the search."""

from __future__ import annotations

FRAME_S = 0.1
"""Shortest time between two frames."""
SHARE = 0.03
"""Part of the processors that the screen may take before frames become rarer."""
MOST_SKIPPED = 4


class Pace:
    """Decides at each tick of FRAME_S whether to draw; where a frame is dear, the next ones are left out.

    `processors` are those that the search and the screen share; one is the search's own.
    """

    def __init__(self, processors: int = 2) -> None:
        self._share = SHARE * max(1, processors - 1)
        self._last_s: float | None = None
        self._cost_s = 0.0
        self._skipped = 0
        self._used_s = 0.0

    def hurry(self) -> None:
        """Have the next tick draw, as somebody waits to see what a key did."""
        self._skipped = MOST_SKIPPED

    def due(self, thread_s: float) -> bool:
        """Tell whether to draw now; `thread_s` is the processor time of this thread so far.

        All that the thread did since the last frame counts as its cost: events, layout and painting.
        """
        if self._last_s is not None:
            self._used_s += thread_s - self._last_s
        self._last_s = thread_s
        if self._skipped < min(MOST_SKIPPED, int(self._cost_s / (FRAME_S * self._share))):
            self._skipped += 1
            return False
        # Half the old cost, so that one dear frame, such as the first, is soon forgotten.
        self._cost_s = (self._cost_s + self._used_s) / 2
        self._used_s, self._skipped = 0.0, 0
        return True
