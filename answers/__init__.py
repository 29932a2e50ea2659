"""Answers: extraction from generated text, equality, and checks against gold answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ramify._lazy import lazy_names

if TYPE_CHECKING:
    from .equality import answers_equal
    from .extract import extract_answer, last_number
    from .normal_forms import normalise

__all__ = ["answers_equal", "extract_answer", "last_number", "normalise"]

__getattr__, __dir__, _ = lazy_names(
    __name__,
    {
        "ramify.answers.equality": "answers_equal",
        "ramify.answers.extract": "extract_answer last_number",
        "ramify.answers.normal_forms": "normalise",
    },
)
