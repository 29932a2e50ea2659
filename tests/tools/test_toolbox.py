"""Calls of tools within limits."""

from __future__ import annotations

import anyio

import ramify
from ramify.tools.forms import Call
from ramify.tools.toolbox import Toolbox, ToolLimits


async def test_a_tool_that_times_out_by_itself_is_not_called_too_slow() -> None:
    @ramify.tool
    async def fetch(seconds: float) -> str:
        """Fetch something.

        Args:
            seconds: how long it takes.
        """
        if seconds < 1:
            raise TimeoutError("the server does not answer")
        await anyio.sleep(seconds)
        return "found"

    toolbox = Toolbox([fetch], ToolLimits(seconds=0.05))
    calls = [Call("fetch", {"seconds": seconds}) for seconds in (0.0, 5.0)]
    own, slow = await toolbox.run(0, calls)
    assert own == "error: TimeoutError: the server does not answer"
    assert slow == "error: fetch took longer than 0.05 s"
