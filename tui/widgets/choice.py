"""A setting on one line: left and right change it, enter opens a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ..access import app_of

LABEL = 8
"""Columns of a label, so that values stand below each other."""


@dataclass(frozen=True, slots=True)
class Option:
    """A value that can be chosen, and what it means."""

    value: str
    help: str = ""


class Choice(Widget, can_focus=True):
    """A named value; `options` are offered, and with `free` any other text that `check` lets pass."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "turn(-1)", "previous", show=False),
        Binding("right", "turn(1)", "next", show=False),
        Binding("enter,space", "choose", "choose", show=False),
    ]

    value: reactive[str] = reactive("")

    class Changed(Message):
        """Another value was chosen."""

        def __init__(self, choice: Choice) -> None:
            super().__init__()
            self.choice = choice

        @property
        def control(self) -> Choice:
            """The setting."""
            return self.choice

    def __init__(
        self,
        name: str,
        *,
        label: str,
        help: str,
        options: Sequence[Option] = (),
        free: bool = False,
        check: Callable[[str], object] | None = None,
        prefix: str = "choice",
    ) -> None:
        super().__init__(id=f"{prefix}-{name}", name=name)
        self.label = label
        self.options = list(options)
        self.free = free
        self.check = check
        self.help_text = (
            f"{help} Left and right change it; enter opens a list{' and takes any other value' if free else ''}."
        )

    def render(self) -> RenderResult:
        """Return label and value, with arrows when it has the focus."""
        room = max(4, self.content_size.width - LABEL - 5)
        shown = self.value if len(self.value) <= room else "…" + self.value[1 - room :]
        left, right = ("‹", "›") if self.has_focus else (" ", " ")
        label, value = (f"{self.label:<{LABEL}} ", "$faint"), (f" {shown} ", "bold $foreground")
        return Content.assemble(label, (left, "$accent"), value, (right, "$accent"))

    def action_turn(self, by: int) -> None:
        """Take the next or the previous option."""
        values = [option.value for option in self.options]
        if not values:
            return
        place = values.index(self.value) if self.value in values else (-1 if by > 0 else 0)
        self.take(values[(place + by) % len(values)])

    def action_choose(self) -> None:
        """Open the list."""
        from ..screens.picker import Picker

        picker = Picker(self.label, self.options, self.value, free=self.free, check=self.check)
        app_of(self).push_screen(picker, lambda value: None if value is None else self.take(value))

    def on_click(self, event: events.Click) -> None:
        """Open the list."""
        self.focus()
        self.action_choose()

    def take(self, value: str) -> None:
        """Set the value and say so."""
        if value != self.value:
            self.value = value
            self.post_message(self.Changed(self))
