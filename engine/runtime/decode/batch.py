"""What goes into the next decode: which tokens of which jobs, as the flat lists that a batch is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .jobs import Job


class Feed(NamedTuple):
    """A job's tokens from position `start` up to `end`; `rows` of them have their logits read."""

    job: Job
    start: int
    end: int
    rows: int


@dataclass(slots=True)
class Batch:
    """Feeds, and what they are in llama.cpp's terms, one entry a token."""

    feeds: list[Feed] = field(default_factory=list[Feed])
    tokens: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    sequences: list[int] = field(default_factory=list[int])
    outputs: list[bool] = field(default_factory=list[bool])

    def add_last(self, job: Job) -> None:
        """Append the last token of a job that misses no other: what most batches consist of."""
        assert job.sequence is not None
        position = len(job.target) - 1
        wanted = job.wants(position)
        self.feeds.append(Feed(job, position, position + 1, int(wanted)))
        self.tokens.append(job.target[position])
        self.positions.append(position)
        self.sequences.append(job.sequence.id)
        self.outputs.append(wanted)

    def add(self, job: Job, start: int, end: int) -> None:
        """Append a job's tokens; it has its sequence."""
        assert job.sequence is not None
        flags = [job.wants(position) for position in range(start, end)]
        self.feeds.append(Feed(job, start, end, sum(flags)))
        self.tokens += job.target[start:end]
        self.positions += range(start, end)
        self.sequences += [job.sequence.id] * (end - start)
        self.outputs += flags


def next_batch(jobs: list[Job], *, room: int, singles: int) -> Batch:
    """Return up to `room` tokens: jobs that miss one token first, then longer ones.

    At most `singles` jobs of one token go into a batch without longer ones.
    """
    short: list[Job] = []
    long: list[Job] = []
    for job in jobs:
        missing = len(job.target) - job.next_position
        if missing == 1:
            short.append(job)
        elif missing:
            long.append(job)
    if not long:
        # Whoever is left out comes first in the next batch, so full ones go on and on; no job needs another's step.
        short = short[:singles]
    batch = Batch()
    for job in short[:room]:
        batch.add_last(job)
    room -= len(batch.feeds)
    for job in long:
        start = job.next_position
        end = min(len(job.target), start + room)
        if end > start:
            batch.add(job, start, end)
            room -= end - start
    return batch
