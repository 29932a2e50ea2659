"""Drawing tokens from a block of logits, each lane with its own reproducible stream of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ramify.engine.runtime.filters import filters, kept
from ramify.engine.runtime.messages import SamplingParams

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PLAIN = SamplingParams()
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


class Sampler:
    """Draws tokens from rows of logits of a vocabulary of `size`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._blocks = -(-size // _BLOCK)
        self._scratch = np.empty((0, 0), dtype=np.float32)

    def draw(self, logits: Floats, params: Sequence[SamplingParams], numbers: Doubles) -> tuple[Ints, Doubles]:
        """Return a token for each row of `logits` [lanes, vocabulary] and its log-probability at temperature 1.

        `numbers` in [0, 1) decide the draws by inversion of the cumulative distribution. A row with a NaN or without a
        finite logit gives token -1.
        """
        with np.errstate(invalid="ignore"):
            peak = logits.max(axis=1, keepdims=True)
            weights = self._weights(logits, peak)
            first = params[0]
            if first == PLAIN and all(each is first for each in params):
                tokens, totals = self._invert(weights, numbers)
            else:
                tokens, totals = self._by_setting(logits, peak, weights, params, numbers)
            chosen = logits[np.arange(len(logits)), tokens].astype(np.float64)
            logprobs = chosen - peak[:, 0] - np.log(totals)
        finite = np.isfinite(peak[:, 0])
        if not finite.all():
            tokens[~finite] = -1
        return tokens, logprobs

    def _weights(self, logits: Floats, peak: Floats) -> Floats:
        """Return exp(logits - peak); for a long vocabulary in whole blocks, with zeros at the end."""
        if self._size <= _SMALL:
            return np.exp(logits - peak)
        if len(self._scratch) < len(logits):
            # Kept, because fresh memory of this size costs more than the arithmetic on it.
            self._scratch = np.zeros((len(logits), self._blocks * _BLOCK), dtype=np.float32)
        weights = self._scratch[: len(logits)]
        inside = weights[:, : self._size]
        np.subtract(logits, peak, out=inside)
        np.exp(inside, out=inside)
        return weights

    def _invert(self, weights: Floats, numbers: Doubles) -> tuple[Ints, Doubles]:
        return _invert(weights, numbers) if self._size <= _SMALL else _invert_blocks(weights, numbers)

    def _by_setting(
        self, logits: Floats, peak: Floats, weights: Floats, params: Sequence[SamplingParams], numbers: Doubles
    ) -> tuple[Ints, Doubles]:
        totals = np.asarray(weights.sum(axis=1, dtype=np.float64))
        tokens = np.empty(len(logits), dtype=np.int64)
        rows_of: dict[SamplingParams, list[int]] = {}
        for row, setting in enumerate(params):
            rows_of.setdefault(setting, []).append(row)
        for setting, rows in rows_of.items():
            if setting.temperature == 0.0:
                tokens[rows] = logits[rows].argmax(axis=1)
            elif filters(setting, self._size):
                for row in rows:
                    tokens[row] = _draw_kept(
                        logits[row], weights[row, : self._size], totals[row], setting, numbers[row]
                    )
            else:
                heated = np.exp((logits[rows] - peak[rows]) / np.float32(setting.temperature))
                tokens[rows] = _invert(heated, numbers[rows])[0]
        return tokens, totals


def _draw_kept(row: Floats, weights: Floats, total: float, setting: SamplingParams, number: float) -> int:
    if not math.isfinite(total):
        return 0
    ids = kept(row, weights, total, setting)
    values = row[ids]
    heated = np.exp((values - values.max()) / np.float32(setting.temperature))
    return int(ids[_invert(heated[None, :], np.asarray([number]))[0][0]])


def _invert(weights: Floats, numbers: Doubles) -> tuple[Ints, Doubles]:
    """Return for each row the index at which its cumulative weight passes `numbers` times its total, and the total."""
    cumulative = weights.cumsum(axis=1, dtype=np.float64)
    total = cumulative[:, -1]
    found = (cumulative <= _targets(numbers, total)[:, None]).sum(axis=1)
    return np.minimum(found, weights.shape[1] - 1), total


def _invert_blocks(weights: Floats, numbers: Doubles) -> tuple[Ints, Doubles]:
    """Do the same with sums of blocks first, so that only one block is summed up element by element."""
    every = np.arange(len(weights))
    blocks = weights.reshape(len(weights), -1, _BLOCK)
    ends = blocks.sum(axis=2).cumsum(axis=1, dtype=np.float64)
    total = ends[:, -1]
    targets = _targets(numbers, total)
    block = np.minimum((ends <= targets[:, None]).sum(axis=1), blocks.shape[1] - 1)
    inside = blocks[every, block].cumsum(axis=1, dtype=np.float64)
    before = np.where(block > 0, ends[every, block - 1], 0.0)
    place = (inside <= (targets - before)[:, None]).sum(axis=1)
    for row in np.flatnonzero(place == _BLOCK):
        # Rounding: the block's own partial sums fall short of its sum.
        positive = np.flatnonzero(blocks[row, block[row]])
        place[row] = positive[-1] if len(positive) else 0
    return block * _BLOCK + place, total


def _targets(numbers: Doubles, total: Doubles) -> Doubles:
    # The product may round up to the total, which no partial sum exceeds.
    return np.minimum(numbers * total, np.nextafter(total, 0.0))
