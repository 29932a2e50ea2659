"""Reading answers from generated text, and telling whether two answers are the same."""

from __future__ import annotations

from ramify.engine.answers.equality import answers_equal
from ramify.engine.answers.extract import extract_answer
from ramify.engine.answers.normalise import normalise

__all__ = ["answers_equal", "extract_answer", "normalise"]
