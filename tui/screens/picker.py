"""A list to choose from, over the screen; typing filters it, and may give a value of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option as ListOption

from ..widgets.choice import Option


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

    def compose(self) -> ComposeResult:
        """Lay out the filter, the list and a line for what is wrong."""
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
        """Show what fits the text."""
        self._fill(event.value.strip().casefold())

    @on(Input.Submitted)
    def take_typed(self, event: Input.Submitted) -> None:
        """Take the highlighted option, else the text."""
        listed = self.query_one(OptionList)
        text = event.value.strip()
        if listed.highlighted is not None and self._shown and not (self._free and text and not self._fits(text)):
            self._take(self._shown[listed.highlighted].value)
        elif self._free and text:
            self._take(text)

    @on(OptionList.OptionSelected)
    def take_clicked(self, event: OptionList.OptionSelected) -> None:
        """Take a clicked option."""
        self._take(self._shown[event.option_index].value)

    def action_move(self, by: int) -> None:
        """Move the highlight while the text keeps the focus."""
        listed = self.query_one(OptionList)
        (listed.action_cursor_down if by > 0 else listed.action_cursor_up)()

    def _fits(self, text: str) -> bool:
        return any(text.casefold() in option.value.casefold() for option in self._shown)

    def _fill(self, text: str) -> None:
        fitting = [each for each in self._options if text in f"{each.value} {each.help}".casefold()]
        self._shown = sorted(fitting, key=lambda each: text not in each.value.casefold())
        listed = self.query_one(OptionList)
        listed.clear_options()
        wide = max((len(each.value) for each in self._shown), default=0) + 2
        listed.add_options(
            ListOption(Content.assemble((each.value.ljust(wide), "bold"), (each.help, "$faint")))
            for each in self._shown
        )
        values = [each.value for each in self._shown]
        if values:
            listed.highlighted = values.index(self._value) if self._value in values else 0

    def _take(self, value: str) -> None:
        from ..logs import explain

        try:
            if self._check is not None:
                self._check(value)
        except Exception as error:
            title, message = explain(error)
            self.query_one("#wrong", Static).update(Content.styled(f"{title}: {message}", "$error"))
            return
        self.dismiss(value)
