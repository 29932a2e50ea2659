"""Checking a reward: AUC by hand, what it costs, and warnings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.reward.callable import CallableReward
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.spec_loading import BUILTIN_SPECS
from ramify.reward.testing import PieceTokenizer, ScriptedReward, ScriptedScorer
from ramify.statistics import auc
from ramify.training.check import CheckCase, check_reward

RIGHT = CheckCase(question="Q", steps=("a", "b", "c"))
WRONG = CheckCase(question="Q", steps=("a", "x", "c"), first_error=1)
VOCABULARY = PieceTokenizer(special=["<|user|>", "<|assistant|>", "<|step|>", "<|good|>", "<|bad|>"])


def test_auc_counts_pairs_and_halves_of_ties() -> None:
    # Of the six pairs 0.9 wins three, 0.4 one, and ties once: 4.5 / 6.
    assert auc([0.9, 0.4], [0.4, 0.1, 0.8]) == 4.5 / 6
    assert auc([], [0.5]) is None
    assert auc([0.5], []) is None


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1), st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1)
)
def test_auc_is_the_share_of_won_pairs(right: list[float], wrong: list[float]) -> None:
    won = sum((a > b) + 0.5 * (a == b) for a in right for b in wrong)
    assert auc(right, wrong) == pytest.approx(won / (len(right) * len(wrong)))


async def test_prefixes_are_right_up_to_the_first_error() -> None:
    reward = ScriptedReward({"a": 0.5, "b": 0.9, "c": 0.7, "x": 0.2, ("a", "x", "c"): 0.8})
    report = await check_reward(reward, [RIGHT, WRONG])
    assert [(each.right, each.wrong) for each in report.steps] == [(2, 0), (1, 1), (1, 1)]
    assert [each.auc for each in report.steps] == [None, 1.0, 0.0]
    assert (report.steps[1].mean_right, report.steps[1].mean_wrong) == (0.9, 0.2)
    # Right scores 0.5, 0.5, 0.9 and 0.7 against wrong 0.2 and 0.8: five pairs of eight.
    assert report.auc == 5 / 8
    assert report.auc_within == 0.5


async def test_what_the_cache_saves_is_told() -> None:
    reward = LmHeadReward(
        BUILTIN_SPECS["ramify-demo-prm"],  # type: ignore[arg-type]
        VOCABULARY,
        ScriptedScorer(lambda tokens, ids: [float(len(tokens)), 0.0]),
    )
    report = await check_reward(reward, [RIGHT])
    # The prompt's three tokens and two a step; read anew: 5 + 7 + 9.
    assert report.usage.evaluated_tokens == 9
    assert report.full_tokens == 21


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (lambda question, steps: 0.5, "all scores are the same"),
        (lambda question, steps: 0.9 if "x" in steps else len(steps) / 10, "good and bad may have changed places"),
        (lambda question, steps: len(steps) / 10, "score alike"),
    ],
)
async def test_what_looks_wrong_is_said(script, message: str) -> None:  # type: ignore[no-untyped-def]
    report = await check_reward(ScriptedReward(script), [RIGHT, WRONG])
    assert [message in warning for warning in report.warnings] == [True]


async def test_a_reward_that_depends_on_how_paths_are_cut_is_noticed() -> None:
    calls: list[int] = []

    def drifting(question: str, steps: tuple[str, ...]) -> float:
        calls.append(len(steps))
        return 0.1 if "x" in steps else (0.9 if len(calls) % 4 else 0.5)

    report = await check_reward(CallableReward(drifting), [RIGHT, WRONG])
    assert any("apart in one pass and step by step" in warning for warning in report.warnings)


async def test_a_good_reward_gets_no_warning_and_long_solutions_are_counted() -> None:
    reward = LmHeadReward(
        BUILTIN_SPECS["ramify-demo-prm"],  # type: ignore[arg-type]
        VOCABULARY,
        ScriptedScorer(lambda tokens, ids: [0.0 if 5 + ord("x") in tokens else 2.0, 1.0]),
        context_tokens=30,
    )
    long = CheckCase(question="Q", steps=("a" * 40,))
    report = await check_reward(reward, [RIGHT, WRONG, long])
    assert report.auc_within == 1.0
    assert report.warnings == ["1 of 3 solutions are longer than the reward model can read"]
