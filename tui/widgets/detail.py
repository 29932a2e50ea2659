"""Panel of one path: facts about its last step, then the text of every step with its score."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

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
from ..state.run_view import RunView

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore

ON_PAR = "by hand, scored like a step of the model"
"""Note at the score of a step that was written by hand."""


class NodeDetail(VerticalScroll, can_focus=True):
    """The path to a node as text that grows while it is written; it stays at the end if it was there.

    Finished steps are shown as Markdown in which LaTeX is Unicode text; with `plain` every step is shown as it was
    written.
    """

    BORDER_TITLE = "Path"
    help_text = (
        "All steps from the question to the selected one, each with its score as a bar. The line on top tells of the "
        "selected step: its tokens, its log-probability in total and per token, and why it ended. Markdown and LaTeX "
        "are shown as they are meant; another key shows them as they were written."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.plain = False
        self._drawn: tuple[object, int, object] | None = None
        self._wanted: tuple[RunView, int] | None = None
        self._to_end = False
        self._steps: list[StepText] = []

    def compose(self) -> ComposeResult:
        """Lay out the facts; the steps come below."""
        yield Static(id="facts")

    def show(self, view: RunView, node_id: int) -> None:
        """Show the path to a node as it is now."""
        if node_id not in view.tree:
            node_id = ROOT
        path = view.tree.path_nodes(node_id)
        steps = tuple((view.tokens_of(each), each.score, each.state) for each in path)
        stamp = (view.tree, node_id, (program_of(self).theme, self.plain, steps))
        if stamp == self._drawn:
            return
        other = self._drawn is None or self._drawn[:2] != stamp[:2]
        if node_id == ROOT:
            # A question is read from its beginning.
            self._to_end = False
            if other:
                self.call_after_refresh(self.scroll_home, animate=False)
        else:
            self._to_end |= other or self.scroll_offset.y >= self.max_scroll_y - 1
        self._drawn = stamp
        self.border_title = f"Path to step {node_id}" if node_id else "Question"
        if self._wanted is None:
            self.call_later(self._update)
        self._wanted = view, node_id

    async def _update(self) -> None:
        """Bring the widgets to the path that was asked for last, keeping those of the steps that are shown already."""
        if self._wanted is None:
            return
        (view, node_id), self._wanted = self._wanted, None
        dark = program_of(self).current_theme.dark
        path = view.tree.path_nodes(node_id) if node_id != ROOT else ()
        facts = Content(printable(view.question)) if node_id == ROOT else _facts(view, view.tree.node(node_id))
        self.query_one("#facts", Static).update(facts)
        keys = [(view.tree, each.id) for each in path]
        kept = 0
        while kept < min(len(keys), len(self._steps)) and self._steps[kept].key == keys[kept]:
            kept += 1
        gone, self._steps = self._steps[kept:], self._steps[:kept]
        new = [StepText(key) for key in keys[kept:]]
        self._steps += new
        async with self.batch():
            if gone:
                await self.remove_children(gone)
            if new:
                await self.mount(*new)
            for number, (step, node) in enumerate(zip(self._steps, path, strict=True), start=1):
                last = number == len(path)
                await step.show(view, node, number, dark=dark, plain=self.plain, answer=node.answer if last else None)
        if self._to_end:
            self._to_end = False
            self.call_after_refresh(self.scroll_end, animate=False)


class StepText(Vertical):
    """Score and text of one step; `key` says which one."""

    def __init__(self, key: object) -> None:
        super().__init__()
        self.key = key
        self._drawn: object = None
        self._text: Markdown | Static | None = None

    def compose(self) -> ComposeResult:
        """Lay out the line with the score; the text comes below, then the answer."""
        yield Static(classes="score")
        yield Static(classes="answer")

    async def show(
        self, view: RunView, node: Node, number: int, *, dark: bool, plain: bool, answer: str | None
    ) -> None:
        """Show the step as it is now; `answer` is that of the path if it ends here, else None."""
        drawn = (view.tokens_of(node), node.score, node.state, number, dark, plain, answer, view.scored)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        self.query_one(".score", Static).update(_head(number, node, dark=dark, scored=view.scored))
        line = self.query_one(".answer", Static)
        line.display = answer is not None
        if answer is not None:
            said = printable(answer) if plain else readable_text(answer)
            line.update(Content.assemble(("= ", "$success"), (said, "bold $success")))
        await self._show_text(view.text_of(node).strip("\n"), pending=node.state is NodeState.PENDING, plain=plain)

    async def _show_text(self, text: str, *, pending: bool, plain: bool) -> None:
        marked = not (plain or pending) and has_markdown(text)
        widget = self._text
        if widget is None or isinstance(widget, Markdown) is not marked:
            if widget is not None:
                await widget.remove()
            widget = Markdown(parser_factory=_parser, open_links=False) if marked else Static(classes="text")
            self._text = widget
            await self.mount(widget, before=1)
        if isinstance(widget, Markdown):
            await widget.update(readable_markdown(text))
        else:
            said = (printable(text) if plain else readable_text(text)) or ("…" if pending else "")
            widget.update(Content.styled(said, "$primary" if pending else "$foreground"))


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


def _head(number: int, step: Node, *, dark: bool, scored: bool) -> Content:
    """Return the line over a step; one without a score says so where others have scores."""
    label = (f"{number:>2} ", "$faint")
    by_hand = step.origin is Origin.HAND
    if step.score is None:
        by_tool = {Origin.TOOL: "tool", Origin.FORCED: "put in"}.get(step.origin, "")
        note = (
            "being written"
            if step.state is NodeState.PENDING
            else "by hand"
            if by_hand
            else by_tool or ("not scored" if scored else "")
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
