"""Drafts from texts of the same run: likely next tokens, evaluated in one decode together with a sequence's last token.

Each token is drawn from the row after the tokens before it, by its own random number, whether that row comes from a
decode of its own or was evaluated as part of a draft. A draft is kept as far as it agrees with the tokens drawn. So a
path gets the tokens that it would get without drafts, at any temperature and with any filter or penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .batch import Batch, DecodeContext, Draft
from .jobs import Job
from .shared_sequences import SharedSequence

Rows = npt.NDArray[np.float32]
Draw = Callable[[list[SharedSequence], Rows], None]

MOST_SEQUENCES = 4
"""Sequences in a decode up to which drafts are evaluated: a wider decode has no time to spare."""
LONGEST_DRAFT = 8
KEY_TOKENS = 3
"""Tokens after which a text is taken to go on as it did before; two agree by chance too often."""
PROBE_EVERY = 16
"""Interval of probes where drafts do not pay: the first and then every 16th draft is evaluated with one token."""
PROCESSOR_COST, GPU_COST = 0.75, 0.1
"""Time of a further token in a decode, in terms of a decode of one: 0.7 to 0.8 was measured with AVX2."""
_REMEMBERED = 64


@dataclass(eq=False, slots=True)
class RunDrafts:
    """Texts of one run, by each KEY_TOKENS tokens in them, and the number of drafted tokens that agreed with the draws.

    `_found` has for each key the text and the position after its latest place; `_read` says how much of a sequence's
    path is in there. `accepted` of `tried` tokens agreed; both begin with the counts of four assumed tokens.
    """

    accepted: float = 3.0
    tried: float = 4.0
    _skipped: int = 0
    _found: dict[tuple[int, ...], tuple[list[int], int]] = field(
        default_factory=dict["tuple[int, ...]", "tuple[list[int], int]"]
    )
    _read: dict[SharedSequence, int] = field(default_factory=dict["SharedSequence", int])

    def propose(self, shared: SharedSequence, cost: float, most: int) -> list[int]:
        """Return up to `most` tokens that may follow a sequence's path; none where a draft is not expected to pay."""
        path = shared.path
        self._add(path, self._read.get(shared, len(shared.node.path) if self._read else 0))
        self._read[shared] = len(path)
        source, at = self._found.get(tuple(path[-KEY_TOKENS:]), (path, len(path)))
        if at >= len(source) or most < 1:
            return []
        return source[at : at + min(most, self._length(cost))]

    def _add(self, path: list[int], start: int) -> None:
        for at in range(max(start, KEY_TOKENS), len(path)):
            self._found[tuple(path[at - KEY_TOKENS : at])] = path, at

    def _length(self, cost: float) -> int:
        """Return the length with the most expected tokens for the time of a decode."""
        chance = self.accepted / self.tried
        best, gain, expected = 0, 1.0, 1.0
        for length in range(1, LONGEST_DRAFT + 1):
            expected += chance**length
            if expected / (1 + length * cost) > gain:
                best, gain = length, expected / (1 + length * cost)
        if best == 0:
            self._skipped += 1
            return int(self._skipped % PROBE_EVERY == 1)
        return best

    def learn(self, draft: Draft) -> None:
        """Count the tokens of a draft that were drawn, and the one that was not."""
        self.accepted += draft.accepted
        self.tried += draft.accepted + draft.refuted
        if self.tried > _REMEMBERED:
            self.accepted, self.tried = self.accepted / 2, self.tried / 2


class Drafter:
    """Adds drafts to the batches of one context, and draws from them.

    `cost` is the time of a further token in a decode in terms of a decode of one. The length of a draft follows from
    the run's own counts, not from the clock.
    """

    def __init__(self, context: DecodeContext, cost: float) -> None:
        self._context = context
        self._cost = cost
        self._runs: dict[int, RunDrafts] = {}

    def extend(self, batch: Batch, room: int) -> None:
        """Add drafts to a batch of few sequences that miss one token each; the batch has room for so many tokens."""
        if len(batch.entries) > MOST_SEQUENCES or len(batch.tokens) != len(batch.entries):
            return
        for entry in batch.entries:
            shared = entry.job
            if not isinstance(shared, SharedSequence) or not entry.rows:
                continue
            if shared.line is not None or shared.answer is not None:
                # The calculator and answers in a form put tokens in that no draft foresees.
                continue
            left = shared.group.allowance
            most = min(
                room - len(batch.tokens),
                shared.max_tokens - len(shared.tokens) - 1,
                self._context.longest_path - len(shared.path) - 1,
                LONGEST_DRAFT if left is None else left // len(shared.children) - 1,
            )
            run = self._runs.setdefault(shared.node.run, RunDrafts())
            tokens = run.propose(shared, self._cost, most)
            if tokens:
                batch.add_draft(shared, tokens)

    def verify(self, drafts: list[Draft], rows: Rows, working: Collection[Job], draw: Draw) -> None:
        """Draw on from the rows of drafts as long as the tokens drawn are those drafted, and drop the rest of them.

        The sequences have drawn from the rows of their own last tokens; those that have ended are not in `working`.
        """
        going = drafts
        while going := [each for each in going if each.agrees and each.job in working]:
            for each in going:
                each.accepted += 1
                each.job.advance(each.start + each.accepted)
                each.job.unverified -= 1
                each.job.drafted_tokens += 1
            draw([each.job for each in going], rows[[each.first_row + each.accepted - 1 for each in going]])
        for each in drafts:
            self.drop(each.job)
            run = self._runs.get(each.job.node.run)
            if run is not None:
                run.learn(each)

    def drop(self, shared: SharedSequence) -> None:
        """Free the cells of drafted tokens that were not drawn; to be called before a sequence ends."""
        if shared.unverified:
            assert shared.sequence is not None
            self._context.cut(shared.sequence.id, shared.sequence.length)
            shared.rejected_tokens += shared.unverified
            shared.unverified = 0

    def close_run(self, run: int) -> None:
        """Forget the texts of a run."""
        self._runs.pop(run, None)
