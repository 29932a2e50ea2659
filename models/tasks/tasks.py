"""Bundled tasks by name: their generators, step checks, planted errors and labelled problems."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ramify.errors import ArgumentError
from ramify.problem import Problem

from . import arithmetic_steps, list_steps, lists
from .generate import generate_one
from .partition import Part, stream_seed

MOST_STEPS = 12


@dataclass(frozen=True, slots=True)
class Task:
    """A task.

    `one(seed, steps, part, id)` makes a problem. `first_error(problem, steps)` returns the first wrong step of a path,
    from 0, None if there is none; it needs the problem's worked solution. `plant_error(problem, step, chance)` returns
    the lines of a solution with an error in that step.
    """

    name: str
    one: Callable[[int, tuple[int, int], Part, str], Problem]
    first_error: Callable[[Problem, Sequence[str]], int | None]
    plant_error: Callable[[Problem, int, random.Random], list[str]]
    prefix: str = ""

    @staticmethod
    def steps(text: str) -> list[str]:
        """Return the steps of a solution, each with the newline that ends it; joined they are the solution."""
        return text.splitlines(keepends=True)

    def problems(self, steps: tuple[int, int], count: int, seed: int) -> list[Problem]:
        """Return `count` problems for evaluation."""
        seeds = (stream_seed("eval", seed, number) for number in range(count))
        return [self.one(each, steps, "eval", f"{self.prefix}{seed}-{number}") for number, each in enumerate(seeds)]


ARITHMETIC = Task("arithmetic", generate_one, arithmetic_steps.first_error, arithmetic_steps.plant_error)
LISTS = Task("lists", lists.generate_one, list_steps.first_error, list_steps.plant_error, "lists-")

TASKS: dict[str, Task] = {task.name: task for task in (ARITHMETIC, LISTS)}

_CALCULATED = re.compile(r".*\d[-+*/]\d+=\d+.*")


def generate_problems(
    steps: tuple[int, int] = (2, 8), count: int = 100, seed: int = 0, *, task: str = ARITHMETIC.name
) -> list[Problem]:
    """Return `count` problems of `steps[0]` to `steps[1]` steps, the same for the same arguments.

    `task` is "arithmetic" for word problems or "lists" for the rearranging of lists. Each problem has its gold answer,
    a worked solution of one step a line, and `metadata["steps"]`. None of them is among the problems that the bundled
    models were trained on, whatever the seed.

    Raises:
        ArgumentError: if there is no such task, if `steps` is reversed or leaves 1 to 12, or if `count` is negative.
    """
    low, high = steps
    if task not in TASKS:
        raise ArgumentError(f"there is no task {task!r}; the tasks are {', '.join(TASKS)}")
    if not 1 <= low <= high <= MOST_STEPS:
        raise ArgumentError(f"steps must satisfy 1 <= low <= high <= {MOST_STEPS}, got {low}-{high}")
    if count < 0:
        raise ArgumentError(f"count must not be negative, got {count}")
    return TASKS[task].problems((low, high), count, seed)


def task_of(problem: Problem) -> Task | None:
    """Return the bundled task whose steps can be checked for this problem; None without its worked solution."""
    lines = (problem.solution or "").splitlines()
    name = problem.metadata.get("task")
    if name is not None:
        return TASKS.get(str(name)) if len(lines) > 1 else None
    calculated = len(lines) > 1 and all(_CALCULATED.fullmatch(line) for line in lines[:-1])
    return ARITHMETIC if calculated else None


LABEL_SEED = 987654
LABEL_STEPS = (2, 8)


def label_stream(numbers: range, task: Task = ARITHMETIC, seed: int = LABEL_SEED) -> list[Problem]:
    """Return training problems whose solutions are labelled, of a stream that no policy was trained on."""
    prefix = f"label-{task.prefix}"
    return [task.one(stream_seed("train", seed, i), LABEL_STEPS, "train", f"{prefix}{i}") for i in numbers]
