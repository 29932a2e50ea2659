"""Row sampler: draws tokens from rows of logits by reproducible numbers, several from one row if they share it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ramify.sampling_params import TokenSampling

from .filters import filters, kept

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PLAIN = TokenSampling()
_COLDEST, _HOTTEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_BLOCK = 512
_SMALL = 4096
"""Vocabularies up to this size are summed up whole."""
_LOGITS_A_THREAD = 1 << 18
"""Fewer logits are not worth the hand-over to another thread."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def uniforms(seeds: Sequence[int], draws: Sequence[int]) -> Doubles:
    """Return one number in [0, 1) for each (seed, number of the draw), by SplitMix64 (Steele et al., OOPSLA 2014).

    A number depends on its own seed and draw alone, so a sequence draws the same tokens with any others beside it.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(seeds, dtype=np.uint64) + (np.asarray(draws, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


class RowSpans(NamedTuple):
    """Assignment of draws to rows: row r has draws `starts[r]` up to `starts[r + 1]`; `rows` is each draw's row."""

    starts: Sequence[int]
    rows: Ints

    @classmethod
    def of(cls, counts: Sequence[int]) -> RowSpans:
        """Return the spans of `counts` draws for each row, in the order of the rows."""
        return cls([0, *accumulate(counts)], np.repeat(np.arange(len(counts)), counts))

    @classmethod
    def single(cls, rows: int) -> RowSpans:
        """Return the spans of one draw for each row."""
        return cls(range(rows + 1), np.arange(rows))


