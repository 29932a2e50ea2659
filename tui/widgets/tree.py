"""Widget of the search tree: a list of rows with one selected step, of which only visible lines are drawn."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ramify.search.tree import ROOT

from ..common.program import program_of
from ..state.rows import TreeRow, tree_rows
from ..state.run_view import RunView
from .tree_lines import MOST_LINES, LineDrawer

KEPT_LINES = 1000
"""Number of drawn lines that are kept."""


class TreeView(ScrollView, can_focus=True):
    """A run's tree with one selected step; `show` gives it a run, `refresh_view` draws the changes."""

    BORDER_TITLE = "Tree"
    help_text = (
        "Each line is a step. In front stands its score as a bar and a number, then a sign: ● on the best path, "
        "✓ finished with an answer, · still open, ◌ being written, × given up and why, ✎ written by hand, ⚑ pinned. "
        "Steps that follow each other without a choice stand below each other; branches are indented. "
        "Of steps that begin alike, the part that differs is shown after an ellipsis. "
        "Left folds a step, right unfolds it, a click selects, a second click opens the path."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "edge(-1)", "first", show=False),
        Binding("end", "edge(1)", "last", show=False),
        Binding("left", "fold", "fold", show=False),
        Binding("right", "unfold", "unfold", show=False),
        Binding("enter", "open", "read", show=False),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "tree--guide",
        "tree--text",
        "tree--best",
        "tree--pruned",
        "tree--reason",
        "tree--answer",
        "tree--pending",
        "tree--hand",
        "tree--cursor",
        "tree--cursor-blurred",
    }

    class Selected(Message):
        """Another step was selected, by hand or by following the best path."""

        def __init__(self, tree: TreeView, node: int) -> None:
            super().__init__()
            self.tree = tree
            self.node = node

        @property
        def control(self) -> TreeView:
            """The tree."""
            return self.tree

    class Opened(Selected):
        """The selected step was asked to be shown whole."""

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.follow = True
        self.keep_pruned = True
        self.plain = False
        self.folded = set[int]()
        self._view = RunView()
        self._rows: list[TreeRow] = []
        self._place: dict[int, int] = {}
        self._lines: list[tuple[int, int]] = []
        self._tops: list[int] = []
        self._cursor = ROOT
        self._awaited: int | None = None
        self._drawn: object = None
        self._shape: object = None
        self._titles = ("", "")
        self._style_cache: dict[str, Style] = {}
        self._strips: dict[object, Strip] = {}
        self._drawer = LineDrawer(self._style, lambda: program_of(self).current_theme.dark)

    # What the screen uses

    @property
    def cursor(self) -> int:
        """The selected node; 0 is the question."""
        return self._cursor

    @property
    def rows(self) -> list[TreeRow]:
        """The rows as they are shown, the question first."""
        return self._rows

    @property
    def wrap(self) -> bool:
        """True where steps have several lines."""
        return self._drawer.wrap

    @wrap.setter
    def wrap(self, wrap: bool) -> None:
        self._drawer.wrap = wrap

    def show(self, view: RunView) -> None:
        """Show a run, keeping the selected node if it has it."""
        self._view = view
        self._drawer.show(view, plain=self.plain)
        self._strips.clear()
        if self._cursor not in view.tree:
            self._cursor = ROOT
        self.refresh_view(force=True)

    def refresh_view(self, *, force: bool = False) -> bool:
        """Draw all changes since the last call; False if there are none."""
        view = self._view
        drawn = (view.version, self.keep_pruned, len(self.folded), self.wrap)
        if drawn == self._drawn and not force:
            return False
        self._drawn = drawn
        self._drawer.turn += 1
        self._drawer.best = view.best_path()
        shape = (id(view.tree), len(view.tree), *drawn[1:], self.keep_pruned or view.version)
        shape_changed = shape != self._shape or force
        if shape_changed:
            self._shape = shape
            self._rows = tree_rows(view, folded=self.folded, keep_pruned=self.keep_pruned)
            self._place = {row.node: place for place, row in enumerate(self._rows)}
        if self.wrap or shape_changed:
            self._fit()
        if self._awaited is not None and self._awaited in view.tree:
            awaited, self._awaited, self.follow = self._awaited, None, False
            self._select(awaited)
        elif self.follow:
            best = view.best()
            self._select(ROOT if best is None else best)
        elif self._cursor not in self._place:
            self._select(self._nearest(self._cursor))
        self._update_title()
        self.refresh()
        return True

    def select(self, node: int) -> None:
        """Select a node, unfolding the steps that hide it; one that is not there yet is selected when it comes."""
        if node not in self._view.tree:
            self._awaited = node
            return
        self._awaited = None
        above = {ROOT, *(each.id for each in self._view.tree.path_nodes(node)[:-1])}
        if above & self.folded or node not in self._place:
            self.folded -= above
            self.refresh_view(force=True)
            if node not in self._place:
                self.keep_pruned = True
                self.refresh_view(force=True)
        self._select(node)

    # Drawing

    @property
    def _columns(self) -> int:
        return self.scrollable_content_region.width

    def render_line(self, y: int) -> Strip:
        """Return one line of the widget."""
        line = self.scroll_offset.y + y
        width = self._columns
        if line >= self._line_count:
            return Strip.blank(width, self.rich_style)
        place, part = self._lines[line] if self.wrap else (line, 0)
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        row = self._rows[place]
        selected = row.node == self._cursor
        key = self._drawer.key(row, width), part, selected, selected and self.has_focus
        strip = self._strips.get(key)
        if strip is None:
            if len(self._strips) > KEPT_LINES:
                self._strips.clear()
            strip = self._strips[key] = self._drawn_line(row, width, part)
        return strip

    @property
    def _line_count(self) -> int:
        return len(self._lines) if self.wrap else len(self._rows)

    def _drawn_line(self, row: TreeRow, width: int, part: int) -> Strip:
        strip = Strip(self._drawer.segments(row, width, part)).adjust_cell_length(width)
        if row.node == self._cursor:
            strip = strip.apply_style(self._style("tree--cursor" if self.has_focus else "tree--cursor-blurred"))
        return strip.apply_style(self.rich_style)

    def notify_style_update(self) -> None:
        """Forget the styles of another theme."""
        super().notify_style_update()
        self._style_cache.clear()
        self._strips.clear()

    def _style(self, name: str) -> Style:
        found = self._style_cache.get(name)
        if found is None:
            found = self._style_cache[name] = self.get_component_rich_style(name, partial=True)
        return found

    def _update_title(self) -> None:
        count = self._view.step_count
        title = f"Tree · {count:,} step{'s' if count > 1 else ''}" if count else "Tree"
        notes = ["following the best path"] if self.follow else []
        notes += [] if self.keep_pruned else ["given up hidden"]
        note = " · ".join(notes)
        if (title, note) != self._titles:
            self._titles = title, note
            self.border_title, self.border_subtitle = title, note

    # Moving

    def action_move(self, rows: int) -> None:
        """Select a row above or below."""
        self._go(self._place.get(self._cursor, 0) + rows)

    def action_page(self, pages: int) -> None:
        """Select a row a page above or below."""
        rows = max(1, self.content_size.height - 1)
        if self.wrap:
            rows = max(1, rows * len(self._rows) // max(1, len(self._lines)))
        self._go(self._place.get(self._cursor, 0) + pages * rows)

    def action_edge(self, side: int) -> None:
        """Select the first or the last row."""
        self._go(0 if side < 0 else len(self._rows) - 1)

    def action_fold(self) -> None:
        """Fold the selected node, or select the one above it."""
        node = self._view.tree.node(self._cursor)
        if self._view.children()[node.id] and node.id not in self.folded and node.id != ROOT:
            self.folded.add(node.id)
            self.follow = False
            self.refresh_view(force=True)
        elif node.parent is not None:
            self._move_to(node.parent)

    def action_unfold(self) -> None:
        """Unfold the selected node, or select its first child."""
        if self._cursor in self.folded:
            self.folded.discard(self._cursor)
            self.refresh_view(force=True)
        else:
            self._go(self._place.get(self._cursor, 0) + 1)

    def action_open(self) -> None:
        """Ask for the selected path to be shown whole."""
        self.post_message(self.Opened(self, self._cursor))

    def on_click(self, event: events.Click) -> None:
        """Select the clicked row; open it when it is selected already."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        line = self.scroll_offset.y + offset.y
        if 0 <= line < self._line_count:
            place = self._lines[line][0] if self.wrap else line
            again = self._rows[place].node == self._cursor and not self.follow
            self._go(place)
            if again:
                self.action_open()

    def on_resize(self) -> None:
        """Keep the width of the scrolled area to that of the widget."""
        self._fit()
        self._scroll_to_cursor()

    def _fit(self) -> None:
        """Let the scroll bar know how many rows there are, without laying out the screen if it is there already."""
        if self.wrap:
            self._lay_out_lines()
        size, old, height = (
            Size(self._columns, self._line_count),
            self.virtual_size,
            self.scrollable_content_region.height,
        )
        if size.width == old.width and min(size.height, old.height) > height > 0:
            self.set_reactive(TreeView.virtual_size, size)  # pyright: ignore[reportArgumentType]
            self.vertical_scrollbar.window_virtual_size = size.height
        else:
            self.virtual_size = size

    def _lay_out_lines(self) -> None:
        """Note which lines the rows take when they are wrapped."""
        width = self._columns
        self._lines.clear()
        self._tops.clear()
        for place, row in enumerate(self._rows):
            self._tops.append(len(self._lines))
            self._lines += [(place, part) for part in range(self._drawer.height(row, width))]

    def _go(self, place: int) -> None:
        if self._rows:
            self._move_to(self._rows[min(max(place, 0), len(self._rows) - 1)].node)

    def _move_to(self, node: int) -> None:
        if self.follow:
            self.follow = False
            self._update_title()
        self._select(node)

    def _select(self, node: int) -> None:
        if node not in self._place:
            node = self._nearest(node)
        moved = node != self._cursor
        self._cursor = node
        self._scroll_to_cursor()
        if moved:
            self.refresh()
            self.post_message(self.Selected(self, node))

    def _nearest(self, node_id: int) -> int:
        """Return the node itself or the nearest one above it that is shown."""
        current: int | None = node_id
        while current is not None and current not in self._place:
            current = self._view.tree.node(current).parent if current in self._view.tree else ROOT
        return ROOT if current is None else current

    def _scroll_to_cursor(self) -> None:
        place, height = self._place.get(self._cursor), self.scrollable_content_region.height
        if place is None or height < 1:
            return
        first = last = place
        if self.wrap and place < len(self._tops):
            first = self._tops[place]
            last = (self._tops[place + 1] if place + 1 < len(self._tops) else len(self._lines)) - 1
        top = self.scroll_offset.y
        if top <= first and last < top + height and top + height <= max(height, self._line_count):
            return
        jumped = not top - (MOST_LINES if self.wrap else 1) <= first <= top + height
        aim = first - height // 2 if jumped else first if first < top else last - height + 1
        self.scroll_to(y=max(0, aim), animate=False, force=True, immediate=True)
