"""Batch of one decode call, and the context that evaluates it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .jobs import Job
from .prefix_cache import KVCells
from .shared_sequences import SharedSequence


class DecodeContext(KVCells, Protocol):
    """A context that decodes.

    `batch_tokens` bounds one decode, and `single_tokens` one in which each sequence has a single token. `longest_path`
    is in tokens.
    """

    batch_tokens: int
    single_tokens: int
    longest_path: int
    vocabulary_size: int

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        """Evaluate a batch; 0, or 1 if the cache has no room."""
        ...

    def state(self, sequence: int) -> bytes:
        """The cells of a sequence."""
        ...

    def restore(self, sequence: int, state: bytes, length: int) -> bool:
        """Fill an empty sequence with the cells of `length` tokens; whether it could be done."""
        ...

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        """Rows of the last decode's outputs."""
        ...

    def logits_beside_states(self) -> npt.NDArray[np.float32]:
        """Logits of the last decode's outputs, in a context whose rows are hidden states."""
        ...


class BatchEntry(NamedTuple):
    """A job's tokens from position `start` up to `end`; the logits of `rows` of them are read."""

    job: Job
    start: int
    end: int
    rows: int


@dataclass(eq=False, slots=True)
class Draft:
    """Tokens that may follow a sequence's path, `accepted` of which were drawn so far.

    `start` is the length of the path before; the logits after the tokens begin at row `first_row`.
    """

    job: SharedSequence
    tokens: list[int]
    start: int
    first_row: int
    accepted: int = 0

    @property
    def agrees(self) -> bool:
        """True if the token that was drawn last is the next one of the draft."""
        place, path = self.start + self.accepted, self.job.target
        return self.accepted < len(self.tokens) and len(path) == place + 1 and path[place] == self.tokens[self.accepted]

    @property
    def refuted(self) -> bool:
        """True if another token was drawn than the next one of the draft."""
        place, path = self.start + self.accepted, self.job.target
        return self.accepted < len(self.tokens) and len(path) > place and path[place] != self.tokens[self.accepted]


@dataclass(slots=True)
class Batch:
    """Entries, and their form for llama.cpp: flat lists with one element a token. Drafts come last."""

    entries: list[BatchEntry] = field(default_factory=list[BatchEntry])
    tokens: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    sequences: list[int] = field(default_factory=list[int])
    outputs: list[bool] = field(default_factory=list[bool])
    drafts: list[Draft] = field(default_factory=list[Draft])

    def add_last(self, job: Job) -> None:
        """Append the last token of a job that misses no other; most batches consist of these."""
        assert job.sequence is not None
        position = len(job.target) - 1
        wanted = job.wants(position)
        self.entries.append(BatchEntry(job, position, position + 1, int(wanted)))
        self.tokens.append(job.target[position])
        self.positions.append(position)
        self.sequences.append(job.sequence.id)
        self.outputs.append(wanted)

    def by_sequence(self) -> Batch:
        """Return the batch in the order of the sequences' ids."""
        batch = Batch()
        for job, start, end, _ in sorted(self.entries, key=_sequence_id):
            if end - start == 1 and end == len(job.target):
                batch.add_last(job)
            else:
                batch.add(job, start, end)
        return batch

    def add(self, job: Job, start: int, end: int) -> None:
        """Append a job's tokens from position `start` up to `end`; the job has its sequence."""
        assert job.sequence is not None
        flags = [job.wants(position) for position in range(start, end)]
        self.entries.append(BatchEntry(job, start, end, sum(flags)))
        self.tokens += job.target[start:end]
        self.positions += range(start, end)
        self.sequences += [job.sequence.id] * (end - start)
        self.outputs += flags

    def add_draft(self, job: SharedSequence, tokens: list[int]) -> None:
        """Append tokens that may follow a job's last one, which is in the batch; the logits after each are read."""
        assert job.sequence is not None
        start, first_row = len(job.target), sum(self.outputs)
        self.drafts.append(Draft(job, tokens, start, first_row))
        self.tokens += tokens
        self.positions += range(start, start + len(tokens))
        self.sequences += [job.sequence.id] * len(tokens)
        self.outputs += [True] * len(tokens)


def _sequence_id(entry: BatchEntry) -> int:
    assert entry.job.sequence is not None
    return entry.job.sequence.id


def batch_of(jobs: list[Job], *, room: int, singles: int) -> Batch:
    """Return a batch of up to `room` tokens: jobs that miss one token first, then longer ones.

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
        # Jobs left out come first in the next batch, so batches stay full; no job depends on another's step.
        short = short[:singles]
    batch = Batch()
    for job in short[:room]:
        batch.add_last(job)
    room -= len(batch.entries)
    for job in long:
        start = job.next_position
        end = min(len(job.target), start + room)
        if end > start:
            batch.add(job, start, end)
            room -= end - start
    return batch
