"""Right and wrong solutions for the check of a reward model, of bundled problems or from a file."""

from __future__ import annotations

import random
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ramify.training.check import CheckCase

from ..errors import MalformedText, UsageError
from ..json_text import json_lines, read_json


def bundled_cases(count: int, seed: int, task: str = "arithmetic") -> list[CheckCase]:
    """Return `count` problems of a bundled task, each with its worked solution and with one that goes wrong.

    One step is wrong there, and all that follows from it.
    """
    from ramify.models.tasks.tasks import TASKS, generate_problems

    chance = random.Random(seed)
    cases: list[CheckCase] = []
    for problem in generate_problems(steps=(2, 6), count=count, seed=seed, task=task):
        lines = (problem.solution or "").splitlines()
        at = chance.randrange(len(lines) - 1)
        wrong = TASKS[task].plant_error(problem, at, chance)
        for steps, error in ((lines, None), (wrong, at)):
            # As they are generated: all but the last end in a newline.
            texts = tuple(f"{line}\n" for line in steps[:-1])
            cases.append(CheckCase(question=problem.question, steps=(*texts, steps[-1]), first_error=error))
    return cases


class _CaseLine(BaseModel):
    """A line of a file of cases."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(min_length=1)
    steps: list[str] = Field(min_length=1)
    first_error: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _check(self) -> _CaseLine:
        if self.first_error is not None and self.first_error >= len(self.steps):
            raise ValueError(f"first_error is {self.first_error} and there are {len(self.steps)} steps, from 0")
        return self


def read_cases(path: Path) -> list[CheckCase]:
    """Return the cases in a JSON Lines file: question, steps, and first_error (from 0; absent or null if all is right).

    Raises:
        UsageError: if the file cannot be read, is empty, or a line is none; with its number.
    """
    try:
        lines = list(json_lines(path.read_bytes().decode("utf-8-sig")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({error})", "check the path") from error
    if not lines:
        raise UsageError(f"{path} has no lines", "give it one JSON object a line")
    cases: list[CheckCase] = []
    for number, line in lines:
        try:
            read = _CaseLine.model_validate(read_json(line))
        except MalformedText as error:
            raise UsageError(f"{path}, line {number}: {error.message}", "correct this line") from error
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise UsageError(f"{path}, line {number}: {where}: {first['msg']}", "correct this line") from error
        cases.append(CheckCase(question=read.question, steps=tuple(read.steps), first_error=read.first_error))
    return cases
