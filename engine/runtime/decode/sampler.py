"""Sampler: draws the next tokens of many sequences at a time, and tells which branch and which end."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ramify.errors import UsageError
from ramify.search.node import FinishReason

from .answer_text import AnswerText, Grammar
from .calculator import Calculator, exact_tokens
from .draws import RowSampler, uniforms
from .penalties import penalise, plain_logprobs
from .shared_sequences import ChildSequence, SharedSequence

NUMBERS_AHEAD = 16
"""Random numbers made at once for each child: one call of numpy costs as much as drawing a token."""


class SamplerVocabulary(Protocol):
    """The part of a vocabulary that the sampler needs."""

    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        """Bytes of a token."""
        ...

    def is_end(self, id: int) -> bool:
        """Return whether a token ends the text."""
        ...

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Tokens of a text."""
        ...

    def grammar(self, source: str) -> Grammar:
        """A text in a grammar, from its start."""
        ...


@dataclass(slots=True)
class SamplingResult:
    """Sequences that a draw changed in more than their next token.

    `branches` are pairs of a sequence and a new one that branched off. `ended` are sequences that ended, with their
    last token or before it. `broken` are those whose logits are no numbers.
    """

    branches: list[tuple[SharedSequence, SharedSequence]] = field(
        default_factory=list[tuple[SharedSequence, SharedSequence]]
    )
    ended: list[tuple[SharedSequence, FinishReason]] = field(default_factory=list[tuple[SharedSequence, FinishReason]])
    broken: list[SharedSequence] = field(default_factory=list[SharedSequence])


