"""Counters of one decoder: decode calls and their tokens, and the time that calls take by their number of sequences."""

from __future__ import annotations

from dataclasses import dataclass

from ..messages import DecodeTimes
from .batch import Batch
from .shared_sequences import SharedSequence

PROMPT_CALL_TOKENS = 16
"""Least tokens of a call that shows the speed of reading; they have to be most of its tokens."""
REMEMBERED_S = 30.0
"""Seconds of one kind of call after which earlier ones count half, so that the times are those of now."""


@dataclass(slots=True)
class DecodeCounters:
    """The growing part of `Statistics`."""

    decode_calls: int = 0
    tokens: int = 0
    child_sequences: int = 0
    shared_sequences: int = 0
    decode_s: float = 0.0
    sampling_s: float = 0.0

    def count(self, batch: Batch) -> None:
        """Count a batch that has been decoded."""
        children = [len(entry.job.children) for entry in batch.entries if isinstance(entry.job, SharedSequence)]
        self.decode_calls += 1
        self.tokens += len(batch.tokens)
        self.child_sequences += sum(children)
        self.shared_sequences += len(children)


class DecodeTimer:
    """Adds up the time of decode calls. The first call does not count: it brings the weights into memory."""

    def __init__(self) -> None:
        self._first = True
        self._prompt = (0.0, 0.0)
        self._steps: dict[int, tuple[float, float]] = {}

    def count(self, batch: Batch, seconds: float) -> None:
        """Count a call, its sampling included.

        Calls with one token for each sequence are steps; those that mostly read are prompts; mixed ones and
        those with drafts do not count.
        """
        if self._first:
            self._first = False
            return
        if batch.drafts:
            return
        entries, tokens = len(batch.entries), len(batch.tokens)
        if tokens == entries:
            self._steps[entries] = _added(self._steps.get(entries, (0.0, 0.0)), 1.0, seconds)
        elif tokens >= max(PROMPT_CALL_TOKENS, 4 * entries):
            self._prompt = _added(self._prompt, float(tokens), seconds)

    def times(self) -> DecodeTimes:
        """Return the sums as they stand."""
        steps = tuple((width, calls, seconds) for width, (calls, seconds) in sorted(self._steps.items()))
        return DecodeTimes(prompt_tokens=self._prompt[0], prompt_s=self._prompt[1], steps=steps)


def _added(total: tuple[float, float], count: float, seconds: float) -> tuple[float, float]:
    share = 0.5 if total[1] >= REMEMBERED_S else 1.0
    return share * total[0] + count, share * total[1] + seconds
