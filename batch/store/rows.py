"""Items of a batch and their rows in items.jsonl: a solution with the item's labels, or an error in its place."""

from __future__ import annotations

import math
import random
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ramify.answers.checkers import DEFAULT_CHECK
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.search.stopping import StopReason
from ramify.solution import SCHEMA_VERSION, Solution
from ramify.text import ELLIPSIS
from ramify.usage import Usage

from .config import BatchConfig
from .identity import item_key, problem_key

OK, CUT, FAILED = "ok", "cut", "failed"
"""Status of an item: searched to its end, cut by a limit before it had an answer, or ended by an error."""
_LIMITS = frozenset(str(reason) for reason in StopReason if reason.is_budget)
MOST_ITEMS = 1_000_000
"""Most searches of one run folder; all of them are held in memory."""
_DEEPEST_METADATA = 50
"""Lists and objects of metadata that a row keeps inside each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One search of one problem.

    `key` identifies the item in the run folder, `problem_key` the problem in all runs. `index` is the place of the
    problem in its file, from 0. `repeat` is the number of the repetition, from 0, and is added to the seed.
    """

    key: str
    problem_key: str
    index: int
    repeat: int
    problem: Problem


def all_items(problems: Sequence[Problem], repeat: int, configuration_hash: str) -> list[Item]:
    """Return all items of a batch: all problems once, then all of them again, `repeat` times in total.

    Raises:
        UsageError: if there are more than `MOST_ITEMS`.
    """
    if len(problems) * repeat > MOST_ITEMS:
        raise UsageError(
            f"{len(problems)} problems {repeat} times are more than {MOST_ITEMS} items",
            "lower the repetitions, or share the problems out over several runs",
        )
    seen = Counter[str]()
    keys = list[str]()
    for problem in problems:
        keys.append(problem_key(problem.identity, seen[problem.identity]))
        seen[problem.identity] += 1
    return [
        Item(
            key=item_key(key, number, configuration_hash),
            problem_key=key,
            index=index,
            repeat=number,
            problem=problem,
        )
        for number in range(repeat)
        for index, (problem, key) in enumerate(zip(problems, keys, strict=True))
    ]


def select(items: Sequence[Item], config: BatchConfig) -> list[Item]:
    """Return the items that the configuration selects, in the order in which to start them.

    Raises:
        UsageError: if the configuration names an id that no problem has.
    """
    indexes = dict.fromkeys(item.index for item in items)
    if config.ids:
        by_id = {item.problem.id: item.index for item in items}
        missing = [each for each in config.ids if each not in by_id]
        if missing:
            raise UsageError(f"no problem has the id {missing[0]!r}", "check --ids")
        indexes = dict.fromkeys(by_id[each] for each in config.ids)
    chosen = list(indexes)
    if config.shuffle:
        random.Random(config.shuffle_seed).shuffle(chosen)
    place = {index: number for number, index in enumerate(chosen[: config.limit])}
    wanted = (item for item in items if item.index in place)
    return sorted(wanted, key=lambda item: (item.repeat, place[item.index]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt at an item: its number and that of the call of `run_batch`, from 1, and the call's seconds so far."""

    number: int
    call: int
    call_seconds: float


def attempt_row(item: Item, error: str, message: str, usage: Usage, attempt: Attempt) -> dict[str, Any]:
    """Return the row of an attempt that will be made again; `error` is the name of its error."""
    return {
        "key": item.key,
        "id": item.problem.id,
        "repeat": item.repeat,
        "attempt": attempt.number,
        "leg": attempt.call,
        "leg_seconds": attempt.call_seconds,
        "error": {"type": error, "message": message},
        "usage": usage.to_dict(),
    }


def solved_row(item: Item, solution: Solution, correct: bool | None, attempt: Attempt) -> dict[str, Any]:
    """Return the row of an item without an error; `Solution.from_dict` reads it.

    `correct` is None without a gold answer. An item that a limit has cut with no answer is not correct, and its status
    tells it from those that were answered wrongly.
    """
    status = CUT if solution.answer is None and solution.stop_reason.is_budget else OK
    return {
        **_labels(item, status, attempt),
        **solution.to_dict(),
        "correct": correct,
        "error": None,
        **_steps(solution),
    }


def status_of(row: Mapping[str, Any]) -> str:
    """Return the status of a row; older rows of items that a limit has cut say OK."""
    if row["status"] == OK and row["answer"] is None and row["stop_reason"] in _LIMITS:
        return CUT
    return str(row["status"])


def failed_row(
    item: Item, error: Mapping[str, str], usage: Usage, attempt: Attempt, *, seed: int, strategy: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the row of a failed item; `usage` is its cost until then."""
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
    """Return an error as type, message and traceback."""
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
        "leg": attempt.call,
        "leg_seconds": round(attempt.call_seconds, 3),
        "metadata": {str(name): _plain(value) for name, value in item.problem.metadata.items()},
    }


def _steps(solution: Solution) -> dict[str, Any]:
    """Return the number of steps of the tree and their finish reasons."""
    if solution.tree is None:
        return {"nodes": None, "finish_reasons": None}
    steps = [node for node in solution.tree if node.parent is not None]
    reasons = Counter(str(node.finish_reason) for node in steps if node.finish_reason is not None)
    return {"nodes": len(steps), "finish_reasons": dict(sorted(reasons.items()))}


def _plain(value: Any, depth: int = 0) -> Any:
    """Return a value of metadata in JSON types: numbers that are none as None, dates and the like as text."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _DEEPEST_METADATA:
        return ELLIPSIS
    if isinstance(value, Mapping):
        return {str(name): _plain(each, depth + 1) for name, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in cast("list[Any]", value)]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
