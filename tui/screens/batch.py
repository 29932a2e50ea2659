"""Batch screen: progress and accuracy of a batch's folder, and its items."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option as ListOption

from ramify.errors import RamifyError, UsageError
from ramify.files import user_path
from ramify.text import duration_text, one_line, padded

from ..common.actions import bindings
from ..common.program import Program
from ..common.themes import share_bar
from ..state.batch_process import BatchProcess
from ..state.batch_view import BatchView, ItemView, item_solution, read_batch, search_options
from ..state.saved_session import SavedSession
from ..state.spec import RunSpec
from ..widgets.choice import Option, Picker
from ..widgets.footer import ActionFooter
from .base import RamifyScreen

AS_BEFORE, ONE_AT_A_TIME, COPY = "as before", "one at a time", "copy the command"
LEAST_WAIT_S = 1.0
"""Shortest time between two readings of the folder; large ones are read less often."""


class ItemList(OptionList):
    """The items in the order in which they were done."""

    help_text = (
        "Each line is an item that is done: right ✓, wrong ×, not graded ·, cut by a limit with no answer …, failed !. "
        "Enter opens its tree."
    )


class BatchScreen(RamifyScreen):
    """A batch's folder, read again and again; its cut items can be done again, by a process of their own."""

    area = "batch"
    BINDINGS: ClassVar[list[BindingType]] = bindings("batch")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._view: BatchView | None = None
        self._said = ""

    def compose(self) -> ComposeResult:
        """Lay out totals and items."""
        yield Static(id="head")
        with Vertical(id="form"):
            with Vertical(id="totals", classes="panel") as totals:
                totals.border_title = "Progress"
                yield Static(id="figures")
            items = ItemList(id="items", compact=True, classes="panel")
            items.border_title = "Items"
            yield items
        yield ActionFooter(self.area)

    def on_mount(self) -> None:
        """Read the folder again and again."""
        self.query_one(ItemList).focus()
        self._update_title()
        self.run_worker(self._watch, group="watch", exclusive=True, exit_on_error=False)

    async def _watch(self) -> None:
        while True:
            began_s = time.monotonic()
            try:
                view = await asyncio.to_thread(read_batch, self._folder, self._view)
            except RamifyError as error:
                self.query_one("#figures", Static).update(Content.styled(str(error), "$warning"))
                view = None
            if view is not None and view != self._view:
                self._show(view)
            elif self._state() != self._said:
                self._update_title()
                self.refresh_footer()
            await asyncio.sleep(max(LEAST_WAIT_S, 10 * (time.monotonic() - began_s)))

    def _show(self, view: BatchView) -> None:
        before, self._view = self._view, view
        self.query_one("#figures", Static).update(self._figures(view))
        listed = self.query_one(ItemList)
        known = 0 if before is None else before.done
        if before is None or view.done < known or view.items[:known] != before.items:
            listed.clear_options()
            known = 0
        listed.add_options(ListOption(_line(item)) for item in view.items[known:])
        if view.items and listed.highlighted is None:
            listed.highlighted = 0
        listed.border_title = f"{view.done:,} items done"
        self._update_title()
        self.refresh_footer()

    def _update_title(self) -> None:
        view, state = self._view, self._state()
        self._said = state
        tone = "$success" if state in ("running", "finished") else "$warning"
        about = "" if view is None else f" · {view.about}"
        self.query_one("#head", Static).update(
            Content.assemble((f"batch {self._folder}{about}   ", "$foreground 80%"), (state, f"bold {tone}"))
        )

    @property
    def _process(self) -> BatchProcess | None:
        """The command that was started here and writes the folder, None if there is none."""
        found = self.program.batches.get(self._out)
        return found if found is not None and found.running else None

    @property
    def _out(self) -> Path:
        return user_path(self._folder).resolve()

    def _state(self) -> str:
        view, process = self._view, self._process
        if process is not None:
            return "stopping" if process.stopping else "running" if view is not None and _at_work(view) else "starting"
        if view is None:
            return "reading"
        return "running" if _at_work(view) else "finished" if view.finished else "not finished"

    def _figures(self, view: BatchView) -> Content:
        width = max(20, min(60, self.size.width - 40))
        total = view.total or view.done
        share = view.done / total if total else 0.0
        full, empty = share_bar(share, width)
        lines = [
            Content.assemble(
                ("done      ", "$faint"), (full, "$primary"), (empty, "$guide"), f"  {view.done:,} of {total:,}"
            )
        ]
        if view.accuracy is not None:
            full, empty = share_bar(view.accuracy, width)
            said = f"  {view.accuracy:.1%} of {view.graded:,}, {view.low:.1%} to {view.high:.1%}"
            lines.append(Content.assemble(("accuracy  ", "$faint"), (full, "$success"), (empty, "$guide"), said))
        if view.cut and view.accuracy_answered is not None:
            full, empty = share_bar(view.accuracy_answered, width)
            said = f"  {view.accuracy_answered:.1%} of the {view.answered:,} not cut"
            lines.append(Content.assemble(("          ", "$faint"), (full, "$success"), (empty, "$guide"), said))
        each = max(1, view.done)
        facts = [
            f"{view.tokens:,} tokens, {view.tokens / each:,.0f} an item",
            f"{duration_text(view.seconds / each)} an item",
        ]
        ends = [(f"{view.cut:,} cut by a limit with no answer", "$accent")] if view.cut else []
        ends += [(f"{view.failed:,} failed", "$error")] if view.failed else []
        parts = [part for end in ends for part in ((" · ", "$faint"), end)]
        lines.append(Content.assemble((" · ".join(facts), "$faint"), *parts))
        return Content("\n").join(lines)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether there is an item to open or to do again, or a command to stop."""
        match action:
            case "open_item":
                return bool(self._view and self._view.items)
            case "retry_cut":
                return bool(self._view and self._view.cut and not _at_work(self._view) and self._process is None)
            case "stop_batch":
                return self._process is not None
            case _:
                return True

    @on(OptionList.OptionSelected)
    async def action_open_item(self) -> None:
        """Open the selected item."""
        place = self.query_one(ItemList).highlighted
        if self._view is None or place is None or place >= self._view.done:
            return
        item = self._view.items[place]
        try:
            session = await asyncio.to_thread(_session, self._view.folder, item)
        except RamifyError as error:
            self.program.complain(error)
            return
        self.program.show_session(session)

    def action_retry_cut(self) -> None:
        """Ask how the cut items are done again."""
        view = self._view
        if view is None or not self.check_action("retry_cut", ()):
            return
        if view.command is None:
            self.program.complain(
                UsageError(
                    "the folder does not say which command made it",
                    "give that command again with --retry cut; it is noted when a command reads a file",
                )
            )
            return
        options = [
            Option(AS_BEFORE, "with the options of before, those that were not begun too"),
            Option(ONE_AT_A_TIME, "likewise; each has the whole machine, and comes further within its seconds"),
            Option(COPY, shlex.join(["ramify", *view.command.retry_cut(self._out)])),
        ]
        noun = "item" if view.cut == 1 else "items"
        self.program.push_screen(Picker(f"Do {view.cut:,} cut {noun} again", options), self._retry)

    def _retry(self, how: str | None) -> None:
        command = None if self._view is None else self._view.command
        if how is None or command is None:
            return
        if how == COPY:
            self.program.copy("command", shlex.join(["ramify", *command.retry_cut(self._out)]))
            return
        arguments = command.retry_cut(self._out, parallel=1 if how == ONE_AT_A_TIME else None)
        self.program.start_batch(self._out, arguments, command.folder)
        self._update_title()
        self.refresh_footer()

    def action_stop_batch(self) -> None:
        """Finish the items in flight and stop; the second time, stop at once."""
        process = self._process
        if process is not None:
            again = process.stopping
            process.stop()
            said = "Items in flight are left." if again else "The items in flight are finished; once more leaves them."
            self.notify(said, title="Stopping", timeout=5)
            self._update_title()

    def stop_if_running(self) -> bool:
        """Stop the command that was started here; False if there is none."""
        if self._process is None:
            return False
        self.action_stop_batch()
        return True

    def action_other_folder(self) -> None:
        """Ask for another folder."""
        pick_folder(self.program, self._show_folder)

    def _show_folder(self, folder: Path) -> None:
        self._folder, self._view = folder, None
        self.query_one(ItemList).clear_options()
        self.query_one("#figures", Static).update("")
        self._update_title()
        self.run_worker(self._watch, group="watch", exclusive=True, exit_on_error=False)

    def action_go_back(self) -> None:
        """Leave; batches go on."""
        self.dismiss()


def pick_folder(app: Program, then: Callable[[Path], None]) -> None:
    """Ask for a batch's folder, offering those below the current one."""
    found = sorted(path.parent for depth in ("*", "*/*") for path in Path().glob(f"{depth}/manifest.json"))
    options = [Option(str(path), "a batch below this folder") for path in found[:50]]
    picker = Picker("Folder of a batch (--out of ramify batch run)", options, free=True, check=_check_folder)
    _push(app, picker, then)


