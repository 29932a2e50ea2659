"""Tools of MCP servers, which are programs that speak the Model Context Protocol over their input and output."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio.abc import TaskGroup

from ramify.errors import UsageError
from ramify.event_loop import start_task

from .tool import Tool, ToolError

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult

START_LIMIT_S = 30.0
"""Seconds in which a server must have started and told its tools."""
PREFIX = "mcp:"
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")


def check_command(command: str) -> list[str]:
    """Return the words of a server's command, which must exist.

    Raises:
        UsageError: if the client library or the program is not installed.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"the command of {PREFIX}{command} cannot be read ({error})", "close its quotes") from error
    if not words or shutil.which(words[0]) is None:
        raise UsageError(f"there is no program {(words or [''])[0]!r} for {PREFIX}{command}", "check the command")
    try:
        import mcp as _  # noqa: F401
    except ImportError as error:
        raise UsageError("tools of MCP servers need the library mcp", "pip install 'ramify[mcp]'") from error
    return words


@dataclass(slots=True, eq=False)
class _Server:
    """A server that runs, or why it does not; it runs until `lost` is set."""

    session: ClientSession | None = None
    tools: list[Tool] = field(default_factory=list[Tool])
    error: Exception | None = None
    started: anyio.Event = field(default_factory=anyio.Event)
    lost: anyio.Event = field(default_factory=anyio.Event)


class McpServers:
    """Servers of one engine, which end with `tasks`. One that ended by itself is started again when it is needed."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._servers: dict[str, _Server] = {}

    async def tools(self, command: str) -> list[Tool]:
        """Return the tools of the server of a command, which is started if it does not run.

        Raises:
            UsageError: if it does not start or tells no tools.
        """
        return (await self._running(command)).tools

    async def call(self, command: str, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Return the result of a tool of the server of a command.

        Raises:
            ToolError: if the server has ended or does not start again.
        """
        from mcp import MCPError
        from mcp.types import CONNECTION_CLOSED

        try:
            server = await self._running(command)
        except UsageError as error:
            raise ToolError(error.message) from error
        assert server.session is not None
        try:
            return await server.session.call_tool(name, dict(arguments))
        except (MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError) as error:
            if isinstance(error, MCPError) and error.code != CONNECTION_CLOSED:
                raise
            server.lost.set()
            if self._servers.get(command) is server:
                del self._servers[command]
            raise ToolError("the server of this tool has ended; it is started again for the next call") from error

    async def _running(self, command: str) -> _Server:
        """Return the server of a command, started if it does not run; raises as `tools`."""
        words = check_command(command)
        server = self._servers.get(command)
        if server is None:
            server = self._servers[command] = _Server()
            start_task(self._tasks, self._serve, command, words, server)
        with anyio.move_on_after(START_LIMIT_S):
            await server.started.wait()
        if server.error is not None or not server.started.is_set():
            self._servers.pop(command, None)
            why = f"takes longer than {START_LIMIT_S:g} s" if server.error is None else _first_line(server.error)
            raise UsageError(f"the MCP server {command!r} does not start ({why})", "check its command")
        return server

    async def _serve(self, command: str, words: Sequence[str], server: _Server) -> None:
        """Run a server until it is lost or this task is cancelled."""
        from mcp import ClientSession, StdioServerParameters, stdio_client

        try:
            with open(os.devnull, "w") as errors:  # noqa: ASYNC230 -- it is no file
                parameters = StdioServerParameters(command=words[0], args=list(words[1:]))
                async with stdio_client(parameters, errlog=errors) as streams, ClientSession(*streams) as session:
                    with anyio.fail_after(START_LIMIT_S):
                        await session.initialize()
                        listed = (await session.list_tools()).tools
                    if not listed:
                        raise UsageError("the server has no tools")
                    server.session = session
                    server.tools = [
                        self._tool(command, each.name, each.description, each.input_schema) for each in listed
                    ]
                    server.started.set()
                    await server.lost.wait()
        except Exception as error:
            server.error = error
        finally:
            server.started.set()

    def _tool(self, command: str, name: str, description: str | None, schema: Mapping[str, Any]) -> Tool:
        async def call(arguments: Mapping[str, Any]) -> str:
            result = await self.call(command, name, arguments)
            parts = (getattr(each, "text", f"[{each.type}]") for each in getattr(result, "content", ()))
            text = "\n".join(parts)
            if getattr(result, "is_error", False):
                raise ToolError(text or "the tool failed")
            return text

        return Tool(_NO_NAME.sub("_", name), description or name, schema, call)


def _first_line(error: BaseException) -> str:
    first = error
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseExceptionGroup[BaseException]", first).exceptions[0]
    return str(first).partition("\n")[0][:200] or type(first).__name__
