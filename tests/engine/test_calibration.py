"""Calibration on scripted models, the profile it makes, and the choice from it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ramify
from ramify.engine.planning.profile import UNITS, Cost, Point, Profile, fit, fitted, load_profile
from ramify.engine.planning.strategy_choice import plan
from ramify.errors import UsageError
from ramify.search.strategies.rebase import Rebase
from ramify.statistics import sign_test
from ramify.testing import ScriptedModel
from ramify.training.calibration import Files, calibrate, grid, measure


def point(name: str, width: int, right: int, flops: float, tokens: float = 1.0) -> Point:
    mean = dict.fromkeys(UNITS, tokens) | {"flops": flops}
    return Point(
        strategy={"name": name, "width": width},
        problems=100,
        right=right,
        fitted=right / 100,
        costs={unit: Cost(mean=mean[unit], p90=2 * mean[unit]) for unit in UNITS},
    )


def profile(*points: Point) -> Profile:
    return Profile(policy="p", reward=None, problems="tests", seed=0, points=points)


def test_isotonic_regression_pools_what_goes_down() -> None:
    # By cost: 0.2, 0.5, 0.3, 0.6; the middle two are pooled, weighted 1 to 3.
    assert fitted([(4, 0.6, 1), (1, 0.2, 1), (2, 0.5, 1), (3, 0.3, 3)]) == pytest.approx([0.6, 0.2, 0.35, 0.35])


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1), st.integers(1, 50)), max_size=20))
def test_a_fit_never_falls_with_the_cost_and_keeps_the_mean(points: list[tuple[float, float, int]]) -> None:
    values = fitted(points)
    order = sorted(range(len(points)), key=lambda i: points[i][0])
    assert all(values[a] <= values[b] + 1e-12 for a, b in itertools.pairwise(order))
    weight = sum(count for _, _, count in points)
    if weight:
        mean = sum(accuracy * count for _, accuracy, count in points) / weight
        assert sum(v * count for v, (_, _, count) in zip(values, points, strict=True)) / weight == pytest.approx(mean)


def test_each_strategy_is_fitted_on_its_own() -> None:
    found = {
        (p.strategy["name"], p.strategy["width"]): p.fitted
        for p in fit([point("majority", 1, 50, 1e6), point("rebase", 1, 40, 2e6), point("majority", 4, 40, 4e6)])
    }
    assert found == {("majority", 1): 0.45, ("majority", 4): 0.45, ("rebase", 1): 0.4}


def test_the_front_leaves_out_what_costs_more_for_less() -> None:
    cheap, dear, best = point("majority", 1, 40, 1e6), point("majority", 4, 39, 3e6), point("rebase", 4, 60, 2e6)
    assert profile(dear, best, cheap).front("flops") == (cheap, best)


def test_the_choice_is_the_best_that_nine_of_ten_problems_finish() -> None:
    small, large = point("majority", 1, 40, 1e6), point("majority", 8, 60, 8e6)
    both = profile(small, large)
    assert both.choose(ramify.Budget(flops=16e6)) == large
    assert both.choose(ramify.Budget(flops=15e6)) == small
    assert both.choose(ramify.Budget()) == large


def test_every_limit_counts() -> None:
    slow, quick = point("majority", 8, 60, 1e6, tokens=900), point("majority", 4, 50, 1e6, tokens=100)
    assert profile(slow, quick).choose(ramify.Budget(flops=1e9, generated_tokens=1000)) == quick


def test_without_anything_that_fits_the_cheapest_is_chosen() -> None:
    small, large = point("majority", 1, 40, 1e6), point("majority", 8, 60, 8e6)
    assert profile(large, small).choose(ramify.Budget(flops=10)) == small


def test_of_equals_the_cheaper_is_chosen() -> None:
    small, large = point("majority", 4, 60, 1e6), point("rebase", 8, 60, 8e6)
    assert profile(large, small).choose(ramify.Budget()) == small


def measured(name: str, width: int, outcomes: str) -> Point:
    right = outcomes.count("1")
    return point(name, width, right, float(width)).model_copy(
        update={"problems": len(outcomes), "outcomes": outcomes, "fitted": right / len(outcomes)}
    )


HARDNESS = tuple(place / 100 for place in range(100))


def planned(*points: Point, difficulty: tuple[float, ...] = HARDNESS) -> Any:
    return plan(profile(*points).model_copy(update={"difficulty": difficulty}), ramify.Budget())


def test_one_strategy_is_run_where_difficulty_makes_no_difference() -> None:
    alike = measured("majority", 4, "10" * 50), measured("majority", 8, "10" * 49 + "11")
    assert planned(*alike) == ramify.MajorityVote(width=8)


def test_what_is_better_on_hard_problems_alone_is_run_on_those() -> None:
    easy, hard = measured("majority", 8, "1" * 70 + "0" * 30), measured("majority", 4, "0" * 70 + "1" * 20 + "0" * 10)
    found = planned(easy, hard)
    assert isinstance(found, ramify.Auto)
    assert found.choices == (ramify.MajorityVote(width=8), ramify.MajorityVote(width=4))
    assert found.edges == (0.8,)


def test_a_difference_that_chance_explains_changes_nothing() -> None:
    # Seven of seven in one quintile: 1 in 128, but there are five quintiles and one rival, so 1 in 100 is needed.
    lucky = measured("majority", 4, "0" * 80 + "1" * 6 + "0" * 14)
    assert planned(measured("majority", 8, "1" * 80 + "0" * 20), lucky) == ramify.MajorityVote(width=8)
    luckier = measured("majority", 4, "0" * 80 + "1" * 7 + "0" * 13)
    assert isinstance(planned(measured("majority", 8, "1" * 80 + "0" * 20), luckier), ramify.Auto)


def test_the_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1
    assert sign_test(3, 0) == 1 / 8
    assert sign_test(3, 1) == 5 / 16


def test_what_is_narrower_than_the_probe_is_not_chosen_by_difficulty() -> None:
    narrow = measured("majority", 2, "0" * 80 + "1" * 20)
    assert planned(measured("majority", 8, "1" * 80 + "0" * 20), narrow) == ramify.MajorityVote(width=8)


def test_without_difficulties_one_strategy_is_chosen() -> None:
    rival = measured("majority", 4, "0" * 80 + "1" * 20)
    assert planned(measured("majority", 8, "1" * 80 + "0" * 20), rival, difficulty=()) == ramify.MajorityVote(width=8)


def test_a_saved_profile_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    kept = profile(point("majority", 1, 40, 1e6))
    kept.save(path)
    assert load_profile(path) == kept


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 1, "points": []}'])
def test_what_is_no_profile_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"profile\.json is not a profile"):
        load_profile(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_profile(tmp_path / "nowhere.json")


PROBLEMS = [ramify.Problem(id=str(i), question=f"q{i}", answer=str(i % 2)) for i in range(4)]


def half_right(question: str, path: tuple[int, ...]) -> str:
    return "The answer is 0."


async def test_a_point_holds_what_was_right_and_what_it_cost() -> None:
    async with ramify.Engine(model=ScriptedModel(half_right), reward=None) as engine:
        found = await measure(engine, PROBLEMS, ramify.MajorityVote(width=3))
    assert (found.problems, found.right, found.accuracy) == (4, 2, 0.5)
    # Four tokens and the end, three times; the price of a scripted token is 2 million FLOPs, one more for the prompt.
    assert found.costs["generated_tokens"] == Cost(mean=15, p90=15)
    assert found.costs["flops"].mean == 2e6 * 16
    assert found.costs["nodes"].mean == 3
    assert found.make() == ramify.MajorityVote(width=3)


async def test_a_calibration_goes_on_where_it_was() -> None:
    strategies = grid(["majority", "greedy"], [1, 2], has_reward=False)
    seen = list[tuple[Point, Profile]]()
    model = ScriptedModel(half_right)

    def keep(point: Point, so_far: Profile) -> None:
        seen.append((point, so_far))

    async with ramify.Engine(model=model, reward=None) as engine:
        await calibrate(engine, PROBLEMS, strategies[:1], source="tests", on_point=keep)
        _, partial = seen[0]
        assert len(partial.difficulty) == len(PROBLEMS)
        written = len(model.expanded)
        whole = await calibrate(engine, PROBLEMS, strategies, source="tests", on_point=keep, known=partial)
        # One path of the majority of 2 more and greedy's: the paths that tell the difficulty are not written again.
        assert len(model.expanded) - written == len(PROBLEMS) * 3
    assert [point.strategy["name"] for point, _ in seen] == ["majority", "majority", "greedy"]
    assert len(whole.points) == 3
    assert whole.difficulty == partial.difficulty
    assert (whole.policy, whole.reward) == ("scripted", None)
    assert json.loads(whole.model_dump_json())["version"] == 1


async def test_a_profile_of_other_problems_is_not_gone_on_with() -> None:
    async with ramify.Engine(model=ScriptedModel(half_right), reward=None) as engine:
        with pytest.raises(UsageError, match="measured on tests with seed 0, not on others with seed 0"):
            await calibrate(engine, PROBLEMS, [], source="others", known=profile(point("majority", 1, 1, 1e6)))


async def test_a_profile_of_other_models_is_not_gone_on_with() -> None:
    before = measured("majority", 1, "0101").model_copy(update={"problems": 4})
    known = profile(before).model_copy(update={"policy": "scripted", "policy_file": "a" * 64})
    others = (
        (known.model_copy(update={"policy": "demo-l"}), "is of demo-l with no reward, not of scripted with no reward"),
        (known.model_copy(update={"reward": "demo-prm"}), "is of scripted with demo-prm, not of scripted with no"),
        (profile(point("majority", 1, 1, 1e6)), "measured on 100 problems, not on 4"),
    )
    async with ramify.Engine(model=ScriptedModel(half_right), reward=None) as engine:
        for other, message in others:
            with pytest.raises(UsageError, match=message):
                await calibrate(engine, PROBLEMS, [], source="tests", known=other)
        with pytest.raises(UsageError, match="measured with another policy file"):
            await calibrate(engine, PROBLEMS, [], source="tests", known=known, files=Files("b" * 64))
        same = await calibrate(engine, PROBLEMS, [], source="tests", known=known, files=Files("a" * 64))
    assert same.points == known.points


def test_a_profile_that_cannot_be_written_is_an_error_for_users(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        profile(point("majority", 1, 40, 1e6)).save(tmp_path / "nowhere" / "profile.json")


def test_strategies_that_need_a_reward_are_left_out_without_one() -> None:
    assert [s.name for s in grid(["rebase", "majority", "greedy"], [2], has_reward=False)] == ["majority", "greedy"]
    assert [s.name for s in grid(["rebase", "greedy"], [2, 4], has_reward=True)] == ["rebase", "rebase", "greedy"]
    assert grid(["rebase"], [2], has_reward=True, temperature=0.3) == [Rebase(width=2, temperature=0.3)]


@pytest.mark.parametrize(
    ("problems", "message"),
    [([], "no problems"), ([ramify.Problem(id="x", question="q")], "problem x has no answer")],
)
async def test_calibration_needs_answers(problems: list[ramify.Problem], message: str) -> None:
    async with ramify.Engine(model=ScriptedModel(half_right), reward=None) as engine:
        with pytest.raises(UsageError, match=message):
            await calibrate(engine, problems, [ramify.Greedy()], source="tests")
