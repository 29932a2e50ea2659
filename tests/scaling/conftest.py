"""Boards made of figures that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from ramify.scaling.cells import Cell, Label, Measurements
from ramify.scaling.config import ScalingConfig

COUNT = 400


@pytest.fixture
def make_cell() -> Callable[..., Cell]:
    def make(
        strategy: str,
        width: int,
        accuracy: float,
        *,
        policy: str = "small",
        parameters: int = 100,
        reward: str | None = None,
        reward_flops: float = 0.0,
        flops: float | None = None,
        tokens: float | None = None,
        seconds: float = float("nan"),
        sigma: float = 0.0,
        luck: int = 0,
    ) -> Cell:
        """A cell whose right problems are the first so many of one order; `luck` shuffles that order."""
        order = np.random.default_rng(luck).permutation(COUNT)
        right = np.zeros(COUNT)
        right[order[: round(accuracy * COUNT)]] = 1.0
        cost = 2.0 * parameters * 100 * width if flops is None else flops
        return Cell(
            label=Label(policy=policy, reward=reward, strategy=strategy, width=width, sigma=sigma),
            parameters=parameters,
            seeds=1,
            right=right,
            first=right,
            tokens=np.full(COUNT, 100.0 * width if tokens is None else tokens),
            policy_flops=np.full(COUNT, cost),
            reward_flops=np.full(COUNT, reward_flops),
            seconds=np.full(COUNT, seconds),
        )

    return make


@pytest.fixture
def make_measurements() -> Callable[[Sequence[Cell]], Measurements]:
    def make(cells: Sequence[Cell]) -> Measurements:
        policies = tuple(dict.fromkeys(cell.label.policy for cell in cells))
        rewards = tuple(dict.fromkeys(cell.label.reward for cell in cells if cell.label.reward))
        return Measurements(
            config=ScalingConfig(policies=policies, rewards=rewards, seeds=1, problems=COUNT),
            problems=tuple(map(str, range(COUNT))),
            cells=tuple(cells),
            samples={},
            quantized={},
            left_out=(),
        )

    return make
