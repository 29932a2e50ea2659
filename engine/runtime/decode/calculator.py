"""Calculator of one model's decoder: the tokens that complete an equation, in place of sampled ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ramify.reward.calculator import value_after

from .step_text import StepText

_MOST_KEPT = 4096
_EQUALS = ord("=")
_CODE = ("```", "~~~")


class CalculatorVocabulary(Protocol):
    """The part of a vocabulary that the calculator needs."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text."""
        ...

    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        """Bytes of a token."""
        ...


class Calculator:
    """Writes values of expressions in the tokens of one vocabulary."""

    def __init__(self, vocabulary: CalculatorVocabulary) -> None:
        self._vocabulary = vocabulary
        self._tokens: dict[str, tuple[int, ...]] = {}

    def after(self, piece: bytes, line: str, step: StepText) -> Sequence[int]:
        """Return the tokens that complete an equation with whose `=` a step ends for now; none are certain elsewhere.

        `piece` are the bytes of the step's last token, and `line` is the unfinished line before the step.
        """
        if _EQUALS not in piece:
            return ()
        value = value_after(line + step.text)
        if not value or step.open_block in _CODE:
            return ()
        found = self._tokens.get(value)
        if found is None:
            if len(self._tokens) >= _MOST_KEPT:
                self._tokens.clear()
            found = self._tokens[value] = self._encoded(value)
        return found

    def _encoded(self, value: str) -> tuple[int, ...]:
        """Return tokens whose bytes are exactly those of a value, none if the vocabulary has no such tokens."""
        return exact_tokens(self._vocabulary, value)


def exact_tokens(vocabulary: CalculatorVocabulary, text: str) -> tuple[int, ...]:
    """Return tokens whose bytes are exactly those of a text, none if the vocabulary has no such tokens."""
    # Some vocabularies put a blank before a text; after a sign there is none.
    for before in ("", "="):
        tokens = vocabulary.encode(before + text, special=False)
        pieces = [vocabulary.piece(token, special=False) for token in tokens]
        for first in range(len(tokens) if before else 1):
            if b"".join(pieces[first:]) == text.encode():
                return tuple(tokens[first:])
    return ()
