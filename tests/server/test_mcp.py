"""The MCP server through the protocol's own client: in this process over a script, and as a program over demo-m."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters

from ramify.engine.engine import Engine
from ramify.engine.testing import ScriptedModel
from ramify.server.config import ServerConfig
from ramify.server.mcp_server import SolveTool

from .conftest import QUESTION, answers, score


@asynccontextmanager
async def connected(script: Any = answers, *, delay_s: float = 0.0, **config: Any) -> AsyncIterator[Client]:
    async with Engine(ScriptedModel(script, delay_s=delay_s), score) as engine:
        async with Client(SolveTool(engine, ServerConfig(**config)).server()) as client:
            yield client


async def test_a_question_is_solved_within_a_budget():
    async with connected() as client:
        listed = (await client.list_tools()).tools
        result = await client.call_tool(
            "solve", {"question": QUESTION, "strategy": "weighted", "width": 4, "max_generated_tokens": 500, "seed": 3}
        )
    assert [tool.name for tool in listed] == ["solve"]
    assert listed[0].input_schema["required"] == ["question"]
    assert not result.is_error
    found = result.structured_content
    assert (found["answer"], found["text"]) == ("7", "Step of child 0.\nThe answer is 7.")
    assert (found["strategy"], found["stop_reason"], found["seed"]) == ("weighted", "completed", 3)
    assert [(vote["answer"], vote["votes"]) for vote in found["votes"]] == [("7", 2), ("8", 1), ("9", 1)]
    assert 0.9 < found["posterior"] <= 1


async def test_a_limit_of_the_call_replaces_those_of_the_server():
    async with connected(defaults={"max_nodes": 2, "strategy": "majority"}) as client:
        short = await client.call_tool("solve", {"question": QUESTION})
        longer = await client.call_tool("solve", {"question": QUESTION, "settings": {"max_nodes": 50}})
    assert short.structured_content["stop_reason"] == "budget_nodes"
    assert longer.structured_content["stop_reason"] == "completed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"question": "q", "strategy": "rebas"}, "rebas"),
        ({"question": "q", "width": 4, "settings": {"width": 5}}, "width is given twice"),
        ({"question": "q", "settings": {"tools": "python"}}, "not for requests"),
        ({"question": "q", "settings": {"no_such": 1}}, "no_such"),
        ({"question": "  "}, "empty"),
        ({"question": ""}, "question"),
        ({"question": "q", "max_seconds": -1}, "max_seconds"),
        ({}, "question"),
    ],
)
async def test_wrong_calls_are_told_why(arguments, message):
    async with connected() as client:
        result = await client.call_tool("solve", arguments)
    assert result.is_error
    assert message in result.content[0].text


async def test_progress_is_told_and_a_cancelled_call_ends_its_search():
    told = list[tuple[float, str]]()
    first = anyio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message or ""))
        first.set()

    def endless(question: str, path: tuple[int, ...]) -> str:
        return "On and on.\n"

    model = ScriptedModel(endless, delay_s=0.02)
    async with Engine(model, None) as engine:
        tool = SolveTool(engine, ServerConfig(max_runs=1))
        async with Client(tool.server()) as client, anyio.create_task_group() as tasks:
            settings = {"max_path_tokens": 40_000, "max_step_tokens": 20, "max_nodes": 100_000}
            given = {"question": "q", "strategy": "majority", "settings": settings}

            async def call() -> None:
                await client.call_tool("solve", given, progress_callback=note)

            tasks.start_soon(call)
            await first.wait()
            tasks.cancel_scope.cancel()
        written = len(model.expanded)
        await anyio.sleep(0.1)
        assert len(model.expanded) <= written + 1
    assert 0 < told[0][0] < 1
    assert "tokens" in told[0][1]


async def test_the_program_answers_over_stdin_and_stdout():
    command = StdioServerParameters(command=sys.executable, args=["-m", "ramify", "mcp", "--model", "demo-m"])
    async with Client(command) as client:
        result = await client.call_tool("solve", {"question": QUESTION, "width": 8, "max_generated_tokens": 2000})
    assert not result.is_error, result.content
    assert result.structured_content["answer"] == "7"
    assert 0 < result.structured_content["generated_tokens"] <= 2000


def test_bad_options_end_the_program_before_anything_is_loaded():
    done = subprocess.run(
        [sys.executable, "-m", "ramify", "mcp", "--strategy", "rebas"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert "rebas" in done.stderr
    assert not done.stdout
