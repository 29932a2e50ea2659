"""Several runs on one question as one solution."""

from __future__ import annotations

from typing import Any

import pytest

import ramify
from ramify.engine.ensembles.vote_pooling import pool
from ramify.errors import UsageError
from ramify.testing import ScriptedModel, ScriptedReward


async def solved(answers: dict[tuple[int, ...], str], strategy: Any, reward: Any = None) -> ramify.Solution:
    model = ScriptedModel(lambda question, path: f"The answer is {answers[path]}.")
    async with ramify.Engine(model=model, reward=reward) as engine:
        return await engine.solve("q", strategy=strategy)


async def test_pooled_paths_vote_together_and_costs_add_up() -> None:
    one = await solved({(0,): "1", (1,): "2"}, ramify.MajorityVote(width=2))
    two = await solved({(0,): "2.0"}, ramify.Greedy())
    both = await pool([one, two])
    assert both.answer == "2"
    assert [(each.answer, each.votes) for each in both.candidates] == [("1", 1), ("2", 2), ("2.0", 2)]
    assert both.usage == one.usage + two.usage
    assert both.strategy["of"] == [one.strategy, two.strategy]
    assert both.tree is None


async def test_pooling_by_weight_leaves_out_what_was_not_scored() -> None:
    reward = ScriptedReward(lambda question, steps: 0.3)
    one = await solved({(0,): "1"}, ramify.WeightedVote(width=1), reward)
    two = await solved({(0,): "2", (1,): "2"}, ramify.MajorityVote(width=2))
    both = await pool([one, two], "weighted")
    assert (both.answer, both.score) == ("1", 0.3)


async def test_a_path_without_a_score_counts_as_one_in_a_weight() -> None:
    reward = ScriptedReward(lambda question, steps: 0.25)
    scored = await solved({(0,): "1", (1,): "2"}, ramify.WeightedVote(width=2), reward)
    plain = await solved({(0,): "1", (1,): "3"}, ramify.MajorityVote(width=2))
    assert [each.weight for each in plain.candidates] == [1, 1]
    mixed = await pool([scored, plain])
    assert [(each.answer, each.votes, each.weight) for each in mixed.candidates] == [
        ("1", 2, 1.25),
        ("2", 1, 0.25),
        ("1", 2, 1.25),
        ("3", 1, 1),
    ]


async def test_a_pool_of_one_is_itself() -> None:
    one = await solved({(0,): "1"}, ramify.Greedy())
    assert await pool([one]) is one


async def test_what_cannot_be_pooled_is_said() -> None:
    one = await solved({(0,): "1"}, ramify.Greedy())
    with pytest.raises(UsageError, match="no solutions"):
        await pool([])
    with pytest.raises(UsageError, match="no path has a score to vote by weighted"):
        await pool([one, one], "weighted")
    with pytest.raises(UsageError, match="different questions"):
        await pool([one, ramify.Solution.from_dict(one.to_dict() | {"question": "other"})])
