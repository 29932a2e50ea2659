"""Panel of one path: the text of every step with its score, and facts about the last one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ramify.search.node import Node, NodeState, Origin
from ramify.search.tree import ROOT
from ramify.text import printable

from ..common.program import program_of
from ..common.themes import score_tint, share_bar
from ..state.panels import prune_text
from ..state.run_view import RunView


class NodeDetail(VerticalScroll, can_focus=True):
    """The path to a node as text that grows while it is written; it stays at the end if it was there."""

    BORDER_TITLE = "Path"
    help_text = (
        "All steps from the question to the selected one, each with its score as a bar. The line on top tells of the "
        "selected step: its tokens, its log-probability in total and per token, and why it ended."
    )

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._drawn: tuple[int, int, object] | None = None

    def compose(self) -> ComposeResult:
        """Lay out the one text."""
        yield Static(id="path")

    def show(self, view: RunView, node_id: int) -> None:
        """Show the path to a node as it is now."""
        if node_id not in view.tree:
            node_id = ROOT
        path = view.tree.path_nodes(node_id)
        steps = tuple((view.tokens_of(each), each.score, each.state) for each in path)
        stamp = (id(view), node_id, (program_of(self).theme, steps))
        if stamp == self._drawn:
            return
        other = self._drawn is None or self._drawn[1] != node_id
        at_end = self.scroll_offset.y >= self.max_scroll_y - 1
        self._drawn = stamp
        self.border_title = f"Path to step {node_id}" if node_id else "Question"
        self.query_one("#path", Static).update(path_content(view, node_id, dark=program_of(self).current_theme.dark))
        if at_end or other:
            self.call_after_refresh(self.scroll_end, animate=False)


def path_content(view: RunView, node_id: int, *, dark: bool) -> Content:
    """Return the text of a path: facts about its last step, then all steps."""
    if node_id == ROOT:
        return Content(printable(view.question))
    lines = [_facts(view, view.tree.node(node_id)), Content("")]
    for number, step in enumerate(view.tree.path_nodes(node_id), start=1):
        lines.append(_head(number, step, dark=dark))
        tone = "$foreground" if step.state is not NodeState.PENDING else "$primary"
        text = printable(view.text_of(step)).strip("\n") or ("…" if step.state is NodeState.PENDING else "")
        lines += [Content.styled(text, tone), Content("")]
    answer = view.tree.node(node_id).answer
    if answer is not None:
        lines.append(Content.assemble(("= ", "$success"), (printable(answer), "bold $success")))
    return Content("\n").join(lines)


def _head(number: int, step: Node, *, dark: bool) -> Content:
    label = (f"{number:>2} ", "$faint")
    if step.score is None:
        note = (
            "being written"
            if step.state is NodeState.PENDING
            else "by hand"
            if step.origin is Origin.HAND
            else "not scored"
        )
        return Content.assemble(label, (note, "$faint"))
    full, empty = share_bar(step.score, 16)
    tint = score_tint(step.score, dark=dark)
    note = "  by hand" if step.origin is Origin.HAND else ""
    return Content.assemble(
        label, (full, tint), (empty, "$guide"), (f" {step.score:.3f}", f"bold {tint}"), (note, "$accent")
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
        case _:
            return "open"
