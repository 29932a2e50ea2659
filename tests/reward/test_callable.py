"""Rewards from functions, and the scripted double."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

from ramify.errors import RewardError
from ramify.reward.callable import CallableReward
from ramify.reward.protocol import ScoredStep
from ramify.reward.testing import ScriptedReward

pytestmark = pytest.mark.anyio

STEPS = [ScoredStep(node=1, parent=None, path=("a\n",)), ScoredStep(node=2, parent=1, path=("a\n", "bb\n"))]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def scores(reward: Any) -> list[float]:
    session = await reward.open("Q")
    return await session.score(STEPS)


async def test_a_function_scores_each_path() -> None:
    assert await scores(CallableReward(lambda question, steps: len(steps) / 4)) == [0.25, 0.5]


async def test_a_sync_function_runs_beside_the_event_loop() -> None:
    threads: list[threading.Thread] = []

    def score(question: str, steps: tuple[str, ...]) -> float:
        threads.append(threading.current_thread())
        return 0.5

    await scores(CallableReward(score))
    assert threading.current_thread() not in threads
    await scores(CallableReward(score, thread=False))
    assert threads[-1] is threading.current_thread()


async def test_an_async_function_is_awaited() -> None:
    async def score(question: str, steps: tuple[str, ...]) -> float:
        return 0.5

    class Scorer:
        async def __call__(self, question: str, steps: tuple[str, ...]) -> float:
            return 0.75

    assert await scores(CallableReward(score)) == [0.5, 0.5]
    assert await scores(CallableReward(Scorer())) == [0.75, 0.75]
    assert CallableReward(Scorer()).name == "Scorer"


async def test_a_batch_function_gets_all_paths() -> None:
    def score(question: str, paths: list[tuple[str, ...]]) -> list[float]:
        return [len(path) / 4 for path in paths]

    assert await scores(CallableReward(score, batch=True)) == [0.25, 0.5]
    assert await (await CallableReward(score, batch=True).open("Q")).score([]) == []


@pytest.mark.parametrize("wrong", [math.nan, -0.1, 1.1, None, "0.5", math.inf])
async def test_a_score_outside_0_to_1_names_its_node(wrong: Any) -> None:
    with pytest.raises(RewardError, match="gave node 1 the score") as caught:
        await scores(CallableReward(lambda question, steps: wrong, name="mine"))
    assert caught.value.node == 1


async def test_a_wrong_number_of_scores_is_refused() -> None:
    with pytest.raises(RewardError, match="returned 1 scores for 2 paths"):
        await scores(CallableReward(lambda question, paths: [0.5], batch=True))
    with pytest.raises(RewardError, match=r"returned 0\.5 instead of a list"):
        await scores(CallableReward(lambda question, paths: 0.5, batch=True))  # type: ignore[arg-type,return-value]


async def test_a_failing_function_names_the_node_and_the_cause() -> None:
    def score(question: str, steps: tuple[str, ...]) -> float:
        return 1 / 0

    with pytest.raises(RewardError, match=r"'score' failed on node 1: ZeroDivisionError"):
        await scores(CallableReward(score))


async def test_a_script_is_read_by_path_then_by_last_step() -> None:
    assert await scores(ScriptedReward({("a", "bb"): 0.9, ("a",): 0.1})) == [0.1, 0.9]
    assert await scores(ScriptedReward({"bb": 0.9}, default=0.2)) == [0.2, 0.9]
    assert await scores(ScriptedReward(lambda question, steps: len(steps) / 2)) == [0.5, 1.0]
    with pytest.raises(RewardError, match="no score for node 1"):
        await scores(ScriptedReward({"bb": 0.9}))


async def test_a_scripted_reward_notes_what_was_asked_of_it() -> None:
    reward = ScriptedReward({}, default=0.5)
    session = await reward.open("Q")
    await session.score(STEPS)
    await session.release([1])
    await session.close()
    assert (reward.scored, reward.released, reward.closed) == ([1, 2], [1], 1)
