"""A call of a tool by a real model."""

from __future__ import annotations

import pytest

import ramify
from ramify.search.node import NodeState, Origin

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


async def test_a_real_model_calls_the_calculator(real_model):
    system = "You must call the function calculator for every calculation."
    async with ramify.Engine(real_model("qwen"), None, system_prompt=system) as engine:
        solution = await engine.solve(
            "Call the calculator with the expression 4321 * 1234.",
            strategy=ramify.Greedy(),
            tools="calculator",
            max_tool_calls=1,
            max_path_tokens=60,
            budget=ramify.Budget(seconds=500),
        )
    call, result = solution.tree.node(1), solution.tree.node(2)
    assert call.state is NodeState.CONTINUED and "calculator" in call.text
    assert (result.origin, result.text) == (Origin.TOOL, "\n```output\n5332114\n```\n")
    assert solution.usage.policy.reevaluated_tokens == 0