def _push(app: App[None], picker: Picker, then: Callable[[Path], None]) -> None:
    app.push_screen(picker, lambda text: None if text is None else then(Path(text)))


def _check_folder(text: str) -> None:
    read_batch(Path(text))


def _session(folder: Path, item: ItemView) -> SavedSession:
    solution = item_solution(folder, item)
    spec = RunSpec.of(solution, search_options(folder, solution), gold=item.gold)
    return SavedSession(spec, solution)


def _at_work(view: BatchView) -> bool:
    return view.running and not view.finished


def _line(item: ItemView) -> Content:
    answer = item.answer or "–"
    if item.failed:
        sign, tone, answer = "!", "$error", "failed"
    elif item.cut:
        sign, tone, answer = "…", "$accent", "cut"
    else:
        sign, tone = {True: ("✓", "$success"), False: ("×", "$warning"), None: ("·", "$faint")}[item.correct]
    return Content.assemble(
        (f"{sign} ", tone),
        (f"{padded(item.id, 12)}  ", "$faint"),
        (f"{padded(answer, 10, right=True)}  ", f"bold {tone if item.answer is None else '$foreground'}"),
        (f"{padded(item.gold or '', 10)}  ", "$faint"),
        (f"{item.tokens:>7,}  ", "$faint"),
        (one_line(item.question), "$foreground 85%"),
    )
