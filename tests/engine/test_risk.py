"""Answers with a stated risk: thresholds keep what they certify, and answers that are not sure are left out."""

from __future__ import annotations

import json
import random
from math import comb

import pytest

import ramify
from ramify.engine.ensembles.fallback import Fallback, solve_with_fallback
from ramify.engine.planning.profile import load_profile
from ramify.engine.planning.risk import RiskRule, binomial_tail, certified_threshold, posterior, risk_rule
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.search.stopping import StopReason
from ramify.search.strategies.sampling import MajorityVote
from ramify.search.votes import majority_posterior
from ramify.solution import Solution
from ramify.testing import ScriptedModel
from ramify.training.calibration import calibrate, grid


@pytest.mark.parametrize(("successes", "trials", "chance"), [(0, 10, 0.1), (3, 20, 0.2), (7, 9, 0.5), (5, 5, 0.3)])
def test_the_binomial_tail_is_the_sum_of_its_terms(successes, trials, chance):
    exact = sum(comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(successes + 1))
    assert binomial_tail(successes, trials, chance) == pytest.approx(exact)


def test_nothing_is_certified_by_few_problems_or_wrong_answers():
    assert certified_threshold([0.99999] * 20, [True] * 20, 0.1) is None
    assert certified_threshold([0.99999] * 400, [False] * 400, 0.1) is None
    assert certified_threshold([], [], 0.1) is None


def test_the_most_lenient_threshold_that_holds_is_taken():
    values = [1 - 2.0**-17] * 200 + [1 - 2.0**-4] * 200 + [0.6] * 200
    right = [True] * 200 + [True] * 195 + [False] * 5 + [False] * 200
    threshold = certified_threshold(values, right, 0.1)
    assert threshold is not None
    assert 0.6 < threshold <= 1 - 2.0**-4
    strict = certified_threshold(values, [True] * 200 + [False] * 400, 0.1)
    assert strict is not None
    assert strict > 1 - 2.0**-4


@pytest.mark.parametrize("level", [0.05, 0.1, 0.2])
def test_certified_thresholds_keep_their_risk_as_often_as_they_say(level):
    """On problems whose posterior overstates: wrong with chance 4 (1 - p), at 300 calibration problems a draw."""
    source = random.Random(7)

    def problem() -> tuple[float, bool]:
        doubt = 2.0 ** -source.uniform(0.5, 17)
        return 1 - doubt, source.random() >= min(0.9, 4 * doubt)

    broken, certified = 0, 0
    for _ in range(200):
        drawn = [problem() for _ in range(300)]
        threshold = certified_threshold([p for p, _ in drawn], [right for _, right in drawn], level)
        if threshold is None:
            continue
        certified += 1
        # The true risk above a threshold: doubt is log-uniform, wrong with chance 4 x doubt.
        doubts = [2.0 ** -(0.5 + 16.5 * (place + 0.5) / 4000) for place in range(4000)]
        given = [min(0.9, 4 * doubt) for doubt in doubts if 1 - doubt >= threshold]
        broken += sum(given) / len(given) > level
    assert certified > 150
    assert broken <= 0.1 * 200 + 12  # 2.8 standard deviations above the promised tenth


def test_levels_that_are_no_shares_are_refused():
    with pytest.raises(UsageError, match="between 0 and 1"):
        certified_threshold([0.9], [True], 1.0)
    for wrong in (0.0, 1.0, -0.1, 3):
        with pytest.raises(UsageError):
            ramify.config.RunConfig(risk=wrong)
    with pytest.raises(UsageError, match="whole searches"):
        ramify.config.RunConfig(risk=0.1, stop=lambda situation: None)


# Rules


def script(question: str, path: tuple[int, ...]) -> str:
    """Easy questions are always answered right; of hard ones half of the paths go wrong."""
    return "The answer is 7." if "easy" in question or path[0] % 2 == 0 else "The answer is 8."


def problems(kind: str, count: int, answer: str = "7") -> list[Problem]:
    return [Problem(id=f"{kind}-{n}", question=f"{kind} {n}", answer=answer) for n in range(count)]


@pytest.fixture
async def profile(tmp_path):
    """Calibrated on 60 easy problems and 40 hard ones, of which half are wrong."""
    given = problems("easy", 60) + problems("hard", 20) + problems("hard again", 20, "8")
    async with ramify.Engine(ScriptedModel(script), None) as engine:
        found = await calibrate(engine, given, grid(["majority"], [8], has_reward=False), source="tests", parallel=8)
    path = tmp_path / "profile.json"
    found.save(path)
    return path


