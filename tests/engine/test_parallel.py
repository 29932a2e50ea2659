"""Problems at a time: as many as asked for, or as many as can each end a path by the measured speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from ramify import Budget, Engine, Problem
from ramify.batch import BatchConfig, run_batch
from ramify.config import RunConfig
from ramify.engine.planning.parallel import USUAL, ParallelLimit, problems_at_a_time
from ramify.engine.runtime.serve.rates import Rates
from ramify.engine.testing import ScriptedModel, ScriptedSession
from ramify.search.stopping import StopReason
from ramify.search.strategies.sampling import Greedy
from ramify.solution import Solution
from ramify.usage import Usage

FAST = Rates(single_tokens_per_s=400.0, now=True)
SLOW = Rates(single_tokens_per_s=20.0, now=True)


class TimedModel(ScriptedModel):
    """A scripted policy that tells its speed, and counts the questions that it works on at the same time."""

    def __init__(self, *rates: Rates | None, workers: int = 1) -> None:
        super().__init__(lambda question, path: "so\n" if len(path) < 3 else "The answer is 4.", delay_s=0.02)
        self._told = list(rates)
        self.workers = workers
        self.running = self.most = 0

    @property
    def rates(self) -> Rates | None:
        """The next of the given rates; the last one stays."""
        return self._told.pop(0) if len(self._told) > 1 else self._told[0]

    async def open(self, question: str) -> CountedSession:
        """Start a session, and count it until it is closed."""
        self.running += 1
        self.most = max(self.most, self.running)
        return CountedSession(self, question)


class CountedSession(ScriptedSession):
    """A session of a TimedModel."""

    def __init__(self, model: TimedModel, question: str) -> None:
        super().__init__(model, question)
        self._timed = model

    async def close(self) -> None:
        """Count the question as done."""
        self._timed.running -= 1


def solution(answer: str | None, reason: StopReason = StopReason.BUDGET_SECONDS) -> Solution:
    """The outcome of a problem."""
    return Solution(
        answer=answer,
        text="",
        score=None,
        candidates=(),
        problem_id="p",
        question="q",
        stop_reason=reason,
        usage=Usage(),
        seed=0,
        strategy={},
        model={},
    )


def test_the_first_path_of_each_has_to_end_in_half_of_its_time() -> None:
    # 256 tokens take 12.8 s alone, and 8.5 s a sequence together with others.
    assert [problems_at_a_time(SLOW, seconds) for seconds in (10, 30, 40, 60, 120)] == [1, 1, 2, 3, 4]
    assert problems_at_a_time(FAST, 10) == 4
    wide = Rates(single_tokens_per_s=20.0, widest=16, widest_tokens_per_s=200.0, now=True)
    assert [problems_at_a_time(wide, seconds) for seconds in (28, 30)] == [3, 4]
    assert problems_at_a_time(SLOW, 120, path_tokens=2000) == 1
    reads_slowly = Rates(prompt_tokens_per_s=20.0, single_tokens_per_s=400.0, now=True)
    assert problems_at_a_time(reads_slowly, 30) == 1


def test_a_speed_of_another_time_is_not_trusted() -> None:
    assert problems_at_a_time(Rates(single_tokens_per_s=400.0), 100) == 1


@pytest.mark.parametrize(
    ("parallel", "rates", "budget", "expected"),
    [
        (7, SLOW, Budget(seconds=30), 7),
        (None, SLOW, Budget(), USUAL),
        (None, SLOW, Budget(seconds=30), 1),
        (None, FAST, Budget(seconds=30), USUAL),
        (None, None, Budget(seconds=30), USUAL),
    ],
)
async def test_the_limit_follows_from_the_speed_unless_it_is_given(
    parallel: int | None, rates: Rates | None, budget: Budget, expected: int
) -> None:
    assert ParallelLimit.of(parallel, TimedModel(rates), budget).present == expected


async def test_each_worker_has_problems_of_its_own() -> None:
    limit = ParallelLimit.of(None, TimedModel(SLOW, workers=3), Budget(seconds=40))
    assert (limit.present, limit.most) == (6, 12)


async def test_a_problem_that_time_cut_lowers_the_limit_and_answers_raise_it_again() -> None:
    limit = ParallelLimit.of(None, TimedModel(FAST), Budget(seconds=30))
    for _ in range(4):
        await limit.begin()
    limit.note(solution("4"))
    assert limit.present == 4
    limit.note(solution(None))
    assert limit.present == 2
    limit.note(solution(None, StopReason.COMPLETED))
    assert limit.present == 2
    limit.note(solution("4", StopReason.COMPLETED))
    assert limit.present == 3
    given = ParallelLimit.of(4, TimedModel(FAST), Budget(seconds=30))
    given.note(solution(None))
    assert given.present == 4


async def test_waiting_problems_start_when_the_speed_is_known() -> None:
    limit = ParallelLimit.of(None, TimedModel(Rates(), Rates(), Rates(), FAST), Budget(seconds=30))
    await limit.begin()
    with anyio.fail_after(5):
        # Nobody ends, so only the speed can let it start.
        await limit.begin()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"budget": Budget(seconds=40)}, 2),
        ({"budget": Budget(seconds=40), "parallel": 5}, 5),
        ({"budget": Budget()}, USUAL),
    ],
)
async def test_solve_many_runs_as_many_as_the_speed_allows(options: dict[str, Any], expected: int) -> None:
    model = TimedModel(SLOW)
    async with Engine(model=model, reward=None) as engine:
        found = [each async for each in engine.solve_many(["q"] * 12, strategy=Greedy(), **options)]
    assert [each.answer for each in found] == ["4"] * 12
    assert model.most == expected


@pytest.mark.parametrize(("seconds", "expected"), [(20, 1), (40, 2), (None, USUAL)])
async def test_a_batch_runs_as_many_as_the_speed_allows(tmp_path: Path, seconds: float | None, expected: int) -> None:
    problems = [Problem(f"p{n}", f"add {n}", "4") for n in range(8)]
    config, model = BatchConfig(strategy=Greedy(), run=RunConfig(budget=Budget(seconds=seconds))), TimedModel(SLOW)
    async with Engine(model=model, reward=None) as engine:
        report = await run_batch(problems, tmp_path, config, engine=engine)
    assert (report.done, report.correct) == (8, 8)
    assert model.most == expected
