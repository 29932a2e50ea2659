"""Rewards of programs: the share of the question's examples that a path's code passes, and the results of its tools."""

from __future__ import annotations

import re
from collections.abc import Sequence

import anyio

from ramify.answers.kinds import code_in
from ramify.event_loop import start_task
from ramify.reward.protocol import ModelFreeSession, ScoredStep
from ramify.tools.programs import ExampleRun, run_examples

EXAMPLES, TOOL = "examples", "tool"
"""Names of the rewards."""
NOTHING_KNOWN = 0.5
"""Score of a path without complete code, or without a call of a tool."""
FAILED, WORKED, CHECKED = 0.05, 0.8, 1.0
"""Scores of a path whose last call failed, worked, and worked with assertions in its code."""
_AT_A_TIME = 2
_RESULT = re.compile(r"^(`{3,})output\n(.*?)\n\1[ \t]*$", re.MULTILINE | re.DOTALL)
_ERROR = re.compile(r"^error: |^Traceback \(most recent call last\)|^(?:\w+\.)*\w*(?:Error|Exception)\b", re.MULTILINE)
_ASSERTS = re.compile(r"^\s*assert\b|\\n\s*assert\b", re.MULTILINE)


class ExamplesReward:
    """Scores a path by its code, run in the sandbox: the share of the examples in the question that pass.

    Without examples, code that runs has NOTHING_KNOWN and other code 0. See `ramify.tools.programs.run_examples` for
    the forms of examples.
    """

    parameters = 0
    name = EXAMPLES

    async def open(self, question: str) -> ExamplesSession:
        """Start a session."""
        return ExamplesSession(question)


class ExamplesSession(ModelFreeSession[None]):
    """The programs of one question, each run once, and kept by their text for all paths."""

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question
        self._runs: dict[str, ExampleRun] = {}
        self._limit = anyio.CapacityLimiter(_AT_A_TIME)

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score for each path, in order."""
        programs = [code_in("".join(step.path), closed=True) for step in steps]
        async with anyio.create_task_group() as tasks:
            for program in dict.fromkeys(programs):
                if program is not None and program not in self._runs:
                    start_task(tasks, self._run, program)
        return [NOTHING_KNOWN if each is None else self._score(self._runs[each]) for each in programs]

    async def _run(self, program: str) -> None:
        async with self._limit:
            self._runs[program] = await run_examples(program, self._question)

    @staticmethod
    def _score(run: ExampleRun) -> float:
        share = run.share
        return (NOTHING_KNOWN if run.runs else 0.0) if share is None else share

    async def close(self) -> None:
        """Forget all programs."""
        self._runs.clear()


class ToolReward:
    """Scores a path by the result of its last call of a tool.

    FAILED is an error, also a program's, as of an assertion that does not hold. CHECKED is a result of code with
    assertions, WORKED any other, and NOTHING_KNOWN a path without calls.
    """

    parameters = 0
    name = TOOL

    async def open(self, question: str) -> ToolRewardSession:
        """Start a session."""
        return ToolRewardSession()


class ToolRewardSession(ModelFreeSession[None]):
    """Paths of one question, of which nothing is kept."""

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score for each path, in order."""
        return [score_of_calls("".join(step.path)) for step in steps]


def score_of_calls(text: str) -> float:
    """Return the score of a path's text by its last result of a tool; see `ToolReward`."""
    results = list(_RESULT.finditer(text))
    if not results:
        return NOTHING_KNOWN
    last = results[-1]
    if _ERROR.search(last[2]):
        return FAILED
    before = text[results[-2].end() if len(results) > 1 else 0 : last.start()]
    return CHECKED if _ASSERTS.search(before) else WORKED
