"""Sampling in doubling waves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import StrategyError
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.widening import Widening
from ramify.search.votes import VoteRule, chance_of_change, majority_posterior

from .scripted import Path, Step, play


def agree(path: Path) -> Step:
    return Step(0.9, "same")


def differ(path: Path) -> Step:
    return Step(0.5, str(path[0]))


def test_an_easy_question_ends_with_the_first_wave() -> None:
    assert play(Widening(start_width=4, width=64), agree).finished_count == 4


def test_a_hard_question_takes_the_whole_width() -> None:
    assert play(Widening(start_width=2, width=24, min_change=0.0), differ).finished_count == 24


def test_waves_double_until_the_vote_is_settled() -> None:
    """Two votes each way after the first wave of four; then all agree: 6 to 2 after eight, a posterior of 0.91; 14 to 2
    after sixteen is more than 0.95."""
    answers = "abab" + "a" * 60

    def script(path: Path) -> Step:
        return Step(0.5, answers[path[0]])

    tree = play(Widening(start_width=4, width=64, min_change=0.0), script)
    assert majority_posterior(6, 2) < 0.95 < majority_posterior(14, 2)
    assert tree.finished_count == 16


def test_a_wave_that_would_hardly_change_the_answer_is_not_started() -> None:
    answers = "aaaaaabb"

    def script(path: Path) -> Step:
        return Step(0.5, answers[path[0]] if path[0] < 8 else "a")

    chance = chance_of_change(6, 2, 8)
    assert play(Widening(start_width=8, width=64, min_change=chance * 0.9), script).finished_count > 8
    assert play(Widening(start_width=8, width=64, min_change=chance * 1.1), script).finished_count == 8


def test_scores_settle_a_vote_by_weight_sooner() -> None:
    def sure(path: Path) -> Step:
        return Step(0.99, "same")

    def unsure(path: Path) -> Step:
        return Step(0.5, "same")

    strategy = Widening(start_width=2, width=16, vote=VoteRule.WEIGHTED, min_change=0.0)
    assert play(strategy, sure).finished_count == 2
    assert play(strategy, unsure).finished_count > 2


def test_the_chance_of_change_by_hand() -> None:
    # One vote ahead, one more vote: the runner-up can only draw level.
    assert chance_of_change(1, 0, 1) == 0
    # Level, one more vote: either way alike.
    assert chance_of_change(1, 1, 1) == pytest.approx(0.5)
    # One ahead, two more, both must go to the runner-up: with Beta(2, 1), E[(1 - p)^2] = 1 * 2 / (3 * 4).
    assert chance_of_change(1, 0, 2) == pytest.approx(1 / 6)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 40))
def test_the_chance_of_change_is_a_chance(leader: int, runner_up: int, more: int) -> None:
    chance = chance_of_change(leader, runner_up, more)
    assert -1e-9 <= chance <= 1 + 1e-9
    # Either one of them leads in the end, or they are level.
    assert chance + chance_of_change(runner_up, leader, more) <= 1 + 1e-9


@pytest.mark.parametrize(
    ("options", "message"),
    [({"confidence": 2}, "confidence is 2"), ({"min_change": -1}, "min_change is -1"), ({"vote": "best"}, "posterior")],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        Widening(**options)  # type: ignore[arg-type]


def test_rebase_shares_no_more_than_the_cap_of_a_depth() -> None:
    tree = play(Rebase(width=8, depth_widths=(4, 2)), lambda path: Step(0.5, None if len(path) < 4 else "x"))
    assert [len(tree.level(depth)) for depth in (1, 2, 3, 4)] == [8, 4, 2, 2]
