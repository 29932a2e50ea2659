"""A budget's limits, and what has been spent of them and what is left, in the same units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from ramify.errors import BudgetError
from ramify.text import nearest

UNITS = {
    "generated_tokens": "generated tokens",
    "total_tokens": "total tokens",
    "flops": "FLOPs",
    "seconds": "s",
    "nodes": "nodes",
}
"""The limits in the order in which they are checked, and their units for people."""
_WHOLE = ("generated_tokens", "total_tokens", "nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of one run, in any mix; None is unlimited.

    `generated_tokens` counts tokens the policy generates. `total_tokens` counts every token evaluated, prompts and
    the reward model's included. `flops` counts 2 * parameters * tokens evaluated, over both models. `seconds` is
    wall-clock time. `nodes` counts steps. Raises BudgetError unless every limit is a finite number above 0, and a
    whole one where things are counted.
    """

    generated_tokens: int | None = None
    total_tokens: int | None = None
    flops: float | None = None
    seconds: float | None = None
    nodes: int | None = None

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
        """Whether no limit is set."""
        return all(getattr(self, name) is None for name in UNITS)

    def describe(self) -> str:
        """Return the limits in words, such as `4096 generated tokens, 30 s`."""
        parts = (f"{amount(getattr(self, name))} {unit}" for name, unit in UNITS.items() if getattr(self, name))
        return ", ".join(parts) or "no limit"

    def to_dict(self) -> dict[str, Any]:
        """Return the limits by name, None where unlimited."""
        return {name: getattr(self, name) for name in UNITS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Budget:
        """Restore a budget from `to_dict`; limits left out are unlimited, an unknown one raises BudgetError."""
        for name in data:
            if name not in UNITS:
                raise BudgetError(f"a budget has no limit {name!r}{nearest(name, UNITS)}")
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run has used so far, in the units of `Budget`."""

    generated_tokens: int = 0
    total_tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    nodes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the amounts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What is left of each limit, in the units of `Budget`: None where unlimited, never below 0."""

    generated_tokens: int | None
    total_tokens: int | None
    flops: float | None
    seconds: float | None
    nodes: int | None


def amount(value: float) -> str:
    """Return a number for people: whole numbers in full, others with at most four digits."""
    return str(int(value)) if value == int(value) and abs(value) < 1e7 else f"{value:.4g}"
