"""State of one open run in a decoder: its nodes, the sequences that wait, and costs that no result has carried yet."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ramify.reward.protocol import ReadResult
from ramify.search.node import FinishReason

from ..messages import ROOT, StepRequest, StepResult
from .jobs import PrefixJob, ReadJob
from .prefix_cache import PrefixNode
from .shared_sequences import SharedSequence

_GOES_ON = (FinishReason.STEP, FinishReason.LENGTH, FinishReason.BUDGET, FinishReason.CANCELLED)
"""Reasons after which a text may go on in the next step, from within a character."""


@dataclass(eq=False, slots=True)
class RunState:
    """State of one open run.

    `nodes` are found by the ids that the engine uses. `background` runs begin their sequences after those of all
    others. `waiting` holds the sequences that have not begun, or have to begin again, `active` counts those at work.
    The counts of tokens, from `prompt_tokens` to `prefilled_tokens`, are costs that no result has carried yet.
    `has_stored` says that steps of the run were taken from a store.
    `unread_prefix` counts the tokens of the prompt that another run may have evaluated, 0 once that is known.
    `first_token_at` is as in StepResult.
    """

    nodes: dict[int, PrefixNode]
    background: bool = False
    waiting: deque[SharedSequence] = field(default_factory=deque["SharedSequence"])
    active: int = 0
    prompt_tokens: int = 0
    reevaluated_tokens: int = 0
    shared_tokens: int = 0
    reused_tokens: int = 0
    drafted_tokens: int = 0
    rejected_tokens: int = 0
    prefilled_tokens: int = 0
    has_stored: bool = False
    unread_prefix: int = 0
    first_token_at: float | None = None

    def name(self, id: int, node: PrefixNode) -> PrefixNode:
        """Assign an id to a node, and return the node."""
        self.nodes[id] = node
        node.ids.add(id)
        return node

    def adopt(self, id: int, parent: int, tokens: tuple[int, ...], *, generated: bool = True) -> None:
        """Add a node that was not generated here.

        `generated` says that this model wrote it, so that evaluating it now is a repetition.
        """
        above, root = self.nodes[parent], self.nodes[ROOT]
        if generated:
            adopted = self.name(id, above.child(tokens))
            # All but its last token: that one stays pending until the node is expanded.
            adopted.evaluated = max(above.known, len(adopted.path) - 1)
            root.evaluated = len(root.path)
            return
        told = above.told.get(tokens)
        if told is None:
            told = above.told[tokens] = PrefixNode.of_path(root.run, above, above.path + tokens)
            told.told_from = len(above.path) if above.told_from is None else above.told_from
        self.name(id, told)

    def adopt_stored(self, id: int, parent: int, tokens: tuple[int, ...]) -> None:
        """Add a node that was taken from a store."""
        self.has_stored = True
        adopted = self.nodes[parent].child(tokens)
        if not adopted.ids:
            # Nothing is kept of it: it was not written here, or has been released since.
            adopted.evaluated, adopted.stored = 0, True
        self.name(id, adopted)

    def enqueue(self, sequences: list[SharedSequence]) -> None:
        """Queue sequences; those below the prompt's node come last, so that few begun paths need cells at a time."""
        root = self.nodes[ROOT]
        self.waiting.extendleft(reversed([each for each in sequences if each.node is not root]))
        self.waiting.extend(each for each in sequences if each.node is root)

    def put_back(self, shared: SharedSequence) -> None:
        """Queue a sequence that has begun before all that have not."""
        self.waiting.appendleft(shared)

    def begin(self, shared: SharedSequence) -> SharedSequence:
        """Count a sequence among those at work, and return it."""
        shared.active = True
        self.active += 1
        return shared

    def count_prefix(self, job: PrefixJob) -> None:
        """Count the cost of a path that was completed for other jobs."""
        node = job.node
        # A generated node's one pending token was counted when it was drawn; tokens that the model was told were not.
        if node.parent is None or node.is_prompt:
            told = len(node.path)
        else:
            told = 0 if node.told_from is None else len(node.path) - node.told_from
        self.prompt_tokens += min(job.new_tokens, told)
        again = job.reevaluated_tokens
        if self.has_stored:
            # A node from a store holds no cells before it is needed, so those above it may be gone by then.
            spared = again if node.stored else 0
            self.prefilled_tokens += max(0, job.new_tokens - told - _pending(node)) + spared
            again -= spared
        self.reevaluated_tokens += again
        self.unread_prefix = max(0, self.unread_prefix - (job.new_tokens if node.parent is None else 0))
        if node.is_prompt:
            self.reused_tokens += max(0, self.unread_prefix - job.reevaluated_tokens)
            self.unread_prefix = 0

    def end(self, shared: SharedSequence, node: PrefixNode, reason: FinishReason) -> list[StepResult]:
        """Return the results of a sequence's children, whose steps are `node`.

        The first result carries all costs that wait for one.
        """
        if shared.active:
            shared.active = False
            self.active -= 1
        self.reevaluated_tokens += shared.reevaluated_tokens
        self.shared_tokens += shared.shared_tokens
        self.drafted_tokens += shared.drafted_tokens
        self.rejected_tokens += shared.rejected_tokens
        text = shared.text.close(cut=reason in _GOES_ON)
        for child in shared.children:
            self.name(child.request.child, node)
        return [self._step_result(child.request, shared, text, reason) for child in shared.children]

    def _step_result(self, request: StepRequest, shared: SharedSequence, text: str, reason: FinishReason) -> StepResult:
        result = StepResult(
            child=request.child,
            text=text,
            tokens=tuple(shared.tokens),
            generated_tokens=len(shared.tokens),
            logprob=shared.logprob,
            finish_reason=reason,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=shared.cached_tokens + self.reused_tokens,
            reevaluated_tokens=self.reevaluated_tokens,
            reused_tokens=self.reused_tokens,
            drafted_tokens=self.drafted_tokens,
            rejected_tokens=self.rejected_tokens,
            prefilled_tokens=self.prefilled_tokens,
            shared_tokens=self.shared_tokens,
            calculated_tokens=shared.calculated_tokens,
            first_token_at=self.first_token_at,
            token_logprobs=tuple(shared.logprobs) if request.tell_logprobs else (),
            kept_open=shared.kept_open,
        )
        self.prompt_tokens = self.reevaluated_tokens = self.shared_tokens = self.reused_tokens = 0
        self.drafted_tokens = self.rejected_tokens = self.prefilled_tokens = 0
        return result

    def read_result(self, job: ReadJob) -> ReadResult:
        """Return a read's result, with all costs that wait for one."""
        result = ReadResult(
            node=job.request.node,
            logits=job.rows(),
            evaluated_tokens=job.new_tokens + self.prompt_tokens,
            cached_tokens=job.cached_tokens + self.reused_tokens,
            reevaluated_tokens=job.reevaluated_tokens + self.reevaluated_tokens,
        )
        self.prompt_tokens = self.reevaluated_tokens = self.reused_tokens = 0
        return result


def _pending(node: PrefixNode) -> int:
    """Return how many tokens of a node's path were counted when they were drawn, and are evaluated with the path."""
    current = node
    while current.told_from is not None and current.parent is not None:
        current = current.parent
    return int(not (current.stored or current.is_prompt or current.parent is None))
