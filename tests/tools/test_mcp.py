"""Tools of a real MCP server over its input and output."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import anyio
import pytest

import ramify
from ramify.engine.testing import ScriptedModel
from ramify.errors import UsageError
from ramify.search.node import Origin
from ramify.tools.loading import check_tools
from ramify.tools.mcp_client import McpServers
from ramify.tools.tool import ToolError

pytest.importorskip("mcp")
COMMAND = shlex.join([sys.executable, str(Path(__file__).with_name("mcp_server.py"))])


async def test_a_servers_tools_are_listed_and_called():
    async with anyio.create_task_group() as tasks:
        servers = McpServers(tasks)
        tools = {each.name: each for each in await servers.tools(COMMAND)}
        assert set(tools) == {"add", "fail", "leave"}
        assert tools["add"].schema["function"]["parameters"]["required"] == ["a", "b"]
        assert await tools["add"].call({"a": 2, "b": 3}) == "5"
        with pytest.raises(ToolError):
            await tools["add"].call({"a": "x"})
        with pytest.raises(ToolError):
            await tools["fail"].call({})
        assert await servers.tools(COMMAND) == list(tools.values())
        tasks.cancel_scope.cancel()


async def test_a_server_that_ended_is_started_again():
    async with anyio.create_task_group() as tasks:
        servers = McpServers(tasks)
        tools = {each.name: each for each in await servers.tools(COMMAND)}
        for _ in range(2):
            assert await tools["add"].call({"a": 2, "b": 3}) == "5"
            with pytest.raises(ToolError, match="has ended; it is started again"):
                await tools["leave"].call({})
        assert {each.name for each in await servers.tools(COMMAND)} == set(tools)
        assert await tools["add"].call({"a": 4, "b": 3}) == "7"
        tasks.cancel_scope.cancel()


async def test_a_path_calls_a_server():
    call = '<tool_call>{"name": "add", "arguments": {"a": 40, "b": 2}}</tool_call>\n'
    model = ScriptedModel(lambda question, path: (call, "", "\\boxed{42}")[len(path) - 1])
    async with ramify.Engine(model, None) as engine:
        for _ in range(2):
            solution = await engine.solve("q", strategy=ramify.Greedy(), tools=f"calculator,mcp:{COMMAND}")
            assert [node.text for node in solution.tree if node.origin is Origin.TOOL] == ["\n```output\n42\n```\n"]


async def test_a_server_that_does_not_start():
    async with ramify.Engine(ScriptedModel({}), None) as engine:
        with pytest.raises(UsageError, match="does not start"):
            await engine.solve("q", tools=f"mcp:{sys.executable} -c pass")


def test_a_program_that_is_not_there():
    with pytest.raises(UsageError, match="there is no program 'no-such-server'"):
        check_tools("mcp:no-such-server --stdio")
    with pytest.raises(UsageError, match="cannot be read"):
        check_tools("mcp:python 'open")
