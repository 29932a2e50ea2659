"""Several workers behind one engine: runs are shared out, and the death of one touches no run of another."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

import ramify
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.engine.runtime.serve.processes import ProcessWorker
from ramify.errors import UsageError

from .test_survival import workers_of

PROBLEMS = ramify.generate_problems(steps=(2, 4), count=6, seed=12)
STRATEGY = ramify.MajorityVote(width=4)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert workers_of(os.getpid()) == []


def models_of(engine: ramify.Engine) -> list[LoadedModel]:
    policy = engine.policy
    assert isinstance(policy, LlamaPolicy)
    return [policy.model, *policy.model._others]


def pids(loaded_models: list[LoadedModel]) -> list[int]:
    found: list[int] = []
    for loaded in loaded_models:
        worker = loaded.runtime.worker
        assert isinstance(worker, ProcessWorker)
        found.append(worker.process.pid)
    return found


async def test_runs_are_shared_out_and_give_the_answers_of_one_worker() -> None:
    async with ramify.Engine(reward=None) as engine:
        alone = {each.id: (await engine.solve(each, strategy=STRATEGY)).answer for each in PROBLEMS}
    async with ramify.Engine(reward=None, workers=2) as engine:
        loaded_models = models_of(engine)
        assert sorted(pids(loaded_models)) == sorted(workers_of(os.getpid()))
        assert [loaded.config.gpu_turn for loaded in loaded_models] == [0, 1]
        found = {
            each.problem_id: each.answer async for each in engine.solve_many(PROBLEMS, parallel=4, strategy=STRATEGY)
        }
        work = [(await loaded.statistics()).tokens for loaded in loaded_models]
    assert min(work) > sum(work) / 5
    # Logits are not bit-equal across batch shapes, so a near tie may fall differently.
    assert sum(found[each.id] == alone[each.id] for each in PROBLEMS) >= len(PROBLEMS) - 1


async def test_a_reward_model_is_in_every_worker_too_and_so_are_the_settings() -> None:
    async with ramify.Engine(workers=2, kv_type="q8_0,q4_0", flash_attention="on") as engine:
        async for solution in engine.solve_many(PROBLEMS[:4], parallel=4, strategy=ramify.Rebase(width=4)):
            assert solution.usage.reward.prompt_tokens > 0
            assert solution.usage.policy.reevaluated_tokens == solution.usage.reward.reevaluated_tokens == 0
        for each in models_of(engine):
            loaded = list(each.runtime._models.values())
            assert len(loaded) == 2
            assert all([(await each.statistics()).tokens > 0 for each in loaded])


async def test_the_death_of_one_worker_is_none_of_the_other() -> None:
    async with ramify.Engine(reward=None, workers=2) as engine:
        loaded_models = models_of(engine)
        before = pids(loaded_models)
        finished = 0
        async for solution in engine.solve_many(PROBLEMS[:4], parallel=4, strategy=STRATEGY):
            finished += 1
            assert len(solution.candidates) == 4
            if finished == 1:
                os.kill(before[1], signal.SIGKILL)
        assert finished == 4
        # One more run for each finds them both alive, the second replaced.
        async for _ in engine.solve_many(PROBLEMS[4:], parallel=2, strategy=STRATEGY):
            pass
        after = pids(loaded_models)
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("workers", [0, -1, 17])
async def test_a_wrong_number_of_workers_is_refused(workers: int) -> None:
    with pytest.raises(UsageError, match=f"workers is {workers}"):
        async with ramify.Engine(workers=workers):
            pass
