"""Tools by their names: `calculator`, `python`, `mcp:COMMAND`, `module:NAME`, and lists of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from ramify.errors import UsageError
from ramify.text import did_you_mean

from .calculator import CALCULATOR
from .forms import PYTHON
from .mcp_client import PREFIX, McpServers, check_command
from .tool import Tool, tool
from .toolbox import check_names

ToolsGiven: TypeAlias = "str | Sequence[str | Tool | Callable[..., Any]] | None"
"""Tools as a user gives them: a list of names in one text, or a sequence of names, tools and functions."""

BUILT_IN = ("calculator", "python")


def split_names(text: str) -> list[str]:
    """Return the names in a text such as `calculator,python`; a comma in a command stands behind a backslash."""
    marked = text.replace("\\,", "\0")
    return [name.strip().replace("\0", ",") for name in marked.split(",") if name.strip()]


async def load_tools(given: ToolsGiven, servers: McpServers) -> list[Tool]:
    """Return the tools that are given by name or as they are; `servers` starts MCP servers.

    Raises:
        UsageError: if a name stands for no tool, or two tools have one name.
    """
    if given is None:
        return []
    found = list[Tool]()
    for each in split_names(given) if isinstance(given, str) else given:
        if isinstance(each, str) and each.startswith(PREFIX):
            found += await servers.tools(each.removeprefix(PREFIX))
        elif isinstance(each, str):
            found.append(await anyio.to_thread.run_sync(named_tool, each))
        else:
            found.append(each if isinstance(each, Tool) else _from_function(each))
    check_names(found)
    return found


def check_tools(text: str) -> None:
    """Check names of tools as far as that goes without starting anything.

    Raises:
        UsageError: if a name stands for no tool, or two tools have one name.
    """
    names = split_names(text)
    for name in names:
        if name.startswith(PREFIX):
            check_command(name.removeprefix(PREFIX))
    check_names([named_tool(name) for name in names if not name.startswith(PREFIX)])


def named_tool(name: str) -> Tool:
    """Return the tool that a name stands for, those of MCP servers excepted.

    Raises:
        UsageError: if there is none, or programs cannot be run in a sandbox here.
    """
    if name == "calculator":
        return CALCULATOR
    if name == PYTHON:
        from .programs import python_tool
        from .sandbox import best_wall

        best_wall()
        return python_tool()
    if ":" in name:
        return _imported(name)
    known = f"use {', '.join(BUILT_IN)}, mcp:COMMAND or module:NAME"
    raise UsageError(f"there is no tool {name!r}", did_you_mean(name, BUILT_IN, known))


def _imported(name: str) -> Tool:
    module, _, attribute = name.rpartition(":")
    try:
        found: object = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"the tool {name!r} cannot be imported ({error})", "name it as module:NAME") from error
    return found if isinstance(found, Tool) else _from_function(found)


def _from_function(found: object) -> Tool:
    if not callable(found):
        raise UsageError(f"{found!r} is no tool", "pass a function with @ramify.tool, or the name of a tool")
    return tool(found)
