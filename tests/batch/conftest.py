"""Batches without a model: a scripted policy that knows the answer from the question, and problems for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ramify import Engine, Problem
from ramify.testing import ScriptedModel


def answer_second_word(question: str, path: tuple[int, ...]) -> str:
    """ "add 3" is answered with 3 after one step; 9 tokens for each path."""
    return "Let me think.\n" if len(path) == 1 else f"The answer is {question.split()[1]}."


@pytest.fixture
def script() -> Callable[[str, tuple[int, ...]], str]:
    return answer_second_word


@pytest.fixture
def problems() -> list[Problem]:
    """Six problems; the gold answers of the last two are not what the scripted model says."""
    return [Problem(f"p{n}", f"add {n}", str(n if n < 4 else 100), metadata={"level": n % 2}) for n in range(6)]


@pytest.fixture
def scripted() -> Callable[..., Engine]:
    def make(script: Any = answer_second_word, **options: Any) -> Engine:
        return Engine(model=ScriptedModel(script, **options), reward=None)

    return make


@pytest.fixture
def rows() -> Callable[[Path], list[dict[str, Any]]]:
    """The rows of a run folder's items."""

    def read(folder: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / "items.jsonl").read_text("utf-8").splitlines()]

    return read
