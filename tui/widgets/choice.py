"""A setting on one line, and the dialog with the list of its values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option as ListOption

from ramify.text import cut, padded, printable, width_of

from ..common.program import explain, program_of

LABEL = 8
"""Columns of a label, so that values stand below each other."""


@dataclass(frozen=True, slots=True)
class Option:
    """A value that can be chosen, and its meaning."""

    value: str
    help: str = ""


class Choice(Widget, can_focus=True):
    """A named value; `options` are offered, and with `free` any other text that `check` lets pass.

    Of a long value the end is shown, with `from_start` the beginning, and with `short` that of what it returns.
    """

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
        from_start: bool = False,
        short: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(id=f"{prefix}-{name}", name=name)
        self.label = label
        self.options = list(options)
        self.free = free
        self.check = check
        self.from_start = from_start or short is not None
        self.short = short
        self.help_text = (
            f"{help} Left and right change it; enter opens a list{' and takes any other value' if free else ''}."
        )

    def render(self) -> RenderResult:
        """Return label and value, with arrows when it has the focus."""
        room = max(4, self.content_size.width - LABEL - 5)
        shown = printable(self.value if self.short is None else self.short(self.value))
        if width_of(shown) > room:
            shown = cut(shown, room) if self.from_start else "…" + shown[1 - room :]
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
        picker = Picker(self.label, self.options, self.value, free=self.free, check=self.check)
        program_of(self).push_screen(picker, lambda value: None if value is None else self.take(value))

    def on_click(self, event: events.Click) -> None:
        """Open the list."""
        self.focus()
        self.action_choose()

    def take(self, value: str) -> None:
        """Set the value and say so."""
        if value != self.value:
            self.value = value
            self.post_message(self.Changed(self))


class Picker(ModalScreen[str | None]):
    """Returns the chosen value, None if it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("up", "move(-1)", "up", show=False, priority=True),
        Binding("down", "move(1)", "down", show=False, priority=True),
    ]

    def __init__(
        self,
        title: str,
        options: Sequence[Option],
        value: str = "",
        *,
        free: bool = False,
        check: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        self._title = title
        self._options = list(options)
        self._value = value
        self._free = free
        self._check = check
        self._shown: list[Option] = []
        self._moved = False

    def compose(self) -> ComposeResult:
        """Lay out the filter, the list and a line for errors."""
        with Vertical(id="dialog") as dialog:
            dialog.border_title = self._title
            yield Input(placeholder="type a value, or to filter" if self._free else "type to filter")
            yield OptionList()
            yield Static(id="wrong")

    def on_mount(self) -> None:
        """Fill the list."""
        self._fill("")
        self.query_one(OptionList).display = bool(self._options)

    @on(Input.Changed)
    def filter_options(self, event: Input.Changed) -> None:
        """Show the values that fit the text."""
        self._fill(event.value.strip().casefold())

    @on(Input.Submitted)
    def take_typed(self, event: Input.Submitted) -> None:
        """Take the option that was moved to, else the text where it is a value, else the highlighted option."""
        listed = self.query_one(OptionList)
        text = event.value.strip()
        chosen = self._shown[listed.highlighted].value if listed.highlighted is not None and self._shown else None
        if self._free and text and not self._moved and (self._is_value(text) or not self._fits(text)):
            chosen = text
        if chosen is not None:
            self._take(chosen)

    @on(OptionList.OptionSelected)
    def take_clicked(self, event: OptionList.OptionSelected) -> None:
        """Take a clicked option."""
        self._take(self._shown[event.option_index].value)

    def action_move(self, by: int) -> None:
        """Move the highlight while the text keeps the focus."""
        listed = self.query_one(OptionList)
        (listed.action_cursor_down if by > 0 else listed.action_cursor_up)()
        self._moved = True

    def _is_value(self, text: str) -> bool:
        """Tell whether a text is a value itself, and no part of one that is looked for."""
        if self._check is None:
            return any(option.value == text for option in self._shown)
        try:
            self._check(text)
        except Exception:
            return False
        return True

    def _fits(self, text: str) -> bool:
        return any(text.casefold() in option.value.casefold() for option in self._shown)

    def _fill(self, text: str) -> None:
        self._moved = False
        fitting = [each for each in self._options if text in f"{each.value} {each.help}".casefold()]
        self._shown = sorted(fitting, key=lambda each: text not in each.value.casefold())
        listed = self.query_one(OptionList)
        listed.clear_options()
        wide = max((width_of(each.value) for each in self._shown), default=0) + 2
        listed.add_options(
            ListOption(Content.assemble((padded(each.value, wide), "bold"), (each.help, "$faint")))
            for each in self._shown
        )
        values = [each.value for each in self._shown]
        if values:
            wanted = text if text in values else self._value
            listed.highlighted = values.index(wanted) if wanted in values else 0

    def _take(self, value: str) -> None:
        try:
            if self._check is not None:
                self._check(value)
        except Exception as error:
            title, message = explain(error)
            self.query_one("#wrong", Static).update(Content.styled(f"{title}: {message}", "$error"))
            return
        self.dismiss(value)
