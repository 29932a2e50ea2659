"""Limits of a run, and the foreseen price of its steps in the same units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, NamedTuple

from ramify.errors import BudgetError
from ramify.settings import COUNT, DURATION, ENERGY, FLOPS, MONEY, declared, setting
from ramify.text import nearest

MOST_PATHS = 1 << 14
"""Highest width, number of children, depth or other count of a strategy: more would hold the process for minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one run, in any mix; None is unlimited.

    A limit is checked against the usage that the run reports (`ramify.Usage`): `generated_tokens` against the tokens
    that the policy generated, `total_tokens` against every token evaluated, prompts and the reward model's included,
    `flops` against 2 * parameters * tokens evaluated, over both models, and `seconds` against the wall-clock time.
    `nodes` counts the steps that the policy wrote. `joules` is checked against the energy, which has to be measured or
    estimated, and `cost` against the cost by the engine's prices, in their currency.

    Raises:
        BudgetError: unless every limit is a finite number above 0, and a whole one where things are counted.
    """

    generated_tokens: int | None = setting(
        None,
        COUNT,
        key="max_generated_tokens",
        unit="generated tokens",
        group="limits",
        help="Limit of generated tokens, such as 20k.",
        explanation="tokens that the policy generates",
        identity="always",
    )
    total_tokens: int | None = setting(
        None,
        COUNT,
        key="max_total_tokens",
        unit="total tokens",
        group="limits",
        help="Limit of all evaluated tokens, reward model included.",
        explanation="tokens that are evaluated, prompts and the reward's included",
        identity="always",
    )
    flops: float | None = setting(
        None,
        FLOPS,
        key="max_flops",
        unit="FLOPs",
        group="limits",
        help="Limit of floating point operations, such as 1e12.",
        explanation="2 × weights × tokens evaluated, of both models "
        "([what counts](../howto/models.md#how-a-model-is-used))",
        identity="always",
    )
    seconds: float | None = setting(
        None,
        DURATION,
        key="max_seconds",
        unit="s",
        group="limits",
        help="Limit of time, such as 90s or 2m.",
        explanation="time; `90s`, `2m` or `500ms`",
        identity="always",
    )
    nodes: int | None = setting(
        None,
        COUNT,
        key="max_nodes",
        unit="nodes",
        group="limits",
        help="Limit of steps in the tree.",
        explanation="steps in the tree",
        identity="always",
    )
    joules: float | None = setting(
        None,
        ENERGY,
        key="max_joules",
        unit="J",
        group="limits",
        help="Limit of energy, such as 500 or 2kJ.",
        explanation="energy in joules, measured or by `--watts` ([compute](../howto/compute.md)), such as `2kJ`",
    )
    cost: float | None = setting(
        None,
        MONEY,
        key="max_cost",
        unit="in cost",
        group="limits",
        help="Limit of cost in the currency of --prices.",
        explanation="cost by `--prices`, in its currency ([compute](../howto/compute.md))",
    )

    def __post_init__(self) -> None:
        for name in UNITS:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
                raise BudgetError(f"the budget's {name} is {value!r}; give a number above 0, or None for no limit")
            if name in _WHOLE:
                if value != int(value):
                    raise BudgetError(f"the budget's {name} is {value!r}; give a whole number")
                object.__setattr__(self, name, int(value))

    @property
    def is_unlimited(self) -> bool:
        """True if no limit is set."""
        return all(getattr(self, name) is None for name in UNITS)

    def describe(self) -> str:
        """Return the limits in words, such as `4096 generated tokens, 30 s`."""
        parts = (f"{_amount(getattr(self, name))} {unit}" for name, unit in UNITS.items() if getattr(self, name))
        return ", ".join(parts) or "no limit"

    def to_dict(self) -> dict[str, Any]:
        """Return the limits by name, None where unlimited."""
        return {name: getattr(self, name) for name in UNITS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Budget:
        """Return a budget from `to_dict`; limits left out are unlimited.

        Raises:
            BudgetError: if there is no limit of a name, or a limit is out of range.
        """
        for name in data:
            if name not in UNITS:
                raise BudgetError(f"a budget has no limit {name!r}{nearest(name, UNITS)}")
        return cls(**data)


UNITS = {each.attribute: each.unit for each in declared(Budget)}
"""The limits in the order in which they are checked, and their units for people."""
_WHOLE = {each.attribute for each in declared(Budget) if each.kind is COUNT}


class Rates(NamedTuple):
    """Cost of a token in the unit of one limit: generated, read by the policy, read by the reward model."""

    generated: float
    input: float
    read: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """Foreseen price of a step: FLOPs and money for a token in each role, and tokens read by the reward model.

    `policy_flops` and `reward_flops` are FLOPs per token; 0 if the size is unknown or there is no model. The reward
    model reads `reward_tokens_per_generated` of its own tokens for each generated one (1 with the same tokenizer, 0
    for a reward that reads none) and `reward_tokens_per_node` once for each step, which its template puts around it.
    `generated_cost`, `input_cost` and `read_cost` are the money for a token that the policy generates, that it reads,
    and that the reward model reads.

    Raises:
        BudgetError: unless every price is a finite number of 0 or more.
    """

    policy_flops: float = 0.0
    reward_flops: float = 0.0
    reward_tokens_per_generated: float = 0.0
    reward_tokens_per_node: float = 0.0
    generated_cost: float = 0.0
    input_cost: float = 0.0
    read_cost: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isfinite(value) or value < 0:
                raise BudgetError(f"the price {field.name} is {value}; give a number of 0 or more")

    @classmethod
    def of(cls, policy_parameters: float, reward_parameters: float | None = None) -> TokenPrice:
        """Return the price from numbers of weights: FLOPs = 2 * parameters * tokens (Kaplan et al., arXiv 2001.08361).

        0 parameters: the size is unknown. `reward_parameters` None means that no reward model reads the steps.
        """
        reads = float(reward_parameters is not None)
        return cls(
            policy_flops=2.0 * policy_parameters,
            reward_flops=2.0 * (reward_parameters or 0.0),
            reward_tokens_per_generated=reads,
            reward_tokens_per_node=reads,
        )

    @property
    def reads(self) -> bool:
        """True if the reward model is expected to evaluate tokens."""
        return self.reward_tokens_per_generated > 0

    def rates(self, name: str) -> Rates:
        """Return the cost of single tokens in the unit of the limit `name`."""
        match name:
            case "generated_tokens":
                return Rates(1.0, 0.0, 0.0)
            case "total_tokens":
                return Rates(1.0, 1.0, 1.0)
            case "flops":
                return Rates(self.policy_flops, self.policy_flops, self.reward_flops)
            case "cost":
                return Rates(self.generated_cost, self.input_cost, self.read_cost)
            case _:
                return Rates(0.0, 0.0, 0.0)

    def step(self, name: str) -> tuple[float, float]:
        """Return the price of a step in the unit of the limit `name`: for each generated token, and once."""
        rates = self.rates(name)
        each = rates.generated + rates.read * self.reward_tokens_per_generated
        return each, rates.read * self.reward_tokens_per_node


def _amount(value: float) -> str:
    """Return a number for people: whole numbers in full, others with at most four digits."""
    return str(int(value)) if value == int(value) and abs(value) < 1e7 else f"{value:.4g}"
