"""Help: what has the focus, what the keys do, and what the signs mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from ..common.actions import Action

ABOUT = {
    "home": "Ask a question here. Settings below the box change how it is searched; all have sensible defaults.",
    "run": "A search and its tree. Steps appear as they are written, and what was given up says why.",
    "compare": "Two searches on one question with the same budget; keys act on both.",
    "history": "Every run is kept with its question, settings, result and tree. Type to search.",
    "batch": "A batch's folder: how far it is, how many are right, and each item.",
}


class HelpScreen(ModalScreen[None]):
    """Explains an area and the widget that has the focus."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,f1,q,enter", "dismiss", "back", show=False)]

    def __init__(self, area: str, actions: Sequence[Action], focused: Widget | None) -> None:
        super().__init__()
        self._area = area
        self._actions = actions
        self._focused = focused

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        with Vertical(id="dialog", classes="tall") as dialog:
            dialog.border_title = "Help"
            dialog.border_subtitle = "esc goes back"
            with VerticalScroll():
                yield Static(help_content(self._area, self._actions, self._focused))

    def on_mount(self) -> None:
        """Let the keys scroll."""
        self.query_one(VerticalScroll).focus()


def help_content(area: str, actions: Sequence[Action], focused: Widget | None) -> Content:
    """Return the help as text."""
    lines = [Content(ABOUT.get(area, "")), Content("")]
    about = getattr(focused, "help_text", None)
    if focused is not None and isinstance(about, str):
        name = getattr(focused, "label", None) or focused.border_title or focused.BORDER_TITLE or "Here"
        lines += [Content.styled(str(name).capitalize(), "bold $primary"), Content(about), Content("")]
    lines.append(Content.styled("Keys", "bold $primary"))
    for action in (each for each in actions if area in each.screens):
        lines.append(Content.assemble((f"{action.sign:>7}  ", "bold $accent"), action.help))
    lines.append(Content.assemble((f"{'^p':>7}  ", "bold $accent"), "All of these as a list to search in, and themes."))
    return Content("\n").join(lines)
