"""Draws the next token of many lanes at a time and tells which of them have come to their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ramify.engine.runtime.jobs import Lane
from ramify.engine.runtime.messages import FinishWord
from ramify.engine.runtime.sampling import Sampler, uniforms

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
    """Lanes that ended with their last token, and those whose logits are no numbers."""

    ended: list[tuple[Lane, FinishWord]] = field(default_factory=list[tuple[Lane, FinishWord]])
    broken: list[Lane] = field(default_factory=list[Lane])


class Drawing:
    """Draws for lanes of one model. `muted` are ids that are never drawn; paths end at `longest_path` tokens."""

    def __init__(self, words: Words, vocabulary_size: int, *, muted: Sequence[int], longest_path: int) -> None:
        self._words = words
        self._sampler = Sampler(vocabulary_size)
        self._muted = list(muted)
        self._longest_path = longest_path
        self._pieces: dict[int, bytes] = {}

    def draw(self, lanes: Sequence[Lane], rows: npt.NDArray[np.float32]) -> Drawn:
        """Give each lane a token drawn from its row [lanes, vocabulary]."""
        if self._muted:
            rows[:, self._muted] = -np.inf
        numbers = np.array(_numbers(lanes))
        tokens, logprobs = self._sampler.draw(rows, [lane.sampling for lane in lanes], numbers)
        found = Drawn()
        for lane, token, logprob in zip(lanes, tokens.tolist(), logprobs.tolist(), strict=True):
            if token < 0:
                found.broken.append(lane)
                continue
            reason = self._accept(lane, token, logprob)
            if reason is not None:
                found.ended.append((lane, reason))
        # Nothing that one more decode gives could be used by lanes whose allowance this token has exhausted.
        over = [lane for lane in lanes if lane.group.left == 0]
        if over:
            ended = {id(lane) for lane, _ in found.ended}
            for lane in over:
                if id(lane) not in ended:
                    found.ended.append((lane, "budget"))
        return found

    def _accept(self, lane: Lane, token: int, logprob: float) -> FinishWord | None:
        """Add a token to a lane; return why the lane ends, if it does."""
        group = lane.group
        if group.left is not None:
            if group.left <= 0:
                return "budget"
            group.left -= 1
        lane.draw(token, logprob)
        if self._words.is_end(token):
            return "eos"
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._words.piece(token, special=False)
        if lane.text.add(piece):
            return "step"
        if len(lane.tokens) >= lane.wanted.max_tokens:
            return "length"
        return "context" if len(lane.target) >= self._longest_path else None


def _numbers(lanes: Sequence[Lane]) -> list[float]:
    """Return the next number of each lane's stream."""
    dry = [lane for lane in lanes if not lane.numbers]
    if dry:
        draws = [len(lane.tokens) + ahead for lane in dry for ahead in range(NUMBERS_AHEAD)]
        seeds = [lane.seed for lane in dry for _ in range(NUMBERS_AHEAD)]
        ahead = uniforms(seeds, draws).reshape(len(dry), NUMBERS_AHEAD)[:, ::-1].tolist()
        for lane, numbers in zip(dry, ahead, strict=True):
            lane.numbers = numbers
    return [lane.numbers.pop() for lane in lanes]
