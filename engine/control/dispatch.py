"""Dispatch of steps: reservation of their budget, their requests, and the steps that are in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ramify.events import Event, NodesDispatched
from ramify.search.node import Node
from ramify.search.stopping import StopReason
from ramify.search.strategy import Expansion

from ..policy.protocol import ForeseesInput, PolicySession
from ..runtime.messages import StepRequest
from .grants import Grant
from .meter import Meter
from .requests import Dispatch, RequestBuilder


@dataclass(slots=True)
class StepsInFlight:
    """Steps of one run that are being written, that wait for a score, and that are being scored; ids of nodes."""

    writing: set[int] = field(default_factory=set[int])
    unscored: list[int] = field(default_factory=list[int])
    scoring: set[int] = field(default_factory=set[int])
    _children: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def none(self) -> bool:
        """True if nothing is being written or waits for a score."""
        return not (self.writing or self.unscored or self.scoring)

    def begin(self, requests: Sequence[StepRequest]) -> None:
        """Count steps that are written from now on."""
        self.writing.update(request.child for request in requests)
        for request in requests:
            self._children[request.parent] = self._children.get(request.parent, 0) + 1

    def settle(self, parent: int | None) -> bool:
        """Count a child of `parent` as settled; return whether it was the last one in flight there."""
        if parent is None or parent not in self._children:
            return False
        self._children[parent] -= 1
        if self._children[parent]:
            return False
        del self._children[parent]
        return True

    def take_unscored(self) -> list[int]:
        """Return the nodes that wait for a score; they count as being scored from now on."""
        nodes, self.unscored = self.unscored, []
        self.scoring.update(nodes)
        return nodes


class Dispatcher:
    """Turns expansions into requests, as many as the budget allows.

    `unwritten` are the pending nodes of a saved tree that are still to be written. `refused_by` is the limit that
    refused a child last, None if none did, and `lacking` are the nodes that have fewer children than were last asked
    for there.
    """

    def __init__(
        self, builder: RequestBuilder, meter: Meter, steps: StepsInFlight, emit: Callable[[Event], None]
    ) -> None:
        self.unwritten: list[int] = []
        self.refused_by: StopReason | None = None
        self.lacking = set[int]()
        self._builder = builder
        self._meter = meter
        self._steps = steps
        self._emit = emit

    def foresee_input(self, policy: PolicySession) -> None:
        """Reserve the policy's prompt, and from now on the input that is expected for each step."""
        self._meter.foresee_prompts(policy.prompt_tokens)
        self._builder.input_tokens = policy.input_tokens if isinstance(policy, ForeseesInput) else None

    def dispatch(self, expansions: Sequence[Expansion]) -> Dispatch | None:
        """Return the children that the budget allows of those asked for, None if it allows none."""
        plan = self._plan(expansions)
        if not plan:
            return None
        expected = 1 if self._meter.budget.is_unlimited else self._builder.expected_tokens(expansions)
        grant = self._meter.reserve(
            len(plan), _most(plan), expected_tokens=expected, input_tokens=self._inputs([each for each, _ in plan])
        )
        self.refused_by = grant.refused_by or self.refused_by
        self.lacking.difference_update(each.node for each, _ in plan)
        self.lacking.update(each.node for each, _ in plan[grant.children :])
        return self._begin(plan, grant, rescue=False)

    def finish(self, expansion: Expansion) -> Dispatch | None:
        """Return the last child of a run whose budget has ended, from the part that was withheld for it."""
        plan = self._plan([expansion])
        grant = self._meter.reserve_finish(_most(plan), input_tokens=self._inputs([expansion]))
        return self._begin(plan, grant, rescue=True)

    def write_again(self) -> Dispatch | None:
        """Return those unwritten nodes that the budget allows, None if it allows none."""
        plan = [(node, self._builder.expansion(node)) for node in map(self._builder.tree.node, self.unwritten)]
        sized = [(node, each, self._builder.max_tokens(each)) for node, each in plan]
        inputs = self._inputs([each for _, each in plan])
        grant = self._meter.reserve(len(sized), max(most for *_, most in sized), input_tokens=inputs)
        self.unwritten = self.unwritten[grant.children :]
        return self._send(sized[: grant.children], grant)

    def _plan(self, expansions: Sequence[Expansion]) -> list[tuple[Expansion, int]]:
        """Return each child with the most tokens that it may have."""
        return [(each, self._builder.max_tokens(each)) for each in expansions for _ in range(each.children)]

    def _inputs(self, expansions: Sequence[Expansion]) -> list[int]:
        """Return the expected input tokens of each of these children, empty if no limit counts them."""
        budget = self._meter.budget
        counted = budget.total_tokens or budget.flops or budget.cost
        return self._builder.inputs(expansions) if counted else []

    def _begin(self, plan: Sequence[tuple[Expansion, int]], grant: Grant, *, rescue: bool) -> Dispatch | None:
        granted = plan[: grant.children]
        return self._send([(self._builder.add(each, rescue=rescue), each, most) for each, most in granted], grant)

    def _send(self, plan: Sequence[tuple[Node, Expansion, int]], grant: Grant) -> Dispatch | None:
        if not plan:
            return None
        requests = [self._builder.request(node, expansion, most) for node, expansion, most in plan]
        self._meter.begin(grant, [request.child for request in requests])
        self._steps.begin(requests)
        for parent in dict.fromkeys(request.parent for request in requests):
            nodes = tuple(request.child for request in requests if request.parent == parent)
            self._emit(NodesDispatched(parent=parent, nodes=nodes))
        return Dispatch(requests, grant)


def _most(plan: Sequence[tuple[Expansion, int]]) -> int:
    return max(max_tokens for _, max_tokens in plan)
