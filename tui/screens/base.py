"""Base class of the screens: keys from the registry, a footer, and frames whose number depends on their cost."""

from __future__ import annotations

import os
import time
from typing import ClassVar

from textual.binding import BindingType
from textual.screen import Screen
from textual.timer import Timer

from ..common.actions import Action
from ..common.program import Program, program_of
from ..widgets.footer import ActionFooter

FRAME_S = 0.1
"""Shortest time between two frames."""
SHARE = 0.03
"""Part of the processors that the screen may take before frames become rarer."""
MOST_SKIPPED = 4
"""Number of ticks in a row that are left out at most."""
LEAST_HEIGHT = 18
"""Rows below which a screen leaves out all but its main part."""


class FrameLimiter:
    """Decides at each tick of FRAME_S whether to draw; where a frame is expensive, the next ones are left out.

    `processors` are those that the search and the screen share; one is the search's own.
    """

    def __init__(self, processors: int = 2) -> None:
        self._share = SHARE * max(1, processors - 1)
        self._last_s: float | None = None
        self._cost_s = 0.0
        self._skipped = 0
        self._used_s = 0.0

    def hurry(self) -> None:
        """Have the next tick draw, as somebody waits for the effect of a key."""
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
        # Half the old cost, so that one expensive frame, such as the first, is soon forgotten.
        self._cost_s = (self._cost_s + self._used_s) / 2
        self._used_s, self._skipped = 0.0, 0
        return True


class RamifyScreen(Screen[None]):
    """A screen of the registry's area `area`; `frame` is called while something may change."""

    area: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = []
    _frames: Timer | None = None

    def __init__(self) -> None:
        super().__init__()
        self._limiter = FrameLimiter(os.cpu_count() or 2)

    @property
    def program(self) -> Program:
        """The program."""
        return program_of(self)

    def animate_frames(self) -> None:
        """Start drawing frames; call it on mount."""
        self._frames = self.set_interval(FRAME_S, self._frame)

    def frame(self) -> bool:
        """Draw all changes; False if nothing can change any more."""
        return False

    def wake(self) -> None:
        """Go on drawing frames, as something may have changed, and draw the next one without delay."""
        self._limiter.hurry()
        if self._frames is not None:
            self._frames.resume()

    def _frame(self) -> None:
        if not self.is_current and not self.program.screen.is_modal:
            return
        if not self._limiter.due(time.thread_time()):
            return
        if not self.frame() and self._frames is not None:
            self._frames.pause()

    def on_screen_resume(self) -> None:
        """Draw again, as things may have changed behind another screen."""
        self.wake()
        self.refresh_footer()

    def on_resize(self) -> None:
        """Draw again for the new size."""
        self.set_class(self.size.height < LEAST_HEIGHT, "-tiny")
        self.redraw()

    def redraw(self) -> None:
        """Draw everything with the next frame, whether it changed or not."""
        self.wake()

    def refresh_footer(self) -> None:
        """Draw the footer again, as other actions may be possible now."""
        for footer in self.query(ActionFooter):
            footer.refresh()

    def title_of(self, action: Action) -> str:
        """Return the present title of an action in the footer."""
        return action.title
