"""Reward by the equations in a path's text: no model, no tokens."""

from __future__ import annotations

from collections.abc import Sequence

from .arithmetic import false_equations
from .protocol import ModelFreeSession, ScoredStep

ARITHMETIC = "arithmetic"
"""Name of the reward that checks equations."""
EXACT_ARITHMETIC = "arithmetic:exact"
"""Name of the same for tasks whose whole results are never rounded."""
FALSE_SCORE = 0.02
"""Score of a path with a false equation; low, yet not so low that no later step could make it good."""
_KEPT_CHARACTERS = 400
"""Characters kept of the step before, in which an equation that goes on in this step may have begun."""


class ArithmeticReward:
    """Scores paths by the equations in their text: `FALSE_SCORE` if one certainly does not hold, else 1.

    Nothing is said about texts without equations, so the reward is a factor for other rewards rather than a guide of
    its own. See `ramify.reward.arithmetic` for the equations read and the meaning of certain. With `exact`, a whole
    result of a division counts as not rounded: 7/2 = 3 is false.
    """

    parameters = 0

    def __init__(self, *, exact: bool = False) -> None:
        self.name = EXACT_ARITHMETIC if exact else ARITHMETIC
        self._exact = exact

    async def open(self, question: str) -> ArithmeticSession:
        """Start a session."""
        return ArithmeticSession(exact=self._exact)


class ArithmeticSession(ModelFreeSession[bool]):
    """The paths of one question."""

    def __init__(self, *, exact: bool = False) -> None:
        super().__init__()
        self._exact = exact

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score for each path, in order."""
        return [FALSE_SCORE if self._is_false(step) else 1.0 for step in steps]

    def _is_false(self, step: ScoredStep) -> bool:
        known = None if step.parent is None else self._kept.get(step.parent)
        if known is None:
            found = bool(false_equations("".join(step.path), exact=self._exact))
        else:
            # Only the line that the step begins in can hold an equation that began before.
            before = "".join(step.path[:-1])[-_KEPT_CHARACTERS:].rpartition("\n")[2]
            found = known or bool(false_equations(before + step.path[-1], exact=self._exact))
        self._kept[step.node] = found
        return found
