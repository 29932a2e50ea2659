"""Runs whose budget refuses steps: limits hold with the price of input, and the stop reason names the limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ramify import Budget, Engine
from ramify.engine.policy.protocol import PolicySession
from ramify.engine.runtime.messages import StepRequest, StepResult, Turn
from ramify.engine.testing import ScriptedSession
from ramify.search.registry import make_strategy
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote
from ramify.testing import ScriptedModel, ScriptedStep


class RereadingSession(ScriptedSession):
    """A session that reads its prompt again for each step, as a server without a prefix cache does."""

    reads = 0

    def input_tokens(self, prefix: str, turns: Sequence[Turn]) -> int:
        return self.reads

    def _write(self, request: StepRequest, left: int) -> StepResult:
        return replace(super()._write(request, left), reevaluated_tokens=self.reads)


class RereadingModel(ScriptedModel):
    """Paths of `steps` steps of 20 tokens; each step reads `reads` tokens again."""

    def __init__(self, reads: int, steps: int) -> None:
        def script(question: str, path: tuple[int, ...]) -> ScriptedStep:
            if len(path) < steps:
                return ScriptedStep(text="a " * 20 + "\n", end=False)
            return ScriptedStep(text="The answer is 3", end=True)

        super().__init__(script)
        self.reads = reads

    async def open(self, question: str) -> PolicySession:
        session = await super().open(question)
        session.__class__ = RereadingSession
        session.reads = self.reads
        return session


PRICES = '[models."*"]\ninput = 10\noutput = 10\n'
"""For a million tokens."""


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.2])
async def test_the_price_of_input_is_reserved_under_a_limit_of_cost(limit: float, tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(PRICES, "utf-8")
    async with Engine(RereadingModel(1000, 4), reward=None, prices=tmp_path / "prices.toml") as engine:
        solution = await engine.solve(
            "q?", strategy=MajorityVote(width=16), budget=Budget(cost=limit), max_step_tokens=64
        )
    assert solution.usage.cost is not None and limit / 2 < solution.usage.cost <= limit
    assert solution.stop_reason == "budget_cost"


@pytest.mark.parametrize("limit", range(300, 1000, 100))
@pytest.mark.parametrize("name", ["majority", "rebase", "mcts"])
async def test_a_run_that_its_input_ends_names_the_limit_and_finishes_a_path(name: str, limit: int) -> None:
    async with Engine(RereadingModel(60, 8), reward=lambda question, steps: 0.5) as engine:
        solution = await engine.solve(
            "q?", strategy=make_strategy(name, width=2), budget=Budget(total_tokens=limit), max_step_tokens=64
        )
    assert solution.usage.total_tokens <= limit
    assert solution.stop_reason == ("completed" if len(solution.candidates) == 2 else "budget_total_tokens")
    # The part that was withheld is spent on the best path.
    assert solution.answer == "3" or any(node.origin == "rescue" for node in solution.tree or ())


@pytest.mark.parametrize("name", ["rebase", "beam", "dvts", "particle", "majority"])
async def test_first_steps_that_the_budget_refused_are_asked_for_again(name: str) -> None:
    model = ScriptedModel(lambda question, path: ScriptedStep(text=f"The answer is {path[0] % 2}", end=True))
    async with Engine(model, lambda question, steps: 0.5) as engine:
        solution = await engine.solve(
            "q", strategy=make_strategy(name, width=16), budget=Budget(generated_tokens=200), max_step_tokens=64
        )
    assert (len(solution.candidates), solution.stop_reason) == (16, "completed")


async def test_a_search_that_lost_steps_to_its_budget_is_not_complete() -> None:
    def script(question: str, path: tuple[int, ...]) -> ScriptedStep:
        return ScriptedStep(text="a b c\n" if len(path) == 1 else "The answer is 1", end=len(path) > 1)

    async with Engine(ScriptedModel(script), lambda question, steps: 0.5) as engine:
        narrow = await engine.solve("q", strategy=Rebase(width=16), budget=Budget(nodes=20))
        whole = await engine.solve("q", strategy=Rebase(width=16), budget=Budget(nodes=32))
    assert len(narrow.candidates) < 16 and narrow.stop_reason == "budget_nodes"
    assert len(whole.candidates) == 16 and whole.stop_reason == "completed"
