"""The rows of items.jsonl: a solution with what the batch knows about it, or an error in its place."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK
from ramify.problem import Problem
from ramify.solution import SCHEMA_VERSION, Solution
from ramify.usage import Usage

from .plan import Item

OK, FAILED = "ok", "failed"
_LONGEST_METADATA = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Which attempt at an item this is (from 1), in which call, and the seconds of that call so far."""

    number: int
    leg: int
    leg_seconds: float


def solved_row(item: Item, solution: Solution, correct: bool | None, attempt: Attempt) -> dict[str, Any]:
    """Return the row of an item that was searched to its end; `Solution.from_dict` reads it."""
    return {**_labels(item, OK, attempt), **solution.to_dict(), "correct": correct, "error": None, **_steps(solution)}


def failed_row(
    item: Item, error: Mapping[str, str], usage: Usage, attempt: Attempt, *, seed: int, strategy: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of an item that failed; `usage` is what it had cost until then."""
    return {
        **_labels(item, FAILED, attempt),
        "version": SCHEMA_VERSION,
        "problem_id": item.problem.id,
        "question": item.problem.question,
        "answer": None,
        "text": "",
        "score": None,
        "stop_reason": None,
        "stop": None,
        "usage": usage.to_dict(),
        "candidates": [],
        "seed": seed,
        "strategy": dict(strategy),
        "model": {},
        "correct": None,
        "error": dict(error),
    }


def describe_error(error: BaseException) -> dict[str, str]:
    """Return an error in plain text."""
    return {
        "type": type(error).__name__,
        "message": str(error) or repr(error),
        "trace": "".join(traceback.format_exception(error)),
    }


def named_check(problem: Problem) -> str | None:
    """Return the name of a problem's checker, None for a function, which no file can hold."""
    return problem.check if isinstance(problem.check, str) else None


def _labels(item: Item, status: str, attempt: Attempt) -> dict[str, Any]:
    return {
        "id": item.problem.id,
        "status": status,
        "correct": None,
        "gold": item.problem.answer,
        **({} if item.problem.check == DEFAULT_CHECK else {"check": named_check(item.problem)}),
        "repeat": item.repeat,
        "index": item.index,
        "key": item.key,
        "problem_key": item.problem_key,
        "attempt": attempt.number,
        "leg": attempt.leg,
        "leg_seconds": round(attempt.leg_seconds, 3),
        "metadata": {name: value for name, value in item.problem.metadata.items() if _is_plain(value)},
    }


def _steps(solution: Solution) -> dict[str, Any]:
    """Return how many steps the tree has and how their writing ended."""
    if solution.tree is None:
        return {"nodes": None, "finish_reasons": None}
    steps = [node for node in solution.tree if node.parent is not None]
    reasons = Counter(str(node.finish_reason) for node in steps if node.finish_reason is not None)
    return {"nodes": len(steps), "finish_reasons": dict(sorted(reasons.items()))}


def _is_plain(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_METADATA
    return value is None or isinstance(value, bool | int | float)
