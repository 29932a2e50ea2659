"""History screen: the saved runs, to search, open, replay, ask again and delete."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option as ListOption

from ramify.errors import UsageError
from ramify.text import duration_text, one_line, padded, printable

from ..common.actions import bindings
from ..state.panels import END_TEXTS
from ..state.spec import RunSpec
from ..widgets.footer import ActionFooter
from .base import RamifyScreen

if TYPE_CHECKING:
    from ramify.engine.history import RunSummary

SHOWN = 500


class SearchBox(Input):
    """Input for the words to search for."""

    help_text = "Words to look for in question, answer, strategy, model, stop reason or id. Up and down choose a run."


class HistoryScreen(RamifyScreen):
    """All saved runs, newest first."""

    area = "history"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings("history"),
        Binding("up", "move(-1)", "up", show=False, priority=True),
        Binding("down", "move(1)", "down", show=False, priority=True),
        Binding("pageup", "page(-1)", "page up", show=False, priority=True),
        Binding("pagedown", "page(1)", "page down", show=False, priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[RunSummary] = []
        self._to_delete: str | None = None

    def compose(self) -> ComposeResult:
        """Lay out search box, list and preview."""
        yield Static(Content.assemble(("history", "$foreground 80%")), id="head")
        with Vertical(id="form"):
            yield SearchBox(placeholder="search the saved runs", id="words", compact=True)
            found = OptionList(id="runs", compact=True, classes="panel")
            found.can_focus = False
            found.border_title = "Runs"
            yield found
            with Vertical(id="preview", classes="panel") as preview:
                preview.border_title = "Selected"
                yield Static(id="summary")
        yield ActionFooter(self.area)

    def on_mount(self) -> None:
        """Read the newest runs."""
        self.query_one(Input).focus()
        self.read()

    def on_screen_resume(self) -> None:
        """Read again, as runs may have been added."""
        super().on_screen_resume()
        if self.is_mounted:
            self.read()

    @on(Input.Changed)
    def read(self) -> None:
        """Search, in a thread."""
        self.run_worker(
            partial(self._read, self.query_one(Input).value), group="read", exclusive=True, exit_on_error=False
        )

    async def _read(self, words: str) -> None:
        await asyncio.sleep(0.08 if words else 0)
        store = self.program.store
        if store is None:
            self._show([], 0)
            return
        try:
            listing = await asyncio.to_thread(store.scan, words, SHOWN)
        except UsageError as error:
            self.program.complain(error)
            return
        self._show(listing.runs, len(listing.unreadable))

    def _show(self, runs: list[RunSummary], unreadable: int) -> None:
        listed = self.query_one("#runs", OptionList)
        kept = self.selected
        self._runs = runs
        listed.clear_options()
        listed.add_options(ListOption(_line(run)) for run in runs)
        if runs:
            ids = [run.id for run in runs]
            listed.highlighted = ids.index(kept.id) if kept is not None and kept.id in ids else 0
        note = f" · {unreadable} cannot be read" if unreadable else ""
        listed.border_title = f"{len(runs)} runs{note}" if runs else f"No run{note}"
        self._preview()
        self.refresh_footer()

    @property
    def selected(self) -> RunSummary | None:
        """The selected run, None if there is none."""
        place = self.query_one("#runs", OptionList).highlighted
        return self._runs[place] if place is not None and place < len(self._runs) else None

    @on(OptionList.OptionHighlighted)
    def _preview(self) -> None:
        run, text = self.selected, self.query_one("#summary", Static)
        self._to_delete = None
        if run is None:
            some = "no run says that" if self.query_one(Input).value else "there are no runs yet; ask something first"
            text.update(Content.styled(some, "$faint"))
            return
        named = [each for each in (run.strategy, run.model) if each]
        facts = [*named, f"{run.generated_tokens:,} tokens", duration_text(run.seconds)]
        facts += [END_TEXTS.get(run.stop_reason, run.stop_reason), f"run {run.id}"]
        answer = "no answer" if run.answer is None else one_line(run.answer)
        text.update(
            Content("\n").join(
                [
                    Content(printable(run.question)),
                    Content.assemble(("= ", "$success"), (answer, "bold $success")),
                    Content.styled(" · ".join(facts), "$faint"),
                ]
            )
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether there is a run to act on."""
        return action not in ("open_run", "replay_run", "rerun_run", "delete_run") or self.selected is not None

    def action_move(self, by: int) -> None:
        """Select another run while the text keeps the focus."""
        listed = self.query_one("#runs", OptionList)
        (listed.action_cursor_down if by > 0 else listed.action_cursor_up)()

    def action_page(self, by: int) -> None:
        """Select a run a page away."""
        listed = self.query_one("#runs", OptionList)
        (listed.action_page_down if by > 0 else listed.action_page_up)()

    @on(Input.Submitted)
    @on(OptionList.OptionSelected)
    def action_open_run(self) -> None:
        """Open the selected run."""
        if self.selected is not None:
            self.program.open_saved(self.selected.id)

    def action_replay_run(self) -> None:
        """Replay the selected run from its start."""
        if self.selected is not None:
            self.program.open_saved(self.selected.id, replay=True)

    async def action_rerun_run(self) -> None:
        """Go home with the selected run's question and settings."""
        run, store = self.selected, self.program.store
        if run is None or store is None:
            return
        try:
            saved = await asyncio.to_thread(store.load, run.id)
        except UsageError as error:
            self.program.complain(error)
            return
        self.program.go_home(RunSpec.of(saved.solution, saved.options))

    async def action_delete_run(self) -> None:
        """Delete the selected run when asked a second time."""
        run, store = self.selected, self.program.store
        if run is None or store is None:
            return
        if self._to_delete != run.id:
            self._to_delete = run.id
            self.notify(
                f"Press {self.program.sign('delete_run')} again to delete run {run.id}.", severity="warning", timeout=4
            )
            return
        try:
            await asyncio.to_thread(store.delete, run.id)
        except UsageError as error:
            self.program.complain(error)
        else:
            self.notify(f"Run {run.id} is gone.", title="Deleted", timeout=3)
        self.read()

    def action_go_back(self) -> None:
        """Leave."""
        self.dismiss()


def answer_text(run: RunSummary) -> str:
    """Return the answer of a saved run in ten columns; of one without an answer, whether it failed."""
    if run.answer is None:
        return padded("× failed" if run.stop_reason == "failed" else "–", 10, right=True)
    return padded(run.answer, 10, right=True)


def _line(run: RunSummary) -> Content:
    answer = answer_text(run)
    return Content.assemble(
        (f"{run.created.astimezone():%Y-%m-%d %H:%M}  ", "$faint"),
        (f"{answer}  ", "bold $foreground"),
        (f"{padded(run.strategy, 10)}  ", "$primary"),
        (one_line(run.question), "$foreground 85%"),
    )
