"""Batch screen: progress and accuracy of a batch's folder, and its items."""

from __future__ import annotations

import asyncio
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

from ramify.errors import RamifyError
from ramify.text import cut, duration_text, one_line, width_of

from ..common.actions import bindings
from ..common.program import Program
from ..common.themes import share_bar
from ..state.batch_view import BatchView, ItemView, item_solution, read_batch
from ..state.session import SavedSession
from ..state.spec import RunSpec
from ..widgets.choice import Option, Picker
from ..widgets.footer import ActionFooter
from .base import RamifyScreen

LEAST_WAIT_S = 1.0
"""Shortest time between two readings of the folder; large ones are read less often."""


class ItemList(OptionList):
    """The items in the order in which they were done."""

    help_text = "Each line is an item that is done: right ✓, wrong ×, not graded ·, failed !. Enter opens its tree."


class BatchScreen(RamifyScreen):
    """A batch's folder, read again and again; nothing is written to it."""

    area = "batch"
    BINDINGS: ClassVar[list[BindingType]] = bindings("batch")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._view: BatchView | None = None
        self._task: asyncio.Task[None] | None = None

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
        self.run_worker(self._watch(), group="watch", exclusive=True, exit_on_error=False)

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
        view = self._view
        state = "reading" if view is None else "running" if view.running else _status(view)
        tone = "$success" if state in ("running", "finished") else "$warning"
        about = "" if view is None else f" · {view.about}"
        self.query_one("#head", Static).update(
            Content.assemble((f"batch {self._folder}{about}   ", "$foreground 80%"), (state, f"bold {tone}"))
        )

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
        each = max(1, view.done)
        facts = [
            f"{view.tokens:,} tokens, {view.tokens / each:,.0f} an item",
            f"{duration_text(view.seconds / each)} an item",
        ]
        if view.failed:
            facts.append(f"{view.failed} failed")
        lines.append(Content.styled(" · ".join(facts), "$faint"))
        return Content("\n").join(lines)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether there is an item to open."""
        return action != "open_item" or bool(self._view and self._view.items)

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

    def action_other_folder(self) -> None:
        """Ask for another folder."""
        pick_folder(self.program, self._show_folder)

    def _show_folder(self, folder: Path) -> None:
        self._folder, self._view = folder, None
        self.query_one(ItemList).clear_options()
        self.query_one("#figures", Static).update("")
        self._update_title()
        self.run_worker(self._watch(), group="watch", exclusive=True, exit_on_error=False)

    def action_go_back(self) -> None:
        """Leave; the batch is not touched."""
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
    options = {
        "strategy": solution.strategy.get("name"),
        "width": solution.strategy.get("width"),
        "seed": solution.seed,
    }
    spec = RunSpec.from_saved(solution.question, options).with_question(solution.question, item.gold)
    return SavedSession(spec, solution)


def _status(view: BatchView) -> str:
    return "finished" if view.total is not None and view.done >= view.total else "not finished"


def _line(item: ItemView) -> Content:
    sign, tone = (
        ("!", "$error")
        if item.failed
        else {
            True: ("✓", "$success"),
            False: ("×", "$warning"),
            None: ("·", "$faint"),
        }[item.correct]
    )
    answer = "–" if item.answer is None else cut(item.answer, 10)
    gold = "" if item.gold is None else cut(item.gold, 10)
    return Content.assemble(
        (f"{sign} ", tone),
        (f"{cut(item.id, 12):<12}  ", "$faint"),
        (" " * max(0, 10 - width_of(answer)) + answer + "  ", "bold $foreground"),
        (f"{gold:<10}  ", "$faint"),
        (f"{item.tokens:>7,}  ", "$faint"),
        (one_line(item.question), "$foreground 85%"),
    )
