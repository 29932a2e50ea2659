"""Counts what decoding does."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ramify.engine.runtime.feeds import Batch
from ramify.engine.runtime.jobs import Lane
from ramify.engine.runtime.messages import Statistics


@dataclass(slots=True)
class Counters:
    """Of `Statistics`, what grows."""

    decode_calls: int = 0
    tokens: int = 0
    lanes: int = 0
    decode_s: float = 0.0
    sampling_s: float = 0.0

    def count(self, batch: Batch, decode_s: float, sampling_s: float) -> None:
        """Take in one decode; the batch is empty if the cache had no room for it."""
        self.decode_calls += bool(batch.feeds)
        self.tokens += len(batch.tokens)
        self.lanes += sum(isinstance(feed.job, Lane) for feed in batch.feeds)
        self.decode_s += decode_s
        self.sampling_s += sampling_s

    def statistics(self, *, sequences_used: int, cells_used: int) -> Statistics:
        """Return the counters together with what is in use at the moment."""
        return Statistics(**asdict(self), sequences_used=sequences_used, cells_used=cells_used)
