"""Filters top-k, top-p and min-p on a row of logits, without a sort or a softmax over the whole vocabulary."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ramify.sampling_params import TokenSampling

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_BLOCK = 512
_HEAVY = 1024
"""Number of equal tokens that top-p may reject together and that are still looked at one by one at first."""


def filters(setting: TokenSampling, size: int) -> bool:
    """Tell whether a setting rejects any token of a vocabulary of `size`."""
    return 0 < setting.top_k < size or setting.top_p < 1.0 or setting.min_p > 0.0


def kept(row: Floats, weights: Floats, total: float, setting: TokenSampling) -> Ints:
    """Return the ids that a setting's filters leave, ascending; the most likely one is always among them.

    `weights` are exp(row - its maximum) and `total` is their sum. Top-k comes first, with all that equal the last of
    them; then top-p of the rest, until the probability of those before reaches it; min-p last.
    """
    ids, whole = _candidates(row, weights, total, setting)
    if setting.top_p < 1.0:
        ids = _nucleus(ids, weights, whole, setting.top_p)
    if setting.min_p > 0.0:
        ids = ids[row[ids] >= _floor(row, setting.min_p)]
    return ids


def _candidates(row: Floats, weights: Floats, total: float, setting: TokenSampling) -> tuple[Ints, float]:
    """Return ids among which are all that can be kept, exact if top-k is set, and the weight that top-p refers to."""
    if 0 < setting.top_k < len(row):
        ids = _top(row, setting.top_k)
        return ids, float(weights[ids].sum(dtype=np.float64))
    if setting.top_p < 1.0:
        heavy = np.flatnonzero(weights >= min(total * (1.0 - setting.top_p) / _HEAVY, 1.0))
        # The margin is for rounding: if these reach top_p, each lighter token comes after it.
        if weights[heavy].sum(dtype=np.float64) >= setting.top_p * total * (1.0 + 1e-9):
            return heavy, total
        # All tokens lighter than this weigh less than 1 - top_p together, so the nucleus ends before the first of them.
        bound = 0.5 * total * (1.0 - setting.top_p) / len(row)
        return np.flatnonzero(weights >= min(bound, 1.0)), total
    return np.flatnonzero(row >= _floor(row, setting.min_p)), total


def _top(row: Floats, count: int) -> Ints:
    blocks = len(row) // _BLOCK
    ids = np.arange(len(row))
    if count <= blocks:
        # As many tokens as that reach the count-th highest of the blocks' maxima, so the count-th highest does too.
        peaks = row[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
        ids = np.flatnonzero(row >= np.partition(peaks, blocks - count)[blocks - count])
    values = row[ids]
    least = np.partition(values, len(values) - count)[len(values) - count]
    return ids[values >= least]


def _nucleus(ids: Ints, weights: Floats, whole: float, top_p: float) -> Ints:
    order = np.argsort(-weights[ids], kind="stable")
    ranked = weights[ids[order]].astype(np.float64)
    before = (ranked.cumsum() - ranked) / whole
    wanted = before < top_p
    wanted[0] = True
    return np.sort(ids[order[wanted]])


def _floor(row: Floats, min_p: float) -> np.float32:
    return np.float32(row.max() + np.float32(math.log(min_p)))
