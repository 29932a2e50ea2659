"""Base class of the run screen: panels around the tree that are hidden, and moved by keys or by the mouse."""

from __future__ import annotations

from typing import Literal, NamedTuple

from textual import events
from textual.widget import Widget

from ..widgets.budget import BudgetPanel
from ..widgets.detail import NodeDetail
from ..widgets.tree import TreeView
from .base import RamifyScreen

LEAST_TREE = (34, 11)
"""Columns and rows that the tree and the panels above and below it keep when borders are moved."""
STEPS = {"width": 4, "height": 1}
"""Columns or rows by which a key moves a border."""
Side = Literal["width", "height"]


class Border(NamedTuple):
    """The left border of a panel, which moves its `side` "width", or its top border, which moves its "height".

    The size is `usual` columns or rows unless the user has moved it, and stays from `low` to `high`.
    """

    name: str
    panel: Widget
    side: Side
    usual: int
    low: int
    high: int

    @property
    def moved(self) -> str:
        """Name of the border in the table of those that were moved; it differs for widths and heights."""
        return f"{self.name}.{self.side}"

    def holds(self, x: int, y: int) -> bool:
        """Tell whether a place of the screen is on the border, or on that of the panel beside it."""
        region = self.panel.region
        if not self.panel.display or not region.area:
            return False
        if self.side == "width":
            return x in (region.x - 1, region.x) and region.y < y < region.bottom - 1
        return y in (region.y - 1, region.y) and region.x < x < region.right - 1


class PanelScreen(RamifyScreen):
    """A screen with a tree, panels `#side` beside or below it, and the path of the selected step."""

    def __init__(self) -> None:
        super().__init__()
        self._with_path: bool | None = None
        self._borders: list[Border] = []
        self._dragged: tuple[Border, int] | None = None

    @property
    def branches(self) -> TreeView:
        """The tree's widget."""
        return self.query_one(TreeView)

    def action_wrap(self) -> None:
        """Show steps on several lines, or on one."""
        tree = self.branches
        tree.wrap = not tree.wrap
        tree.refresh_view(force=True)

    def action_toggle_path(self) -> None:
        """Show the panel of the selected path, or hide it."""
        self._with_path = not self.query_one(NodeDetail).display
        self._lay_out()
        self.call_after_refresh(self.redraw)

    def action_narrow_side(self) -> None:
        """Give the tree more room."""
        self._step("side", -1)

    def action_widen_side(self) -> None:
        """Give the panels more room."""
        self._step("side", 1)

    def action_grow_path(self) -> None:
        """Give the panel of the path more room."""
        self._step("path", 1)

    def action_shrink_path(self) -> None:
        """Give the panel of the path less room."""
        self._step("path", -1)

    def _step(self, name: str, by: int) -> None:
        for border in self._borders:
            if border.name == name:
                self._move(border, self._extent(border) + by * STEPS[border.side])

    # Dragging

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Take hold of the border under the mouse."""
        border = self._border_at(event)
        if border is None or event.button != 1:
            return
        event.stop()
        self.clear_selection()
        self._dragged = border, self._extent(border) + _coordinate(border, event)
        self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Move the border that is held; without one, mark that under the mouse."""
        if self._dragged is None:
            self._mark(self._border_at(event))
            return
        border, end = self._dragged
        event.stop()
        self._move(border, end - _coordinate(border, event))

    def on_mouse_up(self, event: events.MouseUp) -> None:
        """Let go of the border."""
        if self._dragged is not None:
            event.stop()
            self._dragged = None
            self.release_mouse()
            self._mark(self._border_at(event))

    def _border_at(self, event: events.MouseEvent) -> Border | None:
        return next((each for each in self._borders if each.holds(event.screen_x, event.screen_y)), None)

    def _mark(self, border: Border | None) -> None:
        """Show by its colour that a border can be moved."""
        for each in self._borders:
            each.panel.set_class(border is not None and each.panel is border.panel, f"-grip-{each.side}")

    # Layout

    def _move(self, border: Border, size: int) -> None:
        before = self._extent(border)
        self.program.room[border.moved] = size - border.usual
        self._lay_out()
        if self._extent(border) != before:
            self.call_after_refresh(self.redraw)

    def _extent(self, border: Border) -> int:
        return fitting(self.program.room, border)

    def _lay_out(self) -> None:
        """Give the panels the room that the user wants, as far as the screen has it."""
        side, detail, budget = self.query_one("#side"), self.query_one(NodeDetail), self.query_one("#budget")
        wide, narrow = self.has_class("-wide"), self.has_class("-narrow")
        short = narrow and self.has_class("-short")
        if self._with_path is not None:
            detail.display = self._with_path
        # On a small screen the path takes the place of the panels.
        side.display = not (short and detail.display)
        columns, rows = self.size.width - LEAST_TREE[0], self.size.height - LEAST_TREE[1]
        self._borders.clear()
        if wide:
            path = self._place_panel("path", detail, "width", 64, 30, columns - 26)
            self._place_panel("side", side, "width", 48, 26, columns - path * detail.display)
        else:
            least = 4 if narrow and side.display else 0
            path = self._place_panel("path", detail, "height", 10 if short else 13, 5, rows - least)
            if narrow:
                self._place_panel("side", side, "height", 8, 4, rows - path * detail.display)
            else:
                self._place_panel("side", side, "width", 46, 26, columns)
        if narrow:
            self._place_panel("budget", budget, "width", self.size.width // 2, 26, self.size.width - 26)
        else:
            above = 8 + (0 if wide else path * detail.display)
            self._place_panel("budget", budget, "height", 11 if wide else 10, 4, self.size.height - above)

    def _place_panel(self, name: str, panel: Widget, side: Side, usual: int, low: int, high: int) -> int:
        """Give a panel its size, and return that."""
        border = Border(name, panel, side, usual, low, high)
        self._borders.append(border)
        size = fitting(self.program.room, border)
        if side == "width":
            panel.styles.width = size
        else:
            panel.styles.height = size
        return size

    def on_resize(self) -> None:
        """Lay out and draw again for the new size."""
        for part in (self.query_one("#side"), self.query_one(NodeDetail), self.query_one(BudgetPanel)):
            part.styles.width = part.styles.height = None
        super().on_resize()
        self.call_after_refresh(self._lay_out)


def _coordinate(border: Border, event: events.MouseEvent) -> int:
    """Return the column or row of an event, along which a border moves."""
    return event.screen_x if border.side == "width" else event.screen_y


def fitting(room: dict[str, int], border: Border) -> int:
    """Return the columns or rows of a panel whose border was moved, and forget what is out of bounds."""
    usual, low, high = border.usual, border.low, max(border.low, border.high)
    room[border.moved] = min(max(room.get(border.moved, 0), low - usual), max(0, high - usual))
    return min(max(usual + room[border.moved], low), high)
