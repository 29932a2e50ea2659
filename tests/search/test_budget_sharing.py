"""Sharing one budget among problems."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import SearchError
from ramify.search.budget_sharing import Allocator, EqualSplit, Portfolio, ProblemProgress, Tranche


def standing(*votes: int, each: int = 10) -> ProblemProgress:
    return ProblemProgress(votes=votes, samples=sum(votes), tokens=each * sum(votes))


def test_everybody_gets_a_first_tranche() -> None:
    standings = [standing(4), ProblemProgress(), ProblemProgress(), ProblemProgress()]
    assert Portfolio(first=3).next(standings, 1000, 2) == [Tranche(1, 3), Tranche(2, 3)]


def test_then_the_open_vote_comes_before_the_settled_one() -> None:
    settled, open_vote, leaning = standing(8), standing(4, 4), standing(6, 2)
    tranches = Portfolio(tranche=4).next([settled, open_vote, leaning], 1000, 3)
    assert [each.problem for each in tranches][:1] == [1]
    assert 0 not in [each.problem for each in tranches]


def test_an_open_vote_among_few_answers_comes_before_one_among_many() -> None:
    few, many = standing(4, 4), standing(1, 1, 1, 1, 1, 1, 1, 1)
    assert Portfolio().gain(few) > Portfolio().gain(many)


def test_the_gain_is_taken_for_each_token() -> None:
    short, long = standing(4, 4, each=10), standing(4, 4, each=100)
    assert [each.problem for each in Portfolio().next([long, short], 10_000, 2)] == [1, 0]


def test_nobody_gets_more_than_most_or_than_is_left() -> None:
    assert Portfolio(most=8).next([standing(4, 4)], 1000, 1) == []
    assert Portfolio(tranche=8, most=12).next([standing(4, 4)], 1000, 1) == [Tranche(0, 4)]
    assert Portfolio(tranche=8).next([standing(4, 4)], 35, 1) == [Tranche(0, 3)]
    assert Portfolio(tranche=8).next([standing(4, 4)], 9, 1) == []


def test_nothing_is_spent_where_nothing_is_gained() -> None:
    assert Portfolio().next([standing(20)], 10_000, 1) == []
    assert Portfolio(min_gain=0.0).next([standing(20)], 10_000, 1) == [Tranche(0, 4)]


def test_equal_split_levels_the_samples() -> None:
    split = EqualSplit(tranche=4, most=64)
    assert split.next([standing(8), standing(2, 2), ProblemProgress()], 1000, 2) == [Tranche(2, 4), Tranche(1, 4)]


@given(
    st.sampled_from([Portfolio(), Portfolio(first=2, tranche=7, most=9), EqualSplit(), EqualSplit(tranche=5, most=6)]),
    st.lists(st.lists(st.integers(1, 12), max_size=5).map(lambda votes: standing(*votes)), max_size=12),
    st.integers(0, 2000),
    st.integers(1, 6),
)
def test_tranches_fit(allocator: Allocator, standings: list[ProblemProgress], tokens: int, count: int) -> None:
    tranches = allocator.next(standings, tokens, count)
    assert tranches == allocator.next(standings, tokens, count)
    assert len(tranches) <= count
    assert len({each.problem for each in tranches}) == len(tranches)
    assert all(each.samples >= 1 for each in tranches)
    samples, spent = sum(s.samples for s in standings), sum(s.tokens for s in standings)
    mean = spent / samples if samples else 1.0
    assert sum(each.samples * mean for each in tranches) <= tokens + 1e-6 * len(tranches) + len(tranches)


def simulate(allocator: Allocator, chances: list[float], budget: int, seed: int) -> tuple[int, int]:
    """Play problems whose samples are right with a chance and else one of nine wrong answers; return right, spent."""
    draws, votes = Random(seed), [dict[int, int]() for _ in chances]
    spent = [0] * len(chances)
    while True:
        standings = [
            ProblemProgress(votes=tuple(v.values()), samples=s, tokens=s) for v, s in zip(votes, spent, strict=True)
        ]
        tranches = allocator.next(standings, budget - sum(spent), 1)
        if not tranches:
            break
        for tranche in tranches:
            for _ in range(tranche.samples):
                answer = 0 if draws.random() < chances[tranche.problem] else draws.randrange(1, 10)
                votes[tranche.problem][answer] = votes[tranche.problem].get(answer, 0) + 1
            spent[tranche.problem] += tranche.samples
    right = sum(max(v, key=lambda a: (v[a], -a), default=1) == 0 for v in votes if v)
    return right, sum(spent)


def test_a_budget_is_never_exceeded_and_easy_problems_leave_more_to_hard_ones() -> None:
    chances = [0.95] * 20 + [0.35] * 20
    for seed in range(5):
        for allocator in (Portfolio(), EqualSplit()):
            _, spent = simulate(allocator, chances, 400, seed)
            assert spent <= 400
    # The same draws for both; what is compared is where the samples went, not luck.
    allocator, votes = Portfolio(), [standing(4)] * 20 + [standing(2, 1, 1)] * 20
    assert {each.problem for each in allocator.next(votes, 10_000, 40)} == set(range(20, 40))


@pytest.mark.parametrize("options", [{"first": 0}, {"tranche": 0}, {"most": 0}, {"min_gain": -1}])
def test_options_out_of_range(options: dict[str, float]) -> None:
    with pytest.raises(SearchError, match="use"):
        Portfolio(**options)  # type: ignore[arg-type]
    with pytest.raises(SearchError, match="use"):
        EqualSplit(tranche=0)


def test_a_problem_that_costs_too_much_leaves_the_rest_to_others() -> None:
    dear, cheap = standing(2, 2, each=400), standing(3, 1, each=390)
    assert Portfolio().next([dear, cheap], 395, 4) == [Tranche(1, 1)]
