"""The shortcuts of top-k, top-p and min-p leave exactly what their definitions leave."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.runtime.decode.filters import filters, kept
from ramify.sampling_params import TokenSampling


def by_definition(logits: list[float], params: TokenSampling) -> set[int]:
    """Sort everything, then cut."""
    order = sorted(range(len(logits)), key=lambda index: -logits[index])
    if 0 < params.top_k < len(logits):
        least = logits[order[params.top_k - 1]]
        order = [index for index in order if logits[index] >= least]
    weights = np.exp(np.asarray([logits[index] for index in order], dtype=np.float32) - np.float32(logits[order[0]]))
    if params.top_p < 1.0:
        before = (np.cumsum(weights, dtype=np.float64) - weights) / weights.sum(dtype=np.float64)
        order = [index for place, index in enumerate(order) if place == 0 or before[place] < params.top_p]
    if params.min_p > 0.0:
        floor = np.float32(np.float32(max(logits)) + np.float32(np.log(params.min_p)))
        order = [index for index in order if np.float32(logits[index]) >= floor]
    return set(order)


@settings(max_examples=150, deadline=None)
@given(
    size=st.sampled_from([3, 40, 511, 512, 2000, 6000]),
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.01, 1.0, 4.0, 12.0]),
    ties=st.booleans(),
    params=st.builds(
        TokenSampling,
        top_k=st.sampled_from([0, 1, 2, 5, 11, 40, 3000]),
        top_p=st.sampled_from([0.05, 0.5, 0.9, 0.99, 1.0]),
        min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    ),
)
def test_what_is_kept_is_what_the_definitions_keep(
    size: int, seed: int, spread: float, ties: bool, params: TokenSampling
) -> None:
    row = (np.random.default_rng(seed).standard_normal(size) * spread).astype(np.float32)
    if ties:
        row = np.round(row)
    weights = np.exp(row - row.max())
    if not filters(params, size):
        return
    found = kept(row, weights, float(weights.sum(dtype=np.float64)), params)
    assert found.tolist() == sorted(found.tolist())
    wanted = by_definition(row.tolist(), params)
    differing = wanted ^ set(found.tolist())
    # A sum that reaches top-p within a rounding error may fall on either side.
    assert len(differing) <= (1 if params.top_p < 1.0 else 0)


@pytest.mark.parametrize("params", [TokenSampling(top_k=1), TokenSampling(top_p=0.001), TokenSampling(min_p=1.0)])
def test_the_most_likely_token_always_stays(params: TokenSampling) -> None:
    row = np.zeros(2000, dtype=np.float32)
    row[1500] = 1.0
    weights = np.exp(row - 1.0)
    assert kept(row, weights, float(weights.sum(dtype=np.float64)), params).tolist() == [1500]