async def test_sure_answers_are_given_and_others_left_out(profile):
    async with ramify.Engine(ScriptedModel(script), None, profile=str(profile)) as engine:
        sure = await engine.solve("easy", strategy=MajorityVote(width=8), risk=0.1)
        unsure = await engine.solve("hard", strategy=MajorityVote(width=8), risk=0.1)
        plain = await engine.solve("hard", strategy=MajorityVote(width=8))
    assert (sure.answer, sure.not_sure) == ("7", False)
    assert sure.risk is not None
    assert (sure.risk["status"], sure.risk["level"], sure.risk["calibration_problems"]) == ("sure", 0.1, 100)
    assert sure.risk["threshold"] <= sure.risk["posterior"] == majority_posterior(8, 0)
    assert (unsure.answer, unsure.text, unsure.not_sure) == (None, "", True)
    assert unsure.risk is not None
    assert (unsure.risk["status"], unsure.risk["withheld"]) == ("not sure", "7")
    assert plain.risk is None
    assert "risk" not in plain.to_dict()
    again = Solution.from_dict(json.loads(json.dumps(unsure.to_dict())))
    assert (again.risk, again.not_sure) == (unsure.risk, True)


async def test_a_search_that_was_cut_is_not_sure(profile):
    async with ramify.Engine(ScriptedModel(script), None, profile=str(profile)) as engine:
        cut = await engine.solve(
            "easy", strategy=MajorityVote(width=8), risk=0.1, budget=ramify.Budget(generated_tokens=20)
        )
    assert cut.stop_reason is StopReason.BUDGET_GENERATED_TOKENS
    assert cut.not_sure


async def test_what_was_not_calibrated_is_refused(profile, tmp_path):
    async with ramify.Engine(ScriptedModel(script), None, profile=str(profile)) as engine:
        with pytest.raises(UsageError, match="no risk was calibrated for majority of 4"):
            await engine.solve("easy", strategy=MajorityVote(width=4), risk=0.1)
        with pytest.raises(UsageError, match="sampling of the model"):
            sampling = ramify.SamplingParams(temperature=0.3)
            await engine.solve("easy", strategy=MajorityVote(width=8), risk=0.1, sampling=sampling)
    async with ramify.Engine(ScriptedModel(script, name="other"), None, profile=str(profile)) as engine:
        with pytest.raises(UsageError, match="calibrated for scripted"):
            await engine.solve("easy", strategy=MajorityVote(width=8), risk=0.1)
    async with ramify.Engine(ScriptedModel(script), None) as engine:
        with pytest.raises(UsageError, match="no risk was calibrated"):
            await engine.solve("easy", strategy=MajorityVote(width=8), risk=0.1)
    old = json.loads(profile.read_text("utf-8"))
    for point in old["points"]:
        del point["posteriors"]
    without = tmp_path / "old.json"
    without.write_text(json.dumps(old), "utf-8")
    with pytest.raises(UsageError, match="no risk was calibrated"):
        risk_rule(load_profile(without), MajorityVote(width=8), 0.1)


async def test_the_second_model_answers_what_the_first_is_not_sure_of(profile):
    async with ramify.Engine(ScriptedModel(script), None, profile=str(profile)) as engine:
        sure = await engine.solve("easy", strategy=MajorityVote(width=8), risk=0.1)
        unsure = await engine.solve("hard", strategy=MajorityVote(width=8), risk=0.1)
        second = await engine.solve("easy", strategy=MajorityVote(width=8))
    fallback = Fallback(model="demo-l")

    async def ask() -> Solution:
        return second

    kept = await solve_with_fallback(sure, fallback, ask)
    assert not kept.model["fallback"]["asked"]
    settled = await solve_with_fallback(unsure, fallback, ask)
    assert (settled.answer, settled.model["fallback"]["decided"]) == ("7", True)
    assert settled.risk is not None
    assert settled.risk["status"] == "not sure"
    assert not settled.not_sure

    async def fail() -> Solution:
        raise ramify.ModelCrashed("gone", "")

    missed = await solve_with_fallback(unsure, fallback, fail)
    assert missed.not_sure


def test_without_a_certified_threshold_nothing_is_sure():
    rule = RiskRule(level=0.05, threshold=None, problems=20, calibration="tests")
    solution = Solution(
        question="q", answer="7", text="7", score=None, stop_reason=StopReason.COMPLETED, usage=ramify.Usage(),
        candidates=(), seed=0, strategy={},
    )  # fmt: skip
    assert rule.judge(solution).not_sure
    assert posterior(solution) == 0.0
