"""Counts what decoding does."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..messages import Statistics
from .batch import Batch
from .shared_sequences import Strand


@dataclass(slots=True)
class Counters:
    """Of `Statistics`, what grows."""

    decode_calls: int = 0
    tokens: int = 0
    lanes: int = 0
    strands: int = 0
    decode_s: float = 0.0
    sampling_s: float = 0.0

    def count(self, batch: Batch) -> None:
        """Take in what has been decoded."""
        lanes = [len(feed.job.lanes) for feed in batch.feeds if isinstance(feed.job, Strand)]
        self.decode_calls += 1
        self.tokens += len(batch.tokens)
        self.lanes += sum(lanes)
        self.strands += len(lanes)

    def spend(self, *, decode_s: float, sampling_s: float) -> None:
        """Take in what a decode took, and what became of its rows."""
        self.decode_s += decode_s
        self.sampling_s += sampling_s

    def statistics(self, *, sequences_used: int, cells_used: int) -> Statistics:
        """Return the counters together with what is in use at the moment."""
        return Statistics(**asdict(self), sequences_used=sequences_used, cells_used=cells_used)
