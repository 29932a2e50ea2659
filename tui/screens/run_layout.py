"""Base class of the run screen: the panels around the tree, which can be hidden and moved, and wrapped steps."""

from __future__ import annotations

from ..widgets.detail import NodeDetail
from ..widgets.tree import TreeView
from .base import RamifyScreen

LEAST_TREE = (34, 11)
"""Columns and rows that the tree and what stands above and below it keep when panels are moved."""


class PanelScreen(RamifyScreen):
    """A screen with a tree, panels `#side` beside or below it, and the path of the selected step."""

    def __init__(self) -> None:
        super().__init__()
        self._with_path: bool | None = None

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

    def action_narrow_side(self) -> None:
        """Give the tree more room."""
        self._move("side", -1)

    def action_widen_side(self) -> None:
        """Give the panels more room."""
        self._move("side", 1)

    def action_grow_path(self) -> None:
        """Give the panel of the path more room."""
        self._move("path", 1)

    def action_shrink_path(self) -> None:
        """Give the panel of the path less room."""
        self._move("path", -1)

    def _move(self, panel: str, by: int) -> None:
        self.program.room[panel] += by
        self._lay_out(moved=panel)

    def _lay_out(self, *, moved: str = "") -> None:
        """Give the panels the room that the user wants, as far as the screen has it."""
        room, side, detail = self.program.room, self.query_one("#side"), self.query_one(NodeDetail)
        wide, narrow = self.has_class("-wide"), self.has_class("-narrow")
        short = narrow and self.has_class("-short")
        if self._with_path is not None:
            detail.display = self._with_path
        # On a small screen the path takes the place of the panels.
        side.display = not (short and detail.display)
        columns, rows = self.size.width - LEAST_TREE[0], self.size.height - LEAST_TREE[1]
        if wide:
            detail.styles.width = path = fitting(room, "path", 64, 4, (30, columns - 26))
            side.styles.width = fitting(room, "side", 48, 4, (26, columns - path * detail.display))
        else:
            least = 4 if narrow and side.display else 0
            detail.styles.height = path = fitting(room, "path", 10 if short else 13, 1, (5, rows - least))
            if narrow:
                side.styles.height = fitting(room, "side", 8, 1, (4, rows - path * detail.display))
            else:
                side.styles.width = fitting(room, "side", 46, 4, (26, columns))
        if moved:
            self.call_after_refresh(self.redraw)

    def on_resize(self) -> None:
        """Lay out and draw again for the new size."""
        for part in (self.query_one("#side"), self.query_one(NodeDetail)):
            part.styles.width = part.styles.height = None
        super().on_resize()
        self.call_after_refresh(self._lay_out)


def fitting(room: dict[str, int], panel: str, usual: int, step: int, bounds: tuple[int, int]) -> int:
    """Return the columns or rows of a panel that was moved by `room[panel]` steps, and forget those out of bounds."""
    low, high = bounds
    high = max(low, high)
    room[panel] = min(max(room[panel], -((usual - low) // step)), max(0, (high - usual) // step))
    return min(max(usual + step * room[panel], low), high)
