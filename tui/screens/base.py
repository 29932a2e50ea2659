"""What all screens share: keys from the registry, a footer, and a frame that is drawn only when something changed."""

from __future__ import annotations

import os
import time
from typing import ClassVar

from textual.binding import BindingType
from textual.screen import Screen
from textual.timer import Timer

from ..common.actions import Action
from ..common.program import Program, program_of
from ..state.pace import FRAME_S, Pace
from ..widgets.footer import ActionFooter

LEAST_HEIGHT = 18
"""Rows below which a screen leaves out all but its main part."""


class RamifyScreen(Screen[None]):
    """A screen of the registry's area `area`; `frame` is called while something may change."""

    area: ClassVar[str] = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-short"), (32, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = []
    _frames: Timer | None = None

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pace(os.cpu_count() or 2)

    @property
    def program(self) -> Program:
        """The program."""
        return program_of(self)

    def animate_frames(self) -> None:
        """Start drawing frames; call it on mount."""
        self._frames = self.set_interval(FRAME_S, self._frame)

    def frame(self) -> bool:
        """Draw what has changed; False if nothing can change any more."""
        return False

    def wake(self) -> None:
        """Go on drawing frames, as something may have changed, and draw the next one without delay."""
        self._pace.hurry()
        if self._frames is not None:
            self._frames.resume()

    def _frame(self) -> None:
        if not self.is_current and not self.program.screen.is_modal:
            return
        if not self._pace.due(time.thread_time()):
            return
        if not self.frame() and self._frames is not None:
            self._frames.pause()

    def on_screen_resume(self) -> None:
        """Draw again what may have changed behind another screen."""
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
        """Return what the footer calls an action now."""
        return action.title
