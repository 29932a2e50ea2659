"""Record of a saved run: a short header in the first line of its file, the whole run in the second.

Listing reads headers only, so that it never has to read a tree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ramify.errors import MalformedText
from ramify.json_text import read_json
from ramify.solution import Solution

FORMAT_VERSION = 1
ID_PATTERN = "[0-9a-f]{8}"


class UnreadableRun(Exception):
    """Raised when a file does not hold a run that this version can read; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run as a list shows it.

    `created` is when it was saved, with its time zone. `answer` is None if there was none. `strategy` and `model` are
    names, the model's followed by ` + ` and the reward model's if there was one. `seconds` is the run's wall-clock
    time.
    """

    id: str
    created: datetime
    question: str
    answer: str | None
    strategy: str
    model: str
    generated_tokens: int
    seconds: float
    stop_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRun:
    """A run with its tree (None if it was saved without one) and the options that it was started with."""

    id: str
    created: datetime
    solution: Solution
    options: Mapping[str, Any]


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True)

    version: int
    id: str = Field(pattern=f"^{ID_PATTERN}$")
    created: AwareDatetime
    question: str
    answer: str | None
    strategy: str
    model: str
    generated_tokens: int = Field(ge=0)
    seconds: float = Field(ge=0)
    stop_reason: str


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True)

    options: dict[str, Any]
    solution: dict[str, Any]


def summarize(run_id: str, created: datetime, solution: Solution) -> RunSummary:
    """Return the summary of a solution for a list."""
    names = [str(name) for role in ("policy", "reward") if (name := solution.model.get(role)) is not None]
    return RunSummary(
        id=run_id,
        created=created,
        question=_unicode(solution.question),
        answer=None if solution.answer is None else _unicode(solution.answer),
        strategy=str(solution.strategy.get("name", "")),
        model=_unicode(" + ".join(names)),
        generated_tokens=solution.usage.policy.generated_tokens,
        seconds=solution.usage.seconds,
        stop_reason=str(solution.stop_reason),
    )


def write_run(summary: RunSummary, solution: Solution, options: Mapping[str, Any]) -> str:
    """Return the text of a run's file."""
    header = {name: getattr(summary, name) for name in RunSummary.__slots__} | {"created": summary.created.isoformat()}
    body = {"options": dict(options), "solution": solution.to_dict(tree=True)}
    return f"{json.dumps({'version': FORMAT_VERSION, **header})}\n{json.dumps(body)}\n"


def read_header(line: bytes) -> RunSummary:
    """Return the summary in a file's first line; raises UnreadableRun."""
    data = _parsed(line)
    version = data.get("version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UnreadableRun(f"a newer ramify wrote it (format {version}; this one reads {FORMAT_VERSION})")
    try:
        header = _Header.model_validate(data)
    except ValidationError as error:
        raise UnreadableRun(_first(error)) from None
    return RunSummary(**header.model_dump(exclude={"version"}))


def read_run(summary: RunSummary, line: bytes) -> SavedRun:
    """Return the run in a file's second line; raises UnreadableRun."""
    try:
        body = _Body.model_validate(_parsed(line))
        solution = Solution.from_dict(body.solution)
    except ValidationError as error:
        raise UnreadableRun(_first(error)) from None
    except KeyError as error:
        raise UnreadableRun(f"its solution has no {error}") from None
    except (AttributeError, TypeError, ValueError) as error:
        raise UnreadableRun(f"its solution is damaged: {error}") from None
    return SavedRun(id=summary.id, created=summary.created, solution=solution, options=body.options)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        data = read_json(line, lenient=True)
    except MalformedText:
        raise UnreadableRun("it is cut off or was not written by ramify") from None
    if not isinstance(data, dict):
        raise UnreadableRun("it was not written by ramify")
    return data  # pyright: ignore[reportUnknownVariableType]


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _unicode(text: str) -> str:
    """Return text without lone surrogates, which come from arguments that are no text and which pydantic refuses."""
    return text.encode("utf-8", "replace").decode("utf-8")
