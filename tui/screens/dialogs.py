"""Dialogs of the run screen: edit a step, read a path."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from ..common.program import program_of
from ..state.session import Session
from ..widgets.detail import NodeDetail


class EditStep(ModalScreen[str | None]):
    """Returns the new text of a step, None if it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("ctrl+s", "take", "take", show=False),
    ]

    def __init__(self, node: int, text: str) -> None:
        super().__init__()
        self._node = node
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay out the text and what the keys do."""
        with Vertical(id="dialog") as dialog:
            dialog.border_title = f"Another version of step {self._node}"
            dialog.border_subtitle = "ctrl+s goes on from it · esc leaves"
            yield TextArea(self._text.strip("\n"), compact=True, highlight_cursor_line=False)
            yield Static(Content.styled("The old step stays; the new one is marked ✎ by hand.", "$faint"), id="wrong")

    def on_mount(self) -> None:
        """Put the cursor at the end."""
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor(area.document.end)

    def action_take(self) -> None:
        """Give the text back."""
        text = self.query_one(TextArea).text
        if text.strip():
            self.dismiss(text)
        else:
            self.query_one("#wrong", Static).update(Content.styled("Write some text, or leave with esc.", "$warning"))


class PathReader(ModalScreen[None]):
    """A path on the whole screen; it grows while it is written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,o,enter", "dismiss", "back", show=False),
        Binding("c", "copy", "copy", show=False),
    ]

    def __init__(self, session: Session, node: int) -> None:
        super().__init__()
        self._session = session
        self._node = node

    def compose(self) -> ComposeResult:
        """Lay out the path."""
        with Vertical(id="dialog", classes="tall") as dialog:
            dialog.border_title = f"Path to step {self._node}" if self._node else "Question"
            dialog.border_subtitle = "c copies · esc goes back"
            yield NodeDetail(id="reader")

    def on_mount(self) -> None:
        """Show the path, and again as it grows."""
        self.query_one(NodeDetail).focus()
        self._show()
        self.set_interval(0.1, self._show)

    def action_copy(self) -> None:
        """Copy the text of the path."""
        text = self._session.view.path_text(self._node) or self._session.view.question
        program_of(self).copy_to_clipboard(text)
        self.notify(f"{len(text):,} characters", title="Copied path", timeout=3)

    def _show(self) -> None:
        self.query_one(NodeDetail).show(self._session.view, self._node)
