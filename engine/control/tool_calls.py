"""Calls of tools in one run's tree: those that a step ends with, and texts that go on after a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ramify.search.node import FinishReason, Node, Origin
from ramify.search.tree import SearchTree
from ramify.tools.forms import Call, CallReader, Calls, Malformed

from .continuations import Continuations

_CALLING = (FinishReason.STEP, FinishReason.EOS)


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """Calls to be run, whose results the node `node` takes.

    `below` is the node that the calling step stands below, and `said` are the calling step's own tokens. `refused` is
    the text that the model is told instead of a result, "" if the calls are to be run.
    """

    node: int
    below: int
    calls: tuple[Call, ...]
    said: tuple[int, ...]
    refused: str = ""


@dataclass(slots=True)
class ToolCalls:
    """Finds the calls in the steps of one run. It reads the tree.

    `reader` reads calls in the policy's form. A path may have `most_per_path` steps with calls; one more is refused,
    and later calls are ordinary text.

    After a result a text that was asked for to its end goes on at once: it is added to `continued`. `running` are the
    nodes whose tools are at work.
    """

    tree: SearchTree
    reader: CallReader
    most_per_path: int
    continued: Continuations
    running: set[int] = field(default_factory=set[int])
    _requests: list[ToolRequest] = field(default_factory=list[ToolRequest])

    def take(self) -> list[ToolRequest]:
        """Return the calls that are to be run, each once."""
        requests, self._requests = self._requests, []
        return requests

    def find(self, node: Node) -> ToolRequest | None:
        """Return the calls that a written step ends with, whose `node` is the step itself; None if it calls nothing."""
        if node.origin in (Origin.TOOL, Origin.RESCUE) or node.finish_reason not in _CALLING:
            return None
        path = self.tree.path_nodes(node.id)
        results = [place for place, each in enumerate(path) if each.origin is Origin.TOOL]
        # A long call may have been cut into steps.
        starts, ends = [0, *(place + 1 for place in results)], [*results, len(path)]
        texts = ["".join(each.text for each in path[start:end]) for start, end in zip(starts, ends, strict=True)]
        found = self.reader.read(texts[-1])
        if found is None:
            return None
        before = len(results)
        if before > self.most_per_path or self._repeats(found, texts[:-1]) > 1:
            return None
        refused = ""
        if before == self.most_per_path:
            refused = "error: no more calls are allowed on this path; answer with what is known"
        elif isinstance(found, Malformed):
            refused = f"error: {found.reason}"
        elif self._repeats(found, texts[:-1]):
            refused = "error: this very call was made just now; its result stands above; change the call, or answer"
        assert node.parent is not None
        return ToolRequest(node.id, node.parent, () if isinstance(found, Malformed) else found, node.tokens, refused)

    def _repeats(self, found: Calls, before: Sequence[str]) -> int:
        """Return how many times in a row the texts before end with the same calls."""
        count = 0
        for text in reversed(before):
            if isinstance(found, Malformed) or self.reader.read(text) != found:
                break
            count += 1
        return count

    def begin(self, request: ToolRequest) -> Node:
        """Add the node of a call's result below the calling step, which goes on there."""
        self.tree.go_on(request.node)
        node = self.tree.add_pending(request.node, origin=Origin.TOOL)
        self.again(node, request)
        return node

    def again(self, node: Node, request: ToolRequest | None = None) -> None:
        """Ask for the result of a pending node, such as one of a saved tree."""
        if request is None:
            assert node.parent is not None
            above = self.tree.node(node.parent)
            request = self._read(above)
        self.running.add(node.id)
        self._requests.append(ToolRequest(node.id, request.below, request.calls, request.said, request.refused))

    def _read(self, above: Node) -> ToolRequest:
        assert above.parent is not None
        return self.find(above) or ToolRequest(above.id, above.parent, (), above.tokens, "error: the call is lost")

    def end(self, node_id: int) -> bool:
        """Take a result that has come; return whether the text goes on at once below it, as it was asked for whole."""
        self.running.discard(node_id)
        if not self.continued.is_whole(node_id):
            return False
        self.continued.add(node_id)
        return True

    def take_over(self) -> None:
        """Call the tools of open steps of a saved tree, and let the texts go on that were cut after a result."""
        for leaf in self.tree.open_leaves():
            if leaf.parent is None or leaf.score is not None:
                continue
            if leaf.origin is Origin.TOOL and self.continued.is_whole(leaf.id):
                self.tree.go_on(leaf.id)
            elif (request := self.find(leaf)) is not None:
                self.begin(request)
