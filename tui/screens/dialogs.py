"""Dialogs over a screen: edit a step, read a path, help, log, debug info."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Log, Static, TextArea

from ramify.text import printable

from ..common.actions import Action
from ..common.program import program_of
from ..state.session import Session
from ..widgets.detail import NodeDetail

if TYPE_CHECKING:
    from ..common.logs import LogLines

ABOUT = {
    "home": "Ask a question here. Settings below the box change how it is searched; all have sensible defaults.",
    "run": "A search and its tree. Steps appear as they are written, and what was given up says why. The borders "
    "between panels can be dragged with the mouse.",
    "compare": "Two searches on one question with the same budget; keys act on both.",
    "history": "Every run is kept with its question, settings, result and tree. Type to search.",
    "batch": "A batch's folder: how far it is, how many are right, and each item.",
}
"""Help on each screen as a whole."""


class EditStep(ModalScreen[str | None]):
    """Editor of a step; its result is the new text, None if it was left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("ctrl+s", "take", "take", show=False),
    ]

    def __init__(self, node: int, text: str) -> None:
        super().__init__()
        self._node = node
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay out the text and the meaning of the keys."""
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
        """Close with the text as the result."""
        text = self.query_one(TextArea).text
        if text.strip():
            self.dismiss(text)
        else:
            self.query_one("#wrong", Static).update(Content.styled("Write some text, or leave with esc.", "$warning"))


class PathReader(ModalScreen[None]):
    """A path on the whole screen, which grows while it is written."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,o,enter", "dismiss", "back", show=False),
        Binding("c", "copy", "copy", show=False),
        Binding("m", "plain", "plain", show=False),
        Binding("u", "unfold", "unfold", show=False),
    ]

    def __init__(self, session: Session, node: int, *, plain: bool = False, unfolded: bool = False) -> None:
        super().__init__()
        self._session = session
        self._node = node
        self._plain = plain
        self._unfolded = unfolded

    def compose(self) -> ComposeResult:
        """Lay out the path."""
        with Vertical(id="dialog", classes="tall") as dialog:
            dialog.border_title = f"Path to step {self._node}" if self._node else "Question"
            dialog.border_subtitle = "m shows it as it was written · u unfolds · c copies · esc goes back"
            yield NodeDetail(id="reader")

    def on_mount(self) -> None:
        """Show the path, and again as it grows."""
        detail = self.query_one(NodeDetail)
        detail.plain, detail.unfolded = self._plain, self._unfolded
        detail.focus()
        self._show()
        self.set_interval(0.1, self._show)

    def action_plain(self) -> None:
        """Show the text as it was written, or as it is meant."""
        detail = self.query_one(NodeDetail)
        detail.plain = not detail.plain
        self._show()

    def action_unfold(self) -> None:
        """Show thoughts and calls of tools whole, or on one line each."""
        self.query_one(NodeDetail).toggle_folds()
        self._show()

    def action_copy(self) -> None:
        """Copy the text of the path."""
        text = self._session.view.path_text(self._node) or self._session.view.question
        program_of(self).copy_to_clipboard(text)
        self.notify(f"{len(text):,} characters", title="Copied path", timeout=3)

    def _show(self) -> None:
        self.query_one(NodeDetail).show(self._session.view, self._node)


class HelpScreen(ModalScreen[None]):
    """Help on a screen, the widget that has the focus, and the keys."""

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


class ConsoleScreen(ModalScreen[None]):
    """Lines of the log, new ones as they come."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f9,q", "dismiss", "back", show=False),
        Binding("c", "copy", "copy", show=False),
    ]

    def __init__(self, lines: LogLines | None) -> None:
        super().__init__()
        self._lines = lines
        self._shown = 0

    def compose(self) -> ComposeResult:
        """Lay out the lines."""
        with Vertical(id="dialog", classes="tall") as dialog:
            dialog.border_title = "Log"
            dialog.border_subtitle = "c copies · esc goes back"
            yield Log(highlight=False)

    def on_mount(self) -> None:
        """Show the lines, and new ones as they come."""
        self.query_one(Log).focus()
        self._show()
        self.set_interval(0.25, self._show)

    def action_copy(self) -> None:
        """Copy all lines."""
        text = "\n".join(self._all())
        program_of(self).copy_to_clipboard(text)
        self.notify(f"{len(text):,} characters", title="Copied log", timeout=3)

    def _all(self) -> list[str]:
        return [] if self._lines is None else self._lines.lines()

    def _show(self) -> None:
        lines = self._all()
        count = 0 if self._lines is None else self._lines.count
        log = self.query_one(Log)
        if not lines and not self._shown:
            log.write_line("nothing was reported so far")
            self._shown = -1
        elif count > max(self._shown, 0):
            if self._shown < 0:
                log.clear()
            new = count - max(self._shown, 0)
            log.write_lines([printable(line) for line in lines[-new:]])
            self._shown = count


class DebugScreen(ModalScreen[None]):
    """Versions and paths for a bug report."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "back", show=False),
        Binding("c,enter", "copy", "copy", show=False),
    ]

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Debug info"
            dialog.border_subtitle = "c copies · esc goes back"
            with VerticalScroll():
                yield Static(self._text(), markup=False)

    def action_copy(self) -> None:
        """Copy the text."""
        program_of(self).copy_to_clipboard(self._text())
        self.notify("Paste it into the report.", title="Copied debug info", timeout=3)

    def _text(self) -> str:
        app = program_of(self)
        rows = {
            "ramify": _version("ramify"),
            "textual": _version("textual"),
            "llama-cpp-python": _version("llama-cpp-python"),
            "python": sys.version.split()[0],
            "system": platform.platform(),
            "terminal": f"{app.size.width}x{app.size.height}, {app.console.color_system or 'no colour'}",
            "theme": app.theme,
            "history": "not kept" if app.store is None else str(app.store.folder),
            "running": str(sum(not each.view.phase.over for each in app.live_sessions)),
        }
        return "\n".join(f"{name:<18}{value}" for name, value in rows.items())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
