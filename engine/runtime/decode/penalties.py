"""Penalties on tokens that a path has drawn already, put on the rows of many sequences at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ramify.sampling_params import TokenSampling

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class PenalisedRows:
    """Rows of logits with penalties, and the values that restore the rows.

    `rows` are the numbers of the rows, once each; `places` are pairs of arrays (row, token) and `before` the logits
    that were there.
    """

    rows: list[int]
    places: tuple[Ints, Ints]
    before: Floats

    def lift(self, logits: Floats) -> None:
        """Put the logits back as they were."""
        logits[self.places] = self.before


def penalise(
    logits: Floats, settings: Sequence[TokenSampling], counts: Sequence[Counter[int] | None]
) -> PenalisedRows | None:
    """Put the penalties on logits [rows, vocabulary] in place, as llama.cpp's sampler of penalties does.

    `counts` has for each row how often its path has drawn each token, None for a row without penalties. A positive
    logit is divided by the repetition penalty and another one multiplied; then the frequency penalty times the count
    and the presence penalty are subtracted. Returns None if no row changes.
    """
    rows = [row for row, count in enumerate(counts) if count]
    if not rows:
        return None
    found = [count for count in counts if count]
    sizes = [len(count) for count in found]
    tokens = np.fromiter((token for count in found for token in count), dtype=np.int64, count=sum(sizes))
    times = np.fromiter((many for count in found for many in count.values()), dtype=np.float32, count=sum(sizes))
    repeat, frequency, presence = (
        np.repeat(np.array(values, dtype=np.float32), sizes)
        for values in zip(
            *(
                (settings[row].repeat_penalty, settings[row].frequency_penalty, settings[row].presence_penalty)
                for row in rows
            ),
            strict=True,
        )
    )
    places = np.repeat(np.array(rows, dtype=np.int64), sizes), tokens
    before = logits[places]
    with np.errstate(invalid="ignore", over="ignore"):
        scaled = np.where(before <= 0, before * repeat, before / repeat)
        logits[places] = scaled - (times * frequency + presence)
    return PenalisedRows(rows, places, before)


def plain_logprobs(row: Floats, tokens: Ints) -> npt.NDArray[np.float64]:
    """Return the natural log probabilities of tokens in a row of logits at temperature 1."""
    peak = float(row.max())
    total = float(np.exp(row - np.float32(peak)).sum(dtype=np.float64))
    return row[tokens].astype(np.float64) - peak - np.log(total)
