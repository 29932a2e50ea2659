"""Which items a batch consists of, and which of them are to be done now."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ramify.errors import UsageError
from ramify.problem import Problem

from .config import BatchConfig
from .identity import item_key, problem_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One problem to be searched once.

    `key` is its identity in the run folder, `problem_key` the same for all runs; `index` is the place of the problem
    in its file, from 0. `repeat` counts from 0 and is added to the seed.
    """

    key: str
    problem_key: str
    index: int
    repeat: int
    problem: Problem


def all_items(problems: Sequence[Problem], repeat: int, configuration_hash: str) -> list[Item]:
    """Return all items of a batch, all problems once before any is repeated."""
    seen = Counter[str]()
    keys = list[str]()
    for problem in problems:
        keys.append(problem_key(problem.question, seen[problem.question]))
        seen[problem.question] += 1
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
    """Return the items that are asked for, in the order in which to start them.

    Raises:
        UsageError: if an id is asked for that no problem has.
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
