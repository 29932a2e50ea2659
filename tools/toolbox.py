"""Toolbox of one run: runs calls of tools within limits, equal ones below one node once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from ramify.errors import UsageError
from ramify.event_loop import start_task

from .forms import Call, unknown_tool
from .tool import Tool, ToolError

LONGEST_ERROR = 500
"""Characters of an exception's message that a model reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolLimits:
    """Limits of the calls of one run.

    `path_calls` bounds the calls on one path, `run_calls` those of the whole run, and `seconds` each call's time.
    `characters` of a result reach the model; of a longer one the beginning and the end.
    """

    path_calls: int = 8
    run_calls: int = 256
    seconds: float = 10.0
    characters: int = 4000


@dataclass(slots=True)
class _Shared:
    """The result of equal calls."""

    text: str = ""
    done: anyio.Event = field(default_factory=anyio.Event)


class Toolbox:
    """Tools of one run, and the calls that it has made.

    `executed` counts the calls that were run, `shared` those that had the result of an equal one.

    Raises:
        UsageError: if two tools have one name.
    """

    def __init__(self, tools: Sequence[Tool], limits: ToolLimits) -> None:
        self.tools = {each.name: each for each in tools}
        self.limits = limits
        self.executed = self.shared = 0
        self._results: dict[tuple[int, str], _Shared] = {}
        check_names(tools)

    async def run(self, parent: int, calls: Sequence[Call]) -> list[str]:
        """Return the result of each call of a step below the node `parent`, as the model reads it; all run at once."""
        results = [""] * len(calls)

        async def one(place: int, call: Call) -> None:
            results[place] = await self._once(parent, call)

        async with anyio.create_task_group() as tasks:
            for place, call in enumerate(calls):
                start_task(tasks, one, place, call)
        return results

    async def _once(self, parent: int, call: Call) -> str:
        key = parent, call.key
        known = self._results.get(key)
        if known is not None:
            self.shared += 1
            await known.done.wait()
            return known.text
        shared = self._results[key] = _Shared()
        try:
            shared.text = await self._execute(call)
        except BaseException:
            del self._results[key]
            shared.text = "error: cancelled"
            raise
        finally:
            shared.done.set()
        return shared.text

    async def _execute(self, call: Call) -> str:
        tool = self.tools.get(call.name)
        if tool is None:
            return unknown_tool(call.name, self.tools)
        if self.executed >= self.limits.run_calls:
            return "error: no more calls are allowed; answer with what is known"
        self.executed += 1
        try:
            with anyio.move_on_after(self.limits.seconds):
                return cut_middle(await tool.call(call.arguments), self.limits.characters)
            return f"error: {call.name} took longer than {self.limits.seconds:g} s"
        except ToolError as error:
            return cut_middle(f"error: {error}", self.limits.characters)
        except Exception as error:
            return f"error: {cut_middle(f'{type(error).__name__}: {error}', LONGEST_ERROR)}"


def check_names(tools: Sequence[Tool]) -> None:
    """Check that each tool has a name of its own.

    Raises:
        UsageError: if two have one.
    """
    seen = set[str]()
    for each in tools:
        if each.name in seen:
            raise UsageError(f"two tools have the name {each.name}", "give each a name of its own")
        seen.add(each.name)


def cut_middle(text: str, most: int) -> str:
    """Return a text of at most about `most` characters: of a longer one the beginning and the end."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
