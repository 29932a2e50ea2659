"""Thoughts of one run at work: steps that wait for their probes, and texts put into paths to end thoughts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ramify.events import Event
from ramify.search.node import Node
from ramify.search.tree import SearchTree

from ..runtime.messages import StepResult
from .continuations import Continuations, ForeignTexts
from .meter import Meter
from .path_ends import node_added
from .thoughts import PROBE_TOKENS, Probe, Thoughts, probe_id


@dataclass(slots=True)
class Thinking:
    """Carries out the decisions of `thoughts` about the paths of one run.

    Texts that were asked for whole are added to `continued`. `emit` takes events.
    """

    tree: SearchTree
    thoughts: Thoughts
    meter: Meter
    continued: Continuations
    foreign: ForeignTexts
    emit: Callable[[Event], None]

    def keeps(self, result: StepResult, *, ending: bool) -> bool:
        """Take note of a written step; return whether it waits for a probe, which it does not where the run is ending.

        The probe's answer is reserved.
        """
        self.thoughts.note(result)
        if ending or not self.thoughts.wants_probe(result):
            return False
        grant = self.meter.reserve(1, PROBE_TOKENS)
        if not grant.children:
            return False
        self.meter.begin(grant, [probe_id(result.child)])
        self.thoughts.hold(result)
        return True

    def take_probes(self) -> list[Probe]:
        """Return the probes that are to be written, each once."""
        return self.thoughts.take_probes()

    def probed(self, node_id: int, result: StepResult | None) -> StepResult:
        """Take the answer of a probe, None if there is none, and return the step that waited for it."""
        if result is not None:
            self.meter.written(replace(result, child=probe_id(node_id)), probe=True)
        self.meter.settle(probe_id(node_id))
        return self.thoughts.probed(node_id, result)

    def told_after(self, node: Node) -> Node | None:
        """Put in the text that ends a written step's thought or keeps it going; return its node, None for none."""
        text = self.thoughts.text_after(node)
        if text is None:
            return None
        self.tree.go_on(node.id)
        self.emit(node_added(node, None))
        return self.foreign.put_in(node.id, text, self.thoughts.tokens(text))

    def goes_on(self, node: Node) -> bool:
        """Let a text go on that was asked for whole, after a step in its thought; return whether it does."""
        at_limit = self.tree.path_token_count(node.id) >= self.thoughts.config.max_path_tokens
        if at_limit or not self.thoughts.is_step(node) or not self.continued.is_whole(node.id):
            return False
        self.continued.add(node.id)
        # The rest has a reservation of its own.
        self.meter.settle(node.id)
        self.emit(node_added(node, None))
        return True

    def is_open(self, node_id: int) -> bool:
        """Tell whether a path has to be told the end of its thought before its reply."""
        return self.thoughts.needs_end(node_id)

    def end(self, node_id: int) -> Node:
        """End the thought of a path; return the node after which its reply is to be written."""
        text = self.thoughts.end_of(node_id)
        node = self.foreign.put_in(node_id, text, self.thoughts.tokens(text))
        self.tree.go_on(node.id)
        return node
