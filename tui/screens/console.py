"""The log, and what a bug report should say."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Log, Static

from ramify.text import printable

from ..common.program import program_of

if TYPE_CHECKING:
    from ..common.logs import LogLines


class ConsoleScreen(ModalScreen[None]):
    """Log lines as they come."""

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
    """Versions and paths, to be pasted into a report."""

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
