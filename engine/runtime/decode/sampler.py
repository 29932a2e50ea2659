"""Draws the next tokens of many strands at a time, and tells which branch and which have come to their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..messages import FinishWord
from .draws import Sampler, uniforms
from .shared_sequences import Lane, Strand

NUMBERS_AHEAD = 16
"""Numbers that a lane's stream is asked for at once: one call of numpy costs as much as drawing a token."""


class Words(Protocol):
    """The part of a vocabulary that drawing needs."""

    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        """Bytes of a token."""
        ...

    def is_end(self, id: int) -> bool:
        """Whether a token ends the text."""
        ...


@dataclass(slots=True)
class Drawn:
    """What came of a draw.

    `branches` are new strands beside those that they left. `ended` are strands that ended, with their last token or
    before it. `broken` are those whose logits are no numbers.
    """

    branches: list[tuple[Strand, Strand]] = field(default_factory=list[tuple[Strand, Strand]])
    ended: list[tuple[Strand, FinishWord]] = field(default_factory=list[tuple[Strand, FinishWord]])
    broken: list[Strand] = field(default_factory=list[Strand])


class Drawing:
    """Draws for lanes of one model. `muted` are ids that are never drawn; paths end at `longest_path` tokens."""

    def __init__(self, words: Words, vocabulary_size: int, *, muted: Sequence[int], longest_path: int) -> None:
        self._words = words
        self._sampler = Sampler(vocabulary_size)
        self._muted = list(muted)
        self._longest_path = longest_path
        # None for tokens that end the text.
        self._pieces: dict[int, bytes | None] = {}

    def draw(self, strands: Sequence[Strand], rows: npt.NDArray[np.float32]) -> Drawn:
        """Give each lane a token drawn from its strand's row [strands, vocabulary]."""
        if self._muted:
            rows[:, self._muted] = -np.inf
        numbers = np.array(_numbers(strands))
        counts = None if len(numbers) == len(strands) else [len(strand.lanes) for strand in strands]
        drawn, logprobs = self._sampler.draw(rows, [strand.sampling for strand in strands], numbers, counts)
        pairs = list(zip(drawn.tolist(), logprobs.tolist(), strict=True))
        found = Drawn()
        start = 0
        for strand in strands:
            end = start + len(strand.lanes)
            if pairs[start][0] < 0:
                found.broken.append(strand)
            elif end == start + 1:
                self._accept(strand, *pairs[start], found)
            else:
                self._share(strand, pairs[start:end], found)
            start = end
        if 0 in [strand.group.left for strand in strands]:
            self._end_exhausted([*strands, *(branch for _, branch in found.branches)], found)
        return found

    def _share(self, strand: Strand, pairs: list[tuple[int, float]], found: Drawn) -> None:
        """Let lanes that drew another token than the first one branch off."""
        drawers: dict[tuple[int, float], list[Lane]] = {}
        for lane, pair in zip(strand.lanes, pairs, strict=True):
            drawers.setdefault(pair, []).append(lane)
        (first, _), *others = drawers.items()
        branches = [(strand.branch(lanes), pair) for pair, lanes in others]
        found.branches += [(strand, branch) for branch, _ in branches]
        for each, pair in [(strand, first), *branches]:
            self._accept(each, *pair, found)

    def _accept(self, strand: Strand, token: int, logprob: float, found: Drawn) -> None:
        """Add a token to a strand, as far as its lanes have an allowance."""
        group = strand.group
        if group.left is not None:
            if group.left <= 0:
                found.ended.append((strand, "budget"))
                return
            if group.left < len(strand.lanes):
                found.ended.append((strand.branch(strand.lanes[group.left :]), "budget"))
            group.left -= len(strand.lanes)
        strand.draw(token, logprob)
        reason = self._end_of(strand, token)
        if reason is not None:
            found.ended.append((strand, reason))

    def _end_of(self, strand: Strand, token: int) -> FinishWord | None:
        """Return why a strand ends with its last token, if it does."""
        try:
            piece = self._pieces[token]
        except KeyError:
            piece = None if self._words.is_end(token) else self._words.piece(token, special=False)
            self._pieces[token] = piece
        if piece is None:
            return "eos"
        if strand.text.add(piece):
            return "step"
        if len(strand.tokens) >= strand.max_tokens:
            return "length"
        return "context" if len(strand.target) >= self._longest_path else None

    @staticmethod
    def _end_exhausted(strands: Sequence[Strand], found: Drawn) -> None:
        """End the strands of exhausted allowances: nothing that one more decode gives could be used."""
        over = {id(strand) for strand, _ in found.ended}
        for strand in strands:
            if strand.group.left == 0 and id(strand) not in over:
                found.ended.append((strand, "budget"))


def _numbers(strands: Sequence[Strand]) -> list[float]:
    """Return the next number of each lane's stream."""
    dry = [(lane, len(strand.tokens)) for strand in strands for lane in strand.lanes if not lane.numbers]
    if dry:
        draws = [drawn + ahead for _, drawn in dry for ahead in range(NUMBERS_AHEAD)]
        seeds = [lane.seed for lane, _ in dry for _ in range(NUMBERS_AHEAD)]
        ahead = uniforms(seeds, draws).reshape(len(dry), NUMBERS_AHEAD)[:, ::-1].tolist()
        for (lane, _), numbers in zip(dry, ahead, strict=True):
            lane.numbers = numbers
    return [lane.numbers.pop() for strand in strands for lane in strand.lanes]
