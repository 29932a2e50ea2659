"""Answer of a path that is written in a grammar, after the model has ended its text or has no more room for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..messages import AnswerGrammar


class Grammar(Protocol):
    """A text that is being written in a grammar."""

    def copy(self) -> Grammar:
        """Return an independent copy."""
        ...

    def accept(self, token: int) -> None:
        """Append a token, one that may follow."""
        ...

    def mask(self, row: npt.NDArray[np.float32]) -> None:
        """Set the logits of the tokens to -inf that may not follow."""
        ...


class AnswerText:
    """The answer of one sequence: the mark that is put in before it, and the state of its grammar once it has begun."""

    def __init__(self, wanted: AnswerGrammar) -> None:
        self.wanted = wanted
        self.grammar: Grammar | None = None
        self.begun = wanted.written is not None

    def copy(self) -> AnswerText:
        """Return an independent copy."""
        other = AnswerText(self.wanted)
        other.begun = self.begun
        other.grammar = None if self.grammar is None else self.grammar.copy()
        return other

    def is_due(self, tokens: int, left: int) -> bool:
        """Tell whether the answer has to begin after so many tokens of the step, with so many left of the context."""
        wanted = self.wanted
        return left <= wanted.reserve or (wanted.after is not None and tokens >= wanted.after)

    def mask(self, row: npt.NDArray[np.float32], fresh: Grammar, encode: Callable[[str], Sequence[int]]) -> None:
        """Set the logits of the tokens to -inf that cannot follow; `fresh` is the answer's grammar at its start.

        `encode` returns tokens whose bytes are exactly those of a text, which the path holds already.
        """
        if self.grammar is None:
            self.grammar = fresh.copy()
            for token in encode(self.wanted.written or ""):
                # A token that may not follow would end the process.
                if not _follows(self.grammar, token, len(row)):
                    break
                self.grammar.accept(token)
        self.grammar.mask(row)


def _follows(grammar: Grammar, token: int, size: int) -> bool:
    row = np.zeros(size, np.float32)
    grammar.mask(row)
    return bool(row[token] == 0)
