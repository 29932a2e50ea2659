"""Books what a run's steps really cost, where the budget's meter foresaw only a price."""

from __future__ import annotations

from collections.abc import Iterable

from ramify.search.budget import BudgetMeter, Grant
from ramify.search.node import Node
from ramify.usage import RoleUsage

from ..policy.protocol import StepResult


class Accounts:
    """The grants of one run's steps, and how much of what the reward model read has been booked.

    A step is reserved with the reward model's share by price. What that read in truth may be less (steps that stand
    elsewhere in the tree already, steps that are given up unread) or more (its template), and is what is booked.
    """

    def __init__(self, meter: BudgetMeter) -> None:
        self._meter = meter
        self._grants: dict[int, Grant] = {}
        self._read_tokens = 0
        self._booked_tokens = 0
        price = meter.price
        self._flops_per_read = price.flops_per_node / price.total_per_node if price.total_per_node else 0.0

    def reserve(self, nodes: Iterable[int], grant: Grant) -> None:
        """Note that steps are being written under a grant."""
        self._grants.update((node, grant) for node in nodes)

    def charge_prompts(self, prompt_tokens: int, *, reward: bool) -> None:
        """Book the prompt up front, for both models if there is a reward: theirs are about equally long."""
        if reward:
            self._booked_tokens += prompt_tokens
        flops = prompt_tokens * self._meter.price.flops_per_generated
        self._meter.charge(total_tokens=prompt_tokens * (1 + reward), flops=flops)

    def charge_turn(self, result: StepResult) -> None:
        """Book what the policy read before it wrote a critique or a revision."""
        more = result.prompt_tokens + result.reevaluated_tokens
        self._meter.charge(total_tokens=more, flops=more * self._meter.price.flops_per_generated)

    def note_read(self, reward: RoleUsage) -> None:
        """Take in what the reward model has evaluated since the run began, before its scores are settled."""
        self._read_tokens = reward.evaluated_tokens

    def settle(self, node: Node) -> None:
        """Book a step that needs no further work, and what the reward model has read since the last one."""
        # Settled only now, so that the reward model's share stays reserved until it has read the step.
        grant = self._grants.pop(node.id, None)
        if grant is None:
            return
        foreseen, read = self._meter.price.cost(1, node.token_count), self._unbooked()
        unread = foreseen.total_tokens - foreseen.generated_tokens
        self._meter.settle(
            grant,
            generated_tokens=node.token_count,
            children=1,
            total_tokens=foreseen.generated_tokens + read,
            flops=max(0.0, foreseen.flops + (read - unread) * self._flops_per_read),
        )

    def square(self) -> None:
        """Book what the reward model read for steps without a grant, such as those of a saved tree."""
        read = self._unbooked()
        if read:
            self._meter.charge(total_tokens=read, flops=read * self._flops_per_read)

    def _unbooked(self) -> int:
        read = max(0, self._read_tokens - self._booked_tokens)
        self._booked_tokens += read
        return read