class Sampler:
    """Draws tokens of one model. `muted` are ids that are never drawn; paths end at `longest_path` tokens."""

    def __init__(
        self,
        vocabulary: SamplerVocabulary,
        vocabulary_size: int,
        *,
        muted: Sequence[int],
        longest_path: int,
        threads: int = 1,
    ) -> None:
        self._vocabulary = vocabulary
        self._calculator = Calculator(vocabulary)
        self._row_sampler = RowSampler(vocabulary_size, threads)
        self._muted = list(muted)
        self._longest_path = longest_path
        # None for tokens that end the text.
        self._pieces: dict[int, bytes | None] = {}
        self._grammars: dict[str, Grammar] = {}

    def refused_grammar(self, sources: Iterable[str]) -> str | None:
        """Return why one of some grammars cannot be read, None if all can."""
        for source in sources:
            if source not in self._grammars:
                try:
                    self._grammars[source] = self._vocabulary.grammar(source)
                except UsageError as error:
                    return error.message
        return None

    def unfinished(self, tokens: Sequence[int]) -> bytes:
        """Return the first bytes of a character that some tokens end within, b"" for none."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # A character has four bytes at most, and a token one at least.
        decoder.decode(b"".join(self._piece(token) or b"" for token in tokens[-4:]))
        return decoder.getstate()[0]

    def draw(self, sequences: Sequence[SharedSequence], rows: npt.NDArray[np.float32]) -> SamplingResult:
        """Draw a token for each child from its sequence's row; `rows` are logits [sequences, vocabulary]."""
        if self._muted:
            rows[:, self._muted] = -np.inf
        if any(each.answer is not None and each.answer.begun for each in sequences):
            rows = self._masked(sequences, rows)
        numbers = np.array(_numbers(sequences))
        counts = None if len(numbers) == len(sequences) else [len(each.children) for each in sequences]
        settings = [each.sampling for each in sequences]
        penalised = None
        if any(each.penalised is not None for each in sequences):
            penalised = penalise(rows, settings, [each.penalised for each in sequences])
        drawn, logprobs = self._row_sampler.draw(rows, settings, numbers, counts)
        if penalised is not None:
            penalised.lift(rows)
            _set_plain_logprobs(penalised.rows, rows, drawn, logprobs, counts)
        pairs = list(zip(drawn.tolist(), logprobs.tolist(), strict=True))
        result = SamplingResult()
        start = 0
        for shared in sequences:
            end = start + len(shared.children)
            if pairs[start][0] < 0:
                result.broken.append(shared)
            elif end == start + 1:
                self._accept(shared, *pairs[start], result)
            else:
                self._split(shared, pairs[start:end], result)
            start = end
        if 0 in [each.group.allowance for each in sequences]:
            self._end_exhausted([*sequences, *(branch for _, branch in result.branches)], result)
        return result

    def _masked(self, sequences: Sequence[SharedSequence], rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return rows in which answers go on in their grammars alone."""
        rows = rows.copy()
        for shared, row in zip(sequences, rows, strict=True):
            if shared.answer is not None and shared.answer.begun:
                shared.answer.mask(row, self._grammars[shared.answer.wanted.grammar], self._exact)
        return rows

    def _exact(self, text: str) -> Sequence[int]:
        return exact_tokens(self._vocabulary, text)

    def _encode(self, text: str) -> list[int]:
        return self._vocabulary.encode(text, special=True)

    def _split(self, shared: SharedSequence, pairs: list[tuple[int, float]], result: SamplingResult) -> None:
        """Let children that drew another token than the first one branch off."""
        drawers: dict[tuple[int, float], list[ChildSequence]] = {}
        for child, pair in zip(shared.children, pairs, strict=True):
            drawers.setdefault(pair, []).append(child)
        (first, _), *others = drawers.items()
        branches = [(shared.branch(children), pair) for pair, children in others]
        result.branches += [(shared, branch) for branch, _ in branches]
        for each, pair in [(shared, first), *branches]:
            self._accept(each, *pair, result)

    def _accept(self, shared: SharedSequence, token: int, logprob: float, result: SamplingResult) -> None:
        """Add a token to a sequence, as far as its children have an allowance."""
        if shared.text.kept and self._piece(token) == shared.text.kept:
            shared.kept_open = True
            result.ended.append((shared, FinishReason.STEP))
            return
        group = shared.group
        if group.allowance is not None:
            if group.allowance <= 0:
                result.ended.append((shared, FinishReason.BUDGET))
                return
            if group.allowance < len(shared.children):
                result.ended.append((shared.branch(shared.children[group.allowance :]), FinishReason.BUDGET))
            group.allowance -= len(shared.children)
        if shared.answer is not None and self._begins_answer(shared, shared.answer, token):
            return
        shared.add_token(token, logprob)
        reason = self._end_of(shared, token)
        if reason is None and shared.line is not None:
            reason = self._calculate(shared, self._pieces[token] or b"", shared.line)
        if reason is not None:
            result.ended.append((shared, reason))

    def _begins_answer(self, shared: SharedSequence, answer: AnswerText, token: int) -> bool:
        """Put the mark of the answer in the place of a drawn token if the answer is due, and there is room for it."""
        left = self._longest_path - len(shared.target)
        if answer.begun or not (self._vocabulary.is_end(token) or answer.is_due(len(shared.tokens), left)):
            return False
        tokens = self._encode(answer.wanted.mark)
        group, more = shared.group, (len(tokens) - 1) * len(shared.children)
        room = min(shared.max_tokens - len(shared.tokens), left)
        if len(tokens) >= room or (group.allowance is not None and more >= group.allowance):
            return False
        if group.allowance is not None:
            group.allowance -= more
        shared.put(tokens)
        shared.text.append(answer.wanted.mark.encode())
        answer.begun = True
        return True

    def _calculate(self, shared: SharedSequence, piece: bytes, line: str) -> FinishReason | None:
        """Put a value in where a sequence asks for one and has room for all of it; return why the sequence ends."""
        tokens = self._calculator.after(piece, line, shared.text)
        group, count = shared.group, len(shared.children)
        room = min(shared.max_tokens - len(shared.tokens), self._longest_path - len(shared.target))
        if len(tokens) > room or (group.allowance is not None and len(tokens) * count > group.allowance):
            return None
        for token in tokens:
            if group.allowance is not None:
                group.allowance -= count
            shared.add_calculated(token)
            reason = self._end_of(shared, token)
            if reason is not None:
                return reason
        return None

    def _end_of(self, shared: SharedSequence, token: int) -> FinishReason | None:
        """Return why a sequence ends with its last token, None if it goes on."""
        try:
            piece = self._pieces[token]
        except KeyError:
            piece = self._piece(token)
        if piece is None:
            return FinishReason.EOS
        if shared.answer is not None and shared.answer.begun:
            return self._end_of_answer(shared, token, piece, shared.answer)
        ended = shared.text.add(piece, early=len(shared.tokens) < shared.min_tokens)
        if ended is not None:
            return ended
        if len(shared.tokens) >= shared.max_tokens:
            return FinishReason.LENGTH
        return FinishReason.CONTEXT if len(shared.target) >= self._longest_path else None

    def _piece(self, token: int) -> bytes | None:
        """Return the bytes of a token, None for one that ends the text."""
        if token not in self._pieces:
            ends = self._vocabulary.is_end(token)
            self._pieces[token] = None if ends else self._vocabulary.piece(token, special=False)
        return self._pieces[token]

    def _end_of_answer(
        self, shared: SharedSequence, token: int, piece: bytes, answer: AnswerText
    ) -> FinishReason | None:
        """Take a token of an answer in; return why the sequence ends with it, None if it goes on."""
        assert answer.grammar is not None
        answer.grammar.accept(token)
        shared.text.append(piece)
        if len(shared.tokens) >= shared.max_tokens:
            return FinishReason.LENGTH
        return FinishReason.CONTEXT if len(shared.target) >= self._longest_path else None

    @staticmethod
    def _end_exhausted(sequences: Sequence[SharedSequence], result: SamplingResult) -> None:
        """End the sequences of exhausted allowances: no token of another decode could be used."""
        over = {id(shared) for shared, _ in result.ended}
        for shared in sequences:
            if shared.group.allowance == 0 and id(shared) not in over:
                result.ended.append((shared, FinishReason.BUDGET))


def _set_plain_logprobs(
    penalised: Sequence[int],
    rows: npt.NDArray[np.float32],
    drawn: npt.NDArray[np.int64],
    logprobs: npt.NDArray[np.float64],
    counts: Sequence[int] | None,
) -> None:
    """Set the log probabilities of the draws from rows that had penalties to those without them."""
    starts = range(len(rows) + 1) if counts is None else [0, *accumulate(counts)]
    for row in penalised:
        draws = slice(starts[row], starts[row + 1])
        if drawn[draws.start] >= 0:
            logprobs[draws] = plain_logprobs(rows[row], drawn[draws])


def _numbers(sequences: Sequence[SharedSequence]) -> list[float]:
    """Return the next random number of each child."""
    empty = [(child, len(shared.tokens)) for shared in sequences for child in shared.children if not child.numbers]
    if empty:
        draws = [drawn + ahead for _, drawn in empty for ahead in range(NUMBERS_AHEAD)]
        seeds = [child.seed for child, _ in empty for _ in range(NUMBERS_AHEAD)]
        made = uniforms(seeds, draws).reshape(len(empty), NUMBERS_AHEAD)[:, ::-1].tolist()
        for (child, _), numbers in zip(empty, made, strict=True):
            child.numbers = numbers
    return [child.numbers.pop() for shared in sequences for child in shared.children]
