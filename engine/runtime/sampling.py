"""Drawing tokens from a block of logits, each lane with its own reproducible stream of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ramify.engine.runtime.messages import SamplingParams

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PLAIN = SamplingParams()
_BLOCK = 512
_SMALL = 4096
"""Vocabularies up to this size are summed up whole."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniforms(seeds: Sequence[int], draws: Sequence[int]) -> Doubles:
    """Return one number in [0, 1) for each (seed, number of the draw), by SplitMix64 (Steele et al., OOPSLA 2014).

    A number depends on its own seed and draw alone, so a lane draws the same whatever is decoded beside it.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(seeds, dtype=np.uint64) + (np.asarray(draws, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def sample(logits: Floats, params: Sequence[SamplingParams], numbers: Doubles) -> tuple[Ints, Doubles]:
    """Return a token for each row of `logits` [lanes, vocabulary] and its log-probability at temperature 1.

    `numbers` in [0, 1) decide the draws by inversion of the cumulative distribution. A row with a NaN or without a
    finite logit gives token -1.
    """
    peak = logits.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        weights = np.exp(logits - peak)
    if all(each == _PLAIN for each in set(params)):
        tokens, totals = _invert_rows(weights, numbers)
    else:
        totals = weights.sum(axis=1, dtype=np.float64)
        tokens = np.empty(len(logits), dtype=np.int64)
        for setting in dict.fromkeys(params):
            rows = [row for row, each in enumerate(params) if each == setting]
            block = logits if len(rows) == len(logits) else logits[rows]
            tokens[rows] = _draw(block, setting, numbers[rows])
    chosen = logits[np.arange(len(logits)), tokens].astype(np.float64)
    with np.errstate(invalid="ignore"):
        logprobs = chosen - peak[:, 0] - np.log(totals)
    tokens[~np.isfinite(peak[:, 0])] = -1
    return tokens, logprobs


def _draw(logits: Floats, setting: SamplingParams, numbers: Doubles) -> Ints:
    if setting.temperature == 0.0:
        return logits.argmax(axis=1)
    kept = _filtered(logits, setting)
    peak = kept.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        weights = np.exp((kept - peak) / np.float32(setting.temperature))
    return _invert_rows(weights, numbers)[0]


def _invert_rows(weights: Floats, numbers: Doubles) -> tuple[Ints, Doubles]:
    """Return for each row the index at which its cumulative weight passes `numbers` times its total, and the total."""
    if weights.shape[1] > _SMALL:
        found = [_invert(row, number) for row, number in zip(weights, numbers, strict=True)]
        return np.asarray([index for index, _ in found], dtype=np.int64), np.asarray([total for _, total in found])
    cumulative = weights.cumsum(axis=1, dtype=np.float64)
    total = cumulative[:, -1]
    # The product may round up to the total, which no partial sum exceeds.
    targets = np.minimum(numbers * total, np.nextafter(total, 0.0))
    return np.minimum((cumulative <= targets[:, None]).sum(axis=1), weights.shape[1] - 1), total


def _invert(weights: Floats, number: float) -> tuple[int, float]:
    """Return the index for one row, and the row's total.

    Sums of blocks come first, so that only one block is summed up element by element: vocabularies are long.
    """
    starts = np.arange(0, len(weights), _BLOCK)
    ends: Doubles = np.add.reduceat(weights, starts, dtype=np.float64).cumsum()
    total = float(ends[-1])
    target = min(number * total, math.nextafter(total, 0.0))
    block = min(int(np.searchsorted(ends, target, "right")), len(ends) - 1)
    first = block * _BLOCK
    inside = weights[first : first + _BLOCK].astype(np.float64)
    before = float(ends[block - 1]) if block else 0.0
    place = int(np.searchsorted(inside.cumsum(), target - before, "right"))
    if place == len(inside):
        # Rounding: the block's own partial sums fall short of its sum.
        positive = np.flatnonzero(inside)
        place = int(positive[-1]) if len(positive) else 0
    return first + place, total


def _filtered(logits: Floats, setting: SamplingParams) -> Floats:
    """Return the logits with what top-k, top-p and min-p reject set to minus infinity; the most likely always stays."""
    size = logits.shape[1]
    if 0 < setting.top_k < size:
        threshold = np.partition(logits, size - setting.top_k, axis=1)[:, size - setting.top_k, None]
        logits = np.where(logits >= threshold, logits, -np.inf)
    if setting.top_p < 1.0:
        logits = _nucleus(logits, setting.top_p)
    if setting.min_p > 0.0:
        floor = logits.max(axis=1, keepdims=True) + np.float32(np.log(setting.min_p))
        logits = np.where(logits >= floor, logits, -np.inf)
    return logits


def _nucleus(logits: Floats, top_p: float) -> Floats:
    order = np.argsort(-logits, axis=1, kind="stable")
    ranked = np.take_along_axis(logits, order, axis=1)
    with np.errstate(invalid="ignore"):
        weights = np.exp(ranked - ranked[:, :1])
    before = (weights.cumsum(axis=1) - weights) / weights.sum(axis=1, keepdims=True)
    wanted = before < top_p
    wanted[:, 0] = True
    ranked = np.where(wanted, ranked, -np.inf)
    kept = np.empty_like(ranked)
    np.put_along_axis(kept, order, ranked, axis=1)
    return kept
