"""Panel of one path: facts about its last step, then its blocks: steps with their scores, folded thoughts and calls."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Markdown, Static

from ramify.search.export.labels import part_scores
from ramify.search.node import Node, NodeState, Origin
from ramify.search.tree import ROOT
from ramify.text import printable

from ..common.program import program_of
from ..common.themes import score_tint, share_bar
from ..state.markup import has_markdown, readable_markdown, readable_text
from ..state.panels import prune_text
from ..state.path_blocks import Block, path_blocks
from ..state.run_view import RunView

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore

ON_PAR = "by hand, scored like a step of the model"
"""Note at the score of a step that was written by hand."""


class NodeDetail(VerticalScroll, can_focus=True):
    """The path to a node as text that grows while it is written; it stays at the end if it was there.

    Finished steps are shown as Markdown in which LaTeX is Unicode text; with `plain` every step is shown as it was
    written. Thoughts and calls of tools are folded to one line each; with `unfolded` they are shown whole, but for
    those that were clicked.
    """

    BORDER_TITLE = "Path"
    help_text = (
        "All steps from the question to the selected one, each with its score as a bar. The line on top tells of the "
        "selected step: its tokens, its log-probability in total and per token, and why it ended. Markdown and LaTeX "
        "are shown as they are meant; another key shows them as they were written. Thoughts (▸ thought) and calls of "
        "tools with their results (▸ ⚙) are folded to one line; a click unfolds one, a key all."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.plain = False
        self.unfolded = False
        self._clicked = set[int]()
        self._drawn: tuple[object, int, object] | None = None
        self._shown: tuple[RunView, int] | None = None
        self._waiting = False
        self._to_end = False
        self._blocks: list[BlockText] = []

    def compose(self) -> ComposeResult:
        """Lay out the facts; the blocks come below."""
        yield Static(id="facts")

    def show(self, view: RunView, node_id: int) -> None:
        """Show the path to a node as it is now."""
        if node_id not in view.tree:
            node_id = ROOT
        path = view.tree.path_nodes(node_id)
        steps = tuple((view.tokens_of(each), each.score, each.state, len(each.text)) for each in path)
        folds = self.unfolded, frozenset(self._clicked)
        stamp = (view.tree, node_id, (program_of(self).theme, self.plain, folds, steps))
        if stamp == self._drawn:
            return
        other = self._drawn is None or self._drawn[:2] != stamp[:2]
        if self._drawn is not None and self._drawn[0] is not view.tree:
            self._clicked.clear()
        if node_id == ROOT:
            # A question is read from its beginning.
            self._to_end = False
            if other:
                self.call_after_refresh(self.scroll_home, animate=False)
        else:
            self._to_end |= other or self.scroll_offset.y >= self.max_scroll_y - 1
        self._drawn = stamp
        self.border_title = f"Path to step {node_id}" if node_id else "Question"
        self._shown = view, node_id
        if not self._waiting:
            self._waiting = True
            self.call_later(self._update)

    def toggle_folds(self) -> None:
        """Unfold all thoughts and calls, or fold them."""
        self.unfolded = not self.unfolded
        self._clicked.clear()

    def toggle_fold(self, fold: int) -> None:
        """Unfold one thought or call, or fold it."""
        self._clicked ^= {fold}
        if self._shown is not None:
            self._to_end = False
            self.show(*self._shown)

    def _is_unfolded(self, fold: int) -> bool:
        return self.unfolded is not (fold in self._clicked)

    async def _update(self) -> None:
        """Bring the widgets to the path that was asked for last, keeping those of the blocks that are shown already."""
        self._waiting = False
        if self._shown is None:
            return
        view, node_id = self._shown
        dark = program_of(self).current_theme.dark
        path = view.tree.path_nodes(node_id) if node_id != ROOT else list[Node]()
        facts = Content(printable(view.asked)) if node_id == ROOT else _facts(view, view.tree.node(node_id))
        self.query_one("#facts", Static).update(facts)
        wanted = path_blocks(view, path, self._is_unfolded)
        keys = [(view.tree, each.key) for each in wanted]
        kept = 0
        while kept < min(len(keys), len(self._blocks)) and self._blocks[kept].key == keys[kept]:
            kept += 1
        gone, self._blocks = self._blocks[kept:], self._blocks[:kept]
        new = [BlockText(key) for key in keys[kept:]]
        self._blocks += new
        async with self.batch():
            if gone:
                await self.remove_children(gone)
            if new:
                await self.mount(*new)
            for place, (shown, block) in enumerate(zip(self._blocks, wanted, strict=True), start=1):
                answer = path[-1].answer if place == len(wanted) else None
                await shown.show(view, block, dark=dark, plain=self.plain, answer=answer)
        if self._to_end:
            self._to_end = False
            self.call_after_refresh(self.scroll_end, animate=False)


class BlockText(Vertical):
    """Score, line of a fold, and text of one block; `key` says which one."""

    def __init__(self, key: object) -> None:
        super().__init__()
        self.key = key
        self._fold: int | None = None
        self._drawn: object = None
        self._text: Markdown | Static | None = None

    def compose(self) -> ComposeResult:
        """Lay out the lines with the score and of the fold; the text comes below, then the answer."""
        yield Static(classes="score")
        yield Static(classes="fold")
        yield Static(classes="answer")

    async def show(self, view: RunView, block: Block, *, dark: bool, plain: bool, answer: str | None) -> None:
        """Show the block as it is now; `answer` is that of the path if it ends here, else None."""
        node = block.node
        of_node = None if node is None else (view.tokens_of(node), node.score, node.state)
        drawn = (block.numbers, block.line, block.text, of_node, dark, plain, answer, view.scored)
        if drawn == self._drawn:
            return
        self._drawn, self._fold = drawn, block.fold
        score, fold, line = (self.query_one(f".{name}", Static) for name in ("score", "fold", "answer"))
        score.display = node is not None and (not block.line or node.score is not None)
        if node is not None:
            score.update(_head(block.numbers, node, dark=dark, scored=view.scored))
        fold.display = bool(block.line)
        fold.update(_fold_line(block))
        line.display = answer is not None
        if answer is not None:
            said = printable(answer) if plain else readable_text(answer)
            line.update(Content.assemble(("= ", "$success"), (said, "bold $success")))
        pending = node is not None and node.state is NodeState.PENDING and not block.line
        if block.text or pending or self._text is not None:
            plain = plain or block.aside
            await self._show_text(block.text.strip("\n"), pending=pending, plain=plain, aside=block.aside)

    def on_click(self, event: events.Click) -> None:
        """Unfold a fold, or fold it."""
        if self._fold is not None and isinstance(self.parent, NodeDetail):
            event.stop()
            self.parent.toggle_fold(self._fold)

    async def _show_text(self, text: str, *, pending: bool, plain: bool, aside: bool) -> None:
        marked = not (plain or pending) and has_markdown(text)
        widget = self._text
        if widget is None or isinstance(widget, Markdown) is not marked:
            if widget is not None:
                await widget.remove()
            widget = Markdown(parser_factory=_parser, open_links=False) if marked else Static(classes="text")
            self._text = widget
            await self.mount(widget, before=2)
        if isinstance(widget, Markdown):
            await widget.update(readable_markdown(text))
        else:
            said = (printable(text) if plain else readable_text(text)) or ("…" if pending else "")
            widget.update(Content.styled(said, "$primary" if pending else "$faint" if aside else "$foreground"))


@cache
def _parser() -> MarkdownIt:
    """Return the parser of models' texts: line breaks stay, and there is no HTML."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("gfm-like", {"html": False, "linkify": False})
    parser.disable(["linkify", "html_block", "html_inline", "image"], ignoreInvalid=True)
    parser.core.ruler.push("keep_breaks", _keep_breaks)
    return parser


