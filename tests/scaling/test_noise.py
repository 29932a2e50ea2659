from __future__ import annotations

import math
import statistics

import pytest

from ramify import Engine, UsageError
from ramify.errors import RewardSpecError
from ramify.reward.noise import disturbed, noise, split_noisy


def test_noise_is_standard_normal_and_a_function_of_what_is_read() -> None:
    draws = [noise("q", [f"step {n}"]) for n in range(4000)]
    assert abs(statistics.fmean(draws)) < 0.06
    assert abs(statistics.stdev(draws) - 1) < 0.05
    assert noise("q", ["a", "b"]) == noise("q", ["ab"]) != noise("p", ["ab"])
    assert noise("q", ["ab"], seed=1) != noise("q", ["ab"])


def test_a_shift_moves_the_logit() -> None:
    assert disturbed(0.5, math.log(3)) == pytest.approx(0.75)
    assert disturbed(0.5, -math.log(3)) == pytest.approx(0.25)
    assert disturbed(0.123, 0) == 0.123
    assert 0 <= disturbed(0.0, -50) < disturbed(1.0, 50) <= 1


@pytest.mark.parametrize("name", ["noisy:demo-prm", "noisy:x:demo-prm", "noisy:-1:demo-prm", "noisy:inf:r", "noisy:2:"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(RewardSpecError, match="noisy:2:demo-prm"):
        split_noisy(name)


async def test_the_engine_takes_a_reward_with_noise_by_name() -> None:
    question = "Ann has 3 apples. Ben gives Ann 4 apples. How many apples does Ann have?"
    scores = dict[str, list[float]]()
    for name in ("demo-prm", "noisy:0:demo-prm", "noisy:2:demo-prm"):
        async with Engine(model="demo-s", reward=name, isolation="thread") as engine:
            solution = await engine.solve(question, strategy="weighted")
            scores[name] = [each.score for each in solution.candidates if each.score is not None]
            assert solution.usage.reward.flops > 0
    assert scores["demo-prm"] == pytest.approx(scores["noisy:0:demo-prm"], abs=0.02)
    assert scores["demo-prm"] != pytest.approx(scores["noisy:2:demo-prm"], abs=0.02)
    with pytest.raises(UsageError, match="noisy"):
        async with Engine(model="demo-s", reward="noisy:much:demo-prm"):
            pass
