"""`ramify problems`: the bundled task as JSON lines."""

from __future__ import annotations

import click

from . import output
from .values import StepRange


@click.command()
@click.option("--steps", type=StepRange(), default="2-8", show_default=True, help="Fewest and most steps, 1 to 12.")
@click.option("--count", type=click.IntRange(min=0), default=100, show_default=True, help="Number of problems.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same problems.")
@click.option("--solutions", is_flag=True, help="Add a worked solution to each problem.")
def problems(steps: tuple[int, int], count: int, seed: int, solutions: bool) -> None:
    """Write word problems of the bundled task as JSON lines: id, question, answer."""
    from ramify.models.problems import generate_problems

    try:
        generated = generate_problems(steps=steps, count=count, seed=seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for problem in generated:
        line = {"id": problem.id, "question": problem.question, "answer": problem.answer}
        output.write_json({**line, "solution": problem.solution} if solutions else line)