def _keep_breaks(state: StateCore) -> None:
    for token in state.tokens:
        for child in token.children or ():
            if child.type == "softbreak":
                child.type = "hardbreak"


def _numbers(numbers: tuple[int, int]) -> str:
    first, last = numbers
    return f"{first:>2} " if first == last else f"{first:>2}–{last} "


def _fold_line(block: Block) -> Content:
    label = "" if block.node is not None and block.node.score is not None else _numbers(block.numbers)
    return Content.assemble((label, "$faint"), (printable(block.line), "$secondary"))


def _head(numbers: tuple[int, int], step: Node, *, dark: bool, scored: bool) -> Content:
    """Return the line over a step; one without a score says so where others have scores."""
    label = (_numbers(numbers), "$faint")
    by_hand = step.origin is Origin.HAND
    if step.score is None:
        by_tool = {Origin.TOOL: "tool", Origin.FORCED: "put in"}.get(step.origin, "")
        note = (
            "being written"
            if step.state is NodeState.PENDING
            else "by hand"
            if by_hand
            else by_tool or ("not scored" if scored and step.state is not NodeState.CONTINUED else "")
        )
        return Content.assemble(label, (note, "$faint"))
    full, empty = share_bar(step.score, 16)
    tint = score_tint(step.score, dark=dark)
    note = f"  {ON_PAR}" if by_hand else ""
    parts = printable(part_scores(step))
    return Content.assemble(
        label,
        (full, tint),
        (empty, "$guide"),
        (f" {step.score:.3f}", f"bold {tint}"),
        (note, "$accent"),
        (f"  {parts}" if parts else "", "$faint"),
    )


def _facts(view: RunView, node: Node) -> Content:
    facts = [_state_text(node), f"{view.tokens_of(node)} tokens"]
    if node.logprob is not None and node.token_count:
        facts.append(f"log-probability {node.logprob:z.2f} ({node.logprob / node.token_count:z.3f} a token)")
    facts.append(f"{sum(map(view.tokens_of, view.tree.path_nodes(node.id)))} tokens on the path")
    return Content.styled(" · ".join(facts), "$faint")


def _state_text(node: Node) -> str:
    match node.state:
        case NodeState.PENDING:
            return "being written"
        case NodeState.PRUNED:
            return f"given up: {prune_text(node.prune_reason)}"
        case NodeState.FINISHED:
            return "finished" if node.answer is not None else "finished without an answer"
        case NodeState.CONTINUED:
            return "goes on below"
        case _:
            return "open"
