"""Problem: a question with an optional gold answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK, Check

from .errors import check_kind


@dataclass(frozen=True, slots=True)
class Problem:
    """One question to solve.

    `id` names the problem in results and seeds nothing. `answer` is the gold answer; None means it is unknown,
    so nothing is graded. `solution` is a worked solution if one is known. `metadata` holds whatever else the
    source said (`steps` for bundled problems); it never reaches the model. `check` says what makes an answer right:
    the name of a checker (math, exact, regex, numeric, numeric:0.01) or a function of (answer, gold answer); see
    `ramify.answers.checkers.make_checker`.

    Raises:
        ArgumentError: if the question or the answer is no text.
    """

    id: str
    question: str
    answer: str | None = None
    solution: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    check: Check = DEFAULT_CHECK

    def __post_init__(self) -> None:
        check_kind("the question", self.question, str, "its text")
        check_kind("the answer of the problem", self.answer, (str, NoneType), "its text, or None if it is not known")
