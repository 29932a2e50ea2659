"""What a generated token costs in every unit of a budget, so that work can be paid for before it starts."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from ramify.errors import BudgetError

from .limits import Spent


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """Cost of a generated token and of a node, over policy and reward model.

    `total_per_generated` is at least 1: the token itself. `flops_per_generated` 0 means that the models' sizes are
    unknown; then no limit of FLOPs can be kept. `total_per_node` and `flops_per_node` are added once for each step,
    for what the reward model's template wraps around it.
    """

    total_per_generated: float = 1.0
    flops_per_generated: float = 0.0
    total_per_node: float = 0.0
    flops_per_node: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 1.0 if field.name == "total_per_generated" else 0.0
            value = getattr(self, field.name)
            if not isfinite(value) or value < least:
                raise BudgetError(f"the price {field.name} is {value}; give a number of {least:.0f} or more")

    @classmethod
    def of(
        cls,
        policy_parameters: float,
        reward_parameters: float | None = None,
        *,
        reward_tokens_per_generated: float = 1.0,
        reward_tokens_per_node: float = 1.0,
    ) -> TokenPrice:
        """Return the price from model sizes: FLOPs = 2 * parameters * tokens (Kaplan et al., arXiv 2001.08361).

        `reward_parameters` None means that no reward model runs. `reward_tokens_per_generated` is how many of its
        own tokens it evaluates for each generated one (1 with the same tokenizer); `reward_tokens_per_node` is what
        its template adds to a step. FLOPs have no price if the policy's size is unknown (0), whatever the reward's is.
        """
        if reward_parameters is None:
            return cls(flops_per_generated=2.0 * policy_parameters)
        if not policy_parameters:
            return cls(total_per_generated=1.0 + reward_tokens_per_generated, total_per_node=reward_tokens_per_node)
        return cls(
            total_per_generated=1.0 + reward_tokens_per_generated,
            flops_per_generated=2.0 * (policy_parameters + reward_parameters * reward_tokens_per_generated),
            total_per_node=reward_tokens_per_node,
            flops_per_node=2.0 * reward_parameters * reward_tokens_per_node,
        )

    def cost(self, nodes: int, generated_tokens: int) -> Spent:
        """Return what these nodes with so many tokens in all would cost; total tokens are rounded up."""
        total = self.total_per_generated * generated_tokens + self.total_per_node * nodes
        return Spent(
            generated_tokens=generated_tokens,
            total_tokens=-int(-total // 1),
            flops=self.flops_per_generated * generated_tokens + self.flops_per_node * nodes,
            nodes=nodes,
        )