class RowSampler:
    """Draws tokens from rows of logits of a vocabulary of `size`, many rows by several `threads`.

    A row's tokens do not depend on the rows beside it or on the threads.
    """

    def __init__(self, size: int, threads: int = 1) -> None:
        self._size = size
        self._others = [RowSampler(size) for _ in range(threads - 1)]
        self._pool = ThreadPoolExecutor(threads - 1, "sampler") if threads > 1 else None
        self._blocks = -(-size // _BLOCK)
        # All are kept, because fresh memory of this size costs more than the arithmetic on it.
        self._scratch = np.empty((0, 0), dtype=np.float32)
        self._heated = np.empty((0, 0), dtype=np.float32)
        self._sums = np.empty((0, 0), dtype=np.float64)

    def draw(
        self, logits: Floats, params: Sequence[TokenSampling], numbers: Doubles, counts: Sequence[int] | None = None
    ) -> tuple[Ints, Doubles]:
        """Return a token for each draw and its log-probability at temperature 1.

        `logits` are [rows, vocabulary], each with its `params`; `counts` are the draws from each row, None means one
        each. `numbers` in [0, 1), one a draw, decide the tokens by inversion of the cumulative distribution. A row
        with a NaN or without a finite logit gives token -1.
        """
        if len(logits) == 1 and self._size <= _SMALL and params[0] == PLAIN:
            return self._draw_alone(logits[0], numbers)
        if self._pool is not None:
            parts = min(len(logits), logits.size // _LOGITS_A_THREAD, len(self._others) + 1)
            if parts > 1:
                return self._draw_in_parts(self._pool, parts, logits, params, numbers, counts)
        return self._draw_here(logits, params, numbers, counts)

    def _draw_here(
        self, logits: Floats, params: Sequence[TokenSampling], numbers: Doubles, counts: Sequence[int] | None
    ) -> tuple[Ints, Doubles]:
        spans = RowSpans.single(len(logits)) if counts is None else RowSpans.of(counts)
        with np.errstate(invalid="ignore"):
            peak = logits.max(axis=1, keepdims=True)
            weights = self._weights(logits, peak)
            first = params[0]
            if first == PLAIN and all(each is first for each in params):
                tokens, totals = self._invert(weights, numbers, spans)
            else:
                tokens, totals = self._by_setting(logits, peak, weights, params, numbers, spans)
            chosen = logits[spans.rows, tokens].astype(np.float64)
            logprobs = chosen - (peak[:, 0] + np.log(totals))[spans.rows]
        finite = np.isfinite(peak[:, 0])
        if not finite.all():
            tokens[~finite[spans.rows]] = -1
        return tokens, logprobs

    def _draw_in_parts(
        self,
        pool: ThreadPoolExecutor,
        parts: int,
        logits: Floats,
        params: Sequence[TokenSampling],
        numbers: Doubles,
        counts: Sequence[int] | None,
    ) -> tuple[Ints, Doubles]:
        """Draw from equal parts of the rows side by side; numpy lets other threads run while it computes."""
        ends = [len(logits) * part // parts for part in range(parts + 1)]
        starts = range(len(logits) + 1) if counts is None else [0, *accumulate(counts)]
        draws = [starts[end] for end in ends]

        def part(sampler: RowSampler, place: int) -> tuple[Ints, Doubles]:
            rows, theirs = slice(*ends[place : place + 2]), slice(*draws[place : place + 2])
            few = None if counts is None else counts[rows]
            return sampler._draw_here(logits[rows], params[rows], numbers[theirs], few)

        running = [pool.submit(part, other, place) for place, other in enumerate(self._others[: parts - 1], start=1)]
        found = [part(self, 0), *(each.result() for each in running)]
        tokens, logprobs = zip(*found, strict=True)
        return np.concatenate(tokens), np.concatenate(logprobs)

    def _draw_alone(self, row: Floats, numbers: Doubles) -> tuple[Ints, Doubles]:
        """Draw from one row in fewer calls, of which each shows in the step of a tiny model."""
        peak = row.max()
        if not math.isfinite(peak):
            return np.full(len(numbers), -1), np.zeros(len(numbers))
        tokens, total = _invert_row(np.exp(row - peak), numbers)
        return tokens, row[tokens].astype(np.float64) - float(peak) - math.log(total)

    def _weights(self, logits: Floats, peak: Floats) -> Floats:
        """Return exp(logits - peak); for a long vocabulary in whole blocks, with zeros at the end."""
        if self._size <= _SMALL:
            return np.exp(logits - peak)
        if len(self._scratch) < len(logits):
            self._scratch = np.zeros((len(logits), self._blocks * _BLOCK), dtype=np.float32)
        weights = self._scratch[: len(logits)]
        inside = weights[:, : self._size]
        np.subtract(logits, peak, out=inside)
        np.exp(inside, out=inside)
        return weights

    def _invert(self, weights: Floats, numbers: Doubles, spans: RowSpans) -> tuple[Ints, Doubles]:
        if self._size > _SMALL:
            return _invert_blocks(weights, numbers, spans)
        if len(self._sums) < len(weights):
            self._sums = np.empty((len(weights), self._size), dtype=np.float64)
        return _invert(weights, numbers, spans, self._sums[: len(weights)])

    def _by_setting(
        self,
        logits: Floats,
        peak: Floats,
        weights: Floats,
        params: Sequence[TokenSampling],
        numbers: Doubles,
        spans: RowSpans,
    ) -> tuple[Ints, Doubles]:
        totals = self._totals(weights)
        tokens = np.empty(len(numbers), dtype=np.int64)
        rows_of: dict[TokenSampling, list[int]] = {}
        for row, setting in enumerate(params):
            rows_of.setdefault(setting, []).append(row)
        draws_of = [slice(*ends) for ends in zip(spans.starts, spans.starts[1:], strict=False)]
        for setting, rows in rows_of.items():
            if setting.temperature == 0.0:
                for row, best in zip(rows, logits[rows].argmax(axis=1).tolist(), strict=True):
                    tokens[draws_of[row]] = best
            elif filters(setting, self._size):
                for row in rows:
                    tokens[draws_of[row]] = _draw_kept(
                        logits[row], weights[row, : self._size], totals[row], setting, numbers[draws_of[row]]
                    )
            else:
                theirs = np.concatenate([np.arange(draws_of[row].start, draws_of[row].stop) for row in rows])
                among = RowSpans.of([draws_of[row].stop - draws_of[row].start for row in rows])
                tokens[theirs] = self._draw_heated(logits, peak, rows, setting.temperature, numbers[theirs], among)
        return tokens, totals

    def _totals(self, weights: Floats) -> Doubles:
        if self._size <= _SMALL:
            return np.asarray(weights.sum(axis=1, dtype=np.float64))
        return np.asarray(weights.reshape(len(weights), -1, _BLOCK).sum(axis=2).sum(axis=1, dtype=np.float64))

    def _draw_heated(
        self, logits: Floats, peak: Floats, rows: Sequence[int], temperature: float, numbers: Doubles, spans: RowSpans
    ) -> Ints:
        """Draw from some of the rows at a temperature above 0; `numbers` and `spans` are of these rows alone."""
        if self._size <= _SMALL:
            return _invert(_heated(logits[rows] - peak[rows], temperature), numbers, spans)[0]
        if len(self._heated) < len(rows):
            self._heated = np.zeros((len(rows), self._blocks * _BLOCK), dtype=np.float32)
        weights = self._heated[: len(rows)]
        for row, heated in zip(rows, weights[:, : self._size], strict=True):
            np.subtract(logits[row], peak[row], out=heated)
            _heat(heated, temperature)
        return _invert_blocks(weights, numbers, spans)[0]


def _draw_kept(row: Floats, weights: Floats, total: float, setting: TokenSampling, numbers: Doubles) -> Ints:
    if not math.isfinite(total):
        return np.zeros(len(numbers), dtype=np.int64)
    ids = kept(row, weights, total, setting)
    values = row[ids]
    heated = _heated(values - values.max(), setting.temperature)
    return ids[_invert_row(heated, numbers)[0]]


def _heated(below_peak: Floats, temperature: float) -> Floats:
    """Return weights at a temperature above 0 from logits of which the peak was taken, which are overwritten."""
    _heat(below_peak, temperature)
    return below_peak


def _heat(below_peak: Floats, temperature: float) -> None:
    """Do so in place; a temperature beyond the range of 32-bit numbers counts as its end."""
    with np.errstate(over="ignore"):
        np.divide(below_peak, np.float32(min(max(temperature, _COLDEST), _HOTTEST)), out=below_peak)
        np.exp(below_peak, out=below_peak)


def _invert_row(weights: Floats, numbers: Doubles) -> tuple[Ints, float]:
    """Do the same as `_invert` for one row, and return the row's total."""
    sums = weights.cumsum(dtype=np.float64)
    found = sums.searchsorted(_targets(numbers, sums[-1]), "right")
    return np.minimum(found, len(weights) - 1), float(sums[-1])


def _invert(weights: Floats, numbers: Doubles, spans: RowSpans, sums: Doubles | None = None) -> tuple[Ints, Doubles]:
    """Return for each draw the index at which its row's cumulative weight passes its number times the row's total.

    The totals of the rows come second. `sums` is memory for the cumulative weights.
    """
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64, out=sums)
    total = cumulative[:, -1]
    targets = _targets(numbers, total[spans.rows])
    ends = zip(cumulative, spans.starts, spans.starts[1:], strict=False)
    found = np.concatenate([row.searchsorted(targets[start:end], "right") for row, start, end in ends])
    return np.minimum(found, weights.shape[1] - 1), total


def _invert_blocks(weights: Floats, numbers: Doubles, spans: RowSpans) -> tuple[Ints, Doubles]:
    """Do the same with sums of blocks first, so that only one block a draw is summed up element by element."""
    blocks = weights.reshape(len(weights), -1, _BLOCK)
    ends = blocks.sum(axis=2).cumsum(axis=1, dtype=np.float64)
    total = ends[:, -1]
    targets = _targets(numbers, total[spans.rows])
    block = np.minimum((ends[spans.rows] <= targets[:, None]).sum(axis=1), blocks.shape[1] - 1)
    inside = blocks[spans.rows, block].cumsum(axis=1, dtype=np.float64)
    before = np.where(block > 0, ends[spans.rows, block - 1], 0.0)
    place = (inside <= (targets - before)[:, None]).sum(axis=1)
    for draw in np.flatnonzero(place == _BLOCK):
        # Rounding: the block's own partial sums fall short of its sum.
        positive = np.flatnonzero(blocks[spans.rows[draw], block[draw]])
        place[draw] = positive[-1] if len(positive) else 0
    return block * _BLOCK + place, total


def _targets(numbers: Doubles, total: Doubles | np.float64) -> Doubles:
    # The product may round up to the total, which no partial sum exceeds.
    return np.minimum(numbers * total, np.nextafter(total, 0.0))
