"""Lines of the tree widget: a step's branch lines, score, sign and text as styled segments."""

from __future__ import annotations

from collections.abc import Callable

from rich.segment import Segment
from rich.style import Style

from ramify.search.node import Node, NodeState, Origin
from ramify.text import cut, width_of

from ..common.themes import score_bar, score_tint
from ..state.panels import prune_text
from ..state.rows import StepLines, TreeRow, excerpt, wrapped
from ..state.run_view import RunView

_BELOW = str.maketrans("├└─", "│  ")
"""Branch lines of a row as they go on below its first line."""
KEPT_HEIGHTS = 10_000
"""Number of rows whose height in lines is kept."""
LEAST_TEXT = 24
"""Columns that stay free for score and text however deep a branch is."""
MOST_LINES = 4
"""Number of lines of a step when steps are wrapped."""
SIGN = {
    NodeState.PENDING: "◌",
    NodeState.OPEN: "·",
    NodeState.FINISHED: "✓",
    NodeState.PRUNED: "×",
    NodeState.CONTINUED: "·",
}
SPINNER = "◌◍"
"""Signs of a step that is being written, which none other has."""


class LineDrawer:
    """Draws the rows of a run's tree as lines.

    `style` returns a style of the widget by its name, `is_dark` tells whether the background is dark. With `wrap` a
    step has up to MOST_LINES lines. `best` are the nodes of the best path. `turn` is the number of the frame, by which
    the sign of a step that is being written changes.
    """

    def __init__(self, style: Callable[[str], Style], is_dark: Callable[[], bool]) -> None:
        self.wrap = False
        self.best: set[int] = set()
        self.turn = 0
        self._style = style
        self._is_dark = is_dark
        self._heights: dict[object, int] = {}
        self.show(RunView())

    def show(self, view: RunView, *, plain: bool = False) -> None:
        """Take the rows of another run; `plain` leaves Markdown and LaTeX as they are written."""
        self._view = view
        self._texts = StepLines(view, plain=plain)
        self._heights.clear()

    def key(self, row: TreeRow, width: int) -> object:
        """Return all that a row depends on beside its selection, so that one that looks as before is kept."""
        node = self._view.tree.node(row.node)
        pending = self._spinner if node.state is NodeState.PENDING else ""
        marks = row.node in self.best, node.id == self._view.pinned, self.wrap
        said = node.state, node.answer, node.prune_reason
        told = self._view.tokens_of(node), node.score, *said, self._texts.likeness(node)
        return row, width, *told, self._view.scored, pending, marks

    @property
    def _spinner(self) -> str:
        return SPINNER[self.turn // 2 % len(SPINNER)]

    def height(self, row: TreeRow, width: int) -> int:
        """Return the number of lines of a row in so many columns."""
        node = self._view.tree.node(row.node)
        if node.parent is None or not self.wrap:
            return 1
        label, text = self._said(node)
        key = node.id, width, len(row.lead), label, len(text), self._view.scored
        found = self._heights.get(key)
        if found is None:
            if len(self._heights) > KEPT_HEIGHTS:
                self._heights.clear()
            found = self._heights[key] = len(self._wrapped(label, text, self._lead(row, width)[1]))
        return found

    def segments(self, row: TreeRow, width: int, part: int) -> list[Segment]:
        """Return one of the lines of a row, the first as `part` 0."""
        node = self._view.tree.node(row.node)
        if node.parent is None:
            text = cut(self._view.question or "question", width - 2)
            return [Segment("? ", self._style("tree--best")), Segment(text, self._style("tree--text"))]
        lead, left = self._lead(row, width)
        best = row.node in self.best
        sign, kind = self._sign(node, best)
        more = f" ▸ {row.hidden} more" if row.hidden else ""
        words = self._words(node, kind, left, part) if part else self._words(node, kind, max(0, left - len(more)), 0)
        if part:
            blank = " " * (width - left - len(lead))
            return [Segment(lead.translate(_BELOW), self._style("tree--guide")), Segment(blank), *words]
        parts = [Segment(lead, self._style("tree--guide")), *self._score(node), Segment(f"{sign} ", self._style(kind))]
        return [*parts, *words, *([Segment(more, self._style("tree--reason"))] if more else [])]

    def _lead(self, row: TreeRow, width: int) -> tuple[str, int]:
        """Return the branch lines of a row, and the columns that are left for its text."""
        room = max(8, width - LEAST_TEXT)
        lead = row.lead if len(row.lead) <= room else "…" + row.lead[1 - room :]
        return lead, max(0, width - len(lead) - (9 if self._view.scored else 2))

    def _score(self, node: Node) -> list[Segment]:
        if node.score is None:
            return [Segment("       ", None)] if self._view.scored else []
        dim = node.state is NodeState.PRUNED and node.id not in self.best
        tint = Style(color=score_tint(node.score, dark=self._is_dark()), dim=dim)
        return [Segment(f"{score_bar(node.score)} {node.score:.2f} ", tint)]

    def _sign(self, node: Node, best: bool) -> tuple[str, str]:
        if node.id == self._view.pinned:
            return "⚑", "tree--best"
        if best:
            return "●", "tree--best"
        if node.origin is Origin.HAND:
            return "✎", "tree--hand"
        if node.origin is Origin.TOOL and node.state is NodeState.OPEN:
            return "⚙", "tree--text"
        if node.state is NodeState.PENDING:
            return self._spinner, "tree--pending"
        kind = {NodeState.FINISHED: "tree--answer", NodeState.PRUNED: "tree--pruned"}.get(node.state, "tree--text")
        return SIGN[node.state], kind

    def _words(self, node: Node, kind: str, room: int, part: int) -> list[Segment]:
        label, text = self._said(node)
        label_style, style = self._word_styles(node, kind)
        if self.wrap:
            lines = self._wrapped(label, text, room)
            line = lines[part] if part < len(lines) else ""
            shown = len(label) if part == 0 else 0
            return [Segment(line[:shown], label_style), Segment(line[shown:], style)]
        shared = self._texts.likeness(node).shared
        if not label:
            return [Segment(excerpt(text, shared, room), style)]
        label = cut(label, room)
        left = room - width_of(label) - 2
        return [Segment(label, label_style), Segment(f"  {excerpt(text, shared, left)}" if left > 2 else "", style)]

    def _said(self, node: Node) -> tuple[str, str]:
        """Return the remark before a step's text, "" for none, and the text on one line."""
        text = self._texts.line(node)
        if node.state is NodeState.FINISHED:
            return ("no answer" if node.answer is None else f"= {cut(node.answer, 24)}"), text
        if node.state is NodeState.PRUNED:
            return prune_text(node.prune_reason), text
        if node.state is NodeState.PENDING:
            return "", text or ("tool at work" if node.origin is Origin.TOOL else "…")
        if node.origin is Origin.TOOL:
            return "tool", text
        if node.origin is Origin.FORCED:
            return "put in", text
        twin = self._texts.likeness(node).twin
        return ("" if twin is None else f"as step {twin}"), text

    def _word_styles(self, node: Node, kind: str) -> tuple[Style, Style]:
        """Return the styles of the remark on a step and of its text."""
        reason = self._style("tree--reason")
        match node.state:
            case NodeState.FINISHED:
                return self._style("tree--answer" if kind != "tree--best" else kind) + Style(bold=True), reason
            case NodeState.PRUNED:
                return reason, self._style("tree--pruned")
            case NodeState.PENDING:
                return reason, self._style("tree--pending")
            case _:
                return reason, self._style("tree--text" if kind not in ("tree--best", "tree--hand") else kind)

    def _wrapped(self, label: str, text: str, room: int) -> list[str]:
        return wrapped(f"{label}  {text}" if label else text, max(8, room), MOST_LINES)
