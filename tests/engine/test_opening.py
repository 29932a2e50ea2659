"""Runs of a slow model under a limit of time: the first path comes to its end, then as many as there is time for."""

from __future__ import annotations

import pytest

from ramify import Budget, Engine
from ramify.engine.control.meter import Meter
from ramify.engine.control.opening import Opening
from ramify.engine.runtime.messages import SLOW_PARAMETERS
from ramify.search.node import FinishReason
from ramify.search.registry import make_strategy
from ramify.search.stopping import StopReason
from ramify.search.strategies.sampling import Greedy, MajorityVote
from ramify.search.tree import SearchTree
from ramify.solution import Solution
from ramify.testing import ScriptedModel, ScriptedReward

STEP_S = 0.05
FIRST_PATH = [(0,), (0, 0), (0, 0, 0)]


def slow_model(*, parameters: int = 500_000_000) -> ScriptedModel:
    """Three steps a path, each sequence after the other, as on a processor that gains nothing by batching."""

    def script(question: str, path: tuple[int, ...]) -> str:
        return "some more words\n" if len(path) < 3 else f"The answer is {path[0] % 2 + 7}."

    return ScriptedModel(script, parameters=parameters, delay_s=STEP_S)


async def solve(model: ScriptedModel, name: str, width: int, seconds: float) -> Solution:
    async with Engine(model=model, reward=ScriptedReward(lambda question, path: 0.5)) as engine:
        strategy = make_strategy(name, width=width)
        return await engine.solve("How many?", strategy=strategy, budget=Budget(seconds=seconds), seed=3)


@pytest.mark.parametrize(
    "name", ["majority", "weighted", "best-of-n", "rebase", "beam", "dvts", "particle", "mcts", "ab-mcts", "widening"]
)
async def test_a_wide_search_with_little_time_still_answers(name: str) -> None:
    model = slow_model()
    # One step of all paths takes 3.2 s.
    solution = await solve(model, name, 64, 1.0)
    assert solution.answer is not None
    assert solution.stop_reason is StopReason.BUDGET_SECONDS
    assert model.expanded[:3] == FIRST_PATH


async def test_the_time_that_is_left_goes_into_more_paths() -> None:
    solution = await solve(slow_model(), "majority", 64, 1.5)
    assert len(solution.candidates) > 1
    assert solution.strategy["width"] < 64


async def test_a_width_that_fits_is_searched_as_without_an_opening() -> None:
    opened = await solve(slow_model(), "rebase", 2, 600.0)
    plain = await solve(slow_model(parameters=1_000_000), "rebase", 2, 600.0)
    assert opened.stop_reason is plain.stop_reason is StopReason.COMPLETED
    assert [node.path for node in opened.tree or ()] == [node.path for node in plain.tree or ()]
    assert opened.strategy == plain.strategy


def opening(budget: Budget, width: int = 8, parameters: int = SLOW_PARAMETERS, tree: SearchTree | None = None) -> bool:
    tree = tree or SearchTree()
    strategy = MajorityVote(width=width) if width > 1 else Greedy()
    return not Opening.of(tree, Meter(budget), strategy, parameters).over


def test_only_a_wide_search_of_a_slow_model_with_limited_time_opens_with_one_path() -> None:
    limited = Budget(seconds=10)
    assert opening(limited)
    assert not opening(Budget(generated_tokens=10))
    assert not opening(limited, width=1)
    assert not opening(limited, parameters=SLOW_PARAMETERS - 1)
    begun = SearchTree()
    begun.complete(begun.add_pending(0).id, "a", (1,), None, FinishReason.STEP)
    assert not opening(limited, tree=begun)
