"""Answers: extraction from generated text, equality, and checks against gold answers."""

from __future__ import annotations

from .equality import answers_equal
from .extract import extract_answer, last_number
from .normalise import normalise

__all__ = ["answers_equal", "extract_answer", "last_number", "normalise"]
