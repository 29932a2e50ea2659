"""One meter: limits count what the usage says, for every strategy, kind of reward, backend and limit."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest

import ramify
from ramify.engine.testing import ScriptedModel
from ramify.events import BudgetUsed, NodeAdded
from ramify.search.registry import make_strategy, strategy_names
from ramify.usage import RoleUsage, Usage

from . import asking
from .http_server import FakeServer, serving

PROBLEM = ramify.generate_problems(steps=(3, 3), count=1, seed=5)[0]
LIMITS: tuple[tuple[str, float], ...] = (
    ("generated_tokens", 90),
    ("generated_tokens", 400),
    ("total_tokens", 150),
    ("total_tokens", 900),
    ("flops", 3e8),
    ("flops", 3e9),
    ("nodes", 5),
    ("nodes", 30),
    ("seconds", 0.05),
)
"""Limits that cut a run early and late; that of time comes last, since servers may go on after it."""
OPTIONS: dict[str, dict[str, Any]] = {"greedy": {}}


@dataclass
class Setting:
    """Models of one kind. `flops` of a token of the policy and of the reward model."""

    engine: ramify.Engine
    server: FakeServer | None = None

    @property
    def flops(self) -> tuple[float, float]:
        reward = self.engine.reward
        return 2.0 * self.engine.policy.parameters, 2.0 * (0 if reward is None else reward.parameters)


def write(question: str, path: tuple[int, ...]) -> str:
    """Steps of random lengths; paths end at random."""
    random = Random(f"{path}")
    words = "word " * random.randint(1, 30)
    return f"{words}the answer is {random.randint(1, 3)}." if random.random() < 0.3 else f"{words}\n"


def judge(question: str, steps: Any) -> float:
    return Random("".join(steps)).random()


@asynccontextmanager
async def setting(kind: str) -> AsyncGenerator[Setting]:
    match kind:
        case "none" | "function":
            reward = judge if kind == "function" else None
            async with ramify.Engine(ScriptedModel(write, delay_s=0.002), reward) as engine:
                yield Setting(engine)
        case "gguf":
            async with ramify.Engine("demo-s", "demo-prm", isolation="thread") as engine:
                yield Setting(engine)
        case _:
            reward = judge if kind == "remote+function" else None
            with serving(asking.write) as server:
                async with ramify.Engine(await asking.connect(server), reward) as engine:
                    yield Setting(engine, server)


def amount(usage: Usage, name: str, nodes: int) -> float:
    return {
        "generated_tokens": usage.policy.generated_tokens,
        "total_tokens": usage.total_tokens,
        "flops": usage.flops,
        "seconds": usage.seconds,
        "nodes": nodes,
    }[name]


def add_up(usage: Usage, tree: ramify.SearchTree, at: Setting) -> None:
    """Check the usage against what is known otherwise."""
    assert usage.policy.generated_tokens == tree.generated_tokens == sum(node.token_count for node in tree)
    for role, flops in zip((usage.policy, usage.reward), at.flops, strict=True):
        assert role.flops == flops * role.evaluated_tokens
    if not at.flops[1]:
        assert usage.reward == RoleUsage()
    if at.server is not None:
        read = usage.policy.prompt_tokens + usage.policy.cached_tokens + usage.policy.reevaluated_tokens
        assert (at.server.generated, at.server.read) == (usage.policy.generated_tokens, read)


def step_in_flight(tree: ramify.SearchTree, usage: Usage, at: Setting, name: str) -> float:
    """The most that one step of the tree costs: its path read by both models, which may keep nothing."""
    tokens = max((tree.path_token_count(node.id) for node in tree), default=0) + usage.policy.prompt_tokens
    match name:
        case "total_tokens":
            return tokens if at.server else 1
        case "flops":
            return max(at.flops)
        case _:
            return 0


async def check(at: Setting, strategy: Any, name: str, limit: float) -> None:
    budget = ramify.Budget.from_dict({name: limit})
    if at.server is not None:
        at.server.generated = at.server.read = 0
    nodes = generated = 0
    told: Usage | None = None
    async with at.engine.run(PROBLEM, strategy=strategy, budget=budget, seed=3) as run:
        async for event in run:
            if isinstance(event, NodeAdded):
                nodes += 1
                generated += event.generated_tokens
            elif isinstance(event, BudgetUsed):
                told = event.usage
                assert event.usage.policy.generated_tokens == generated
                assert event.fraction == min(1.0, amount(event.usage, name, nodes) / limit)
        solution = await run.result()
    usage, tree = solution.usage, solution.tree
    assert tree is not None and told is not None
    assert replace(told, seconds=0.0) == replace(usage, seconds=0.0)
    assert nodes == len(tree) - 1
    if name != "seconds" or at.server is None:
        add_up(usage, tree, at)
    if name != "seconds":
        # By how much a step exceeds the time depends on the machine.
        assert amount(usage, name, nodes) <= limit + step_in_flight(tree, usage, at, name)


@pytest.mark.parametrize("kind", ["none", "function", "gguf", "remote", "remote+function"])
async def test_a_limit_counts_what_the_usage_says(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ramify.engine.search_driver.REPORT_INTERVAL_S", 0.0)
    failures = list[str]()
    async with setting(kind) as at:
        strategies = [make_strategy(name, **OPTIONS.get(name, {"width": 6})) for name in strategy_names()]
        for limit, value in LIMITS:
            if limit == "flops" and not at.engine.policy.parameters:
                continue
            for strategy in strategies:
                if strategy.uses_reward and at.engine.reward is None:
                    continue
                try:
                    await check(at, strategy, limit, value)
                except AssertionError as error:
                    failures.append(f"{strategy.name}, {limit} {value}: {error}")
    assert not failures, "\n".join(failures)
