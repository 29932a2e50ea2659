"""`ramify problems`: the bundled tasks as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .option_types import StepRange

if TYPE_CHECKING:
    from ..problem import Problem

TASK_NAMES = ("arithmetic", "lists")


@click.command()
@click.option("--task", type=click.Choice(TASK_NAMES), default="arithmetic", show_default=True, help="Kind of problem.")
@click.option("--steps", type=StepRange(), default="2-8", show_default=True, help="Fewest and most steps, 1 to 12.")
@click.option("--count", type=click.IntRange(min=0), default=100, show_default=True, help="Number of problems.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same problems.")
@click.option("--solutions", is_flag=True, help="Add a worked solution to each problem.")
def problems(task: str, steps: tuple[int, int], count: int, seed: int, solutions: bool) -> None:
    """Write problems of a bundled task as JSON lines: id, question, answer, and how answers are checked.

    The tasks are arithmetic word problems and the rearranging of lists.
    """
    from ramify.models.tasks import generate_problems

    from ..errors import ArgumentError

    try:
        generated = generate_problems(steps=steps, count=count, seed=seed, task=task)
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error
    for problem in generated:
        terminal.write_json(_line(problem, solutions=solutions))


def _line(problem: Problem, *, solutions: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"id": problem.id, "question": problem.question, "answer": problem.answer}
    if problem.check != "math":
        line["check"] = problem.check
    if "task" in problem.metadata:
        line["task"] = problem.metadata["task"]
    return {**line, "solution": problem.solution} if solutions else line
