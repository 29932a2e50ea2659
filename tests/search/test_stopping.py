"""Stop rules: known figures, and an exact rule that never changes an answer."""

from __future__ import annotations

import json
from dataclasses import asdict
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.errors import SearchError
from ramify.search.node import FinishReason
from ramify.search.path_rules import PathConfidence
from ramify.search.stopping import (
    AgreementWindow,
    AllOf,
    AnyOf,
    BetaMajority,
    CannotBeOvertaken,
    NoImprovement,
    ScoreThreshold,
    Situation,
    Stop,
    StopRule,
    WeightedPosterior,
    make_stop_rule,
    standing,
)
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import (
    Vote,
    VoteRule,
    candidates,
    chance_of_change,
    decide,
    majority_posterior,
    weighted_posteriors,
)

from .scripted import apply, random_script, record, to_the_end
from .test_contract import STRATEGIES


def finished(*paths: tuple[str, float] | str, rule: VoteRule = VoteRule.MAJORITY, width: int = 16) -> Situation:
    """A situation in which these answers, with their scores, have finished at the root."""
    tree = SearchTree()
    for path in paths:
        answer, score = path if isinstance(path, tuple) else (path, None)
        node = tree.add_pending(0)
        tree.complete(node.id, "x", (1,), -1.0, FinishReason.EOS)
        tree.finish(node.id, answer)
        if score is not None:
            tree.score(node.id, score)
    return Situation(tree, decide(candidates(tree), rule, str.__eq__), width)


@pytest.mark.parametrize(("rivals", "needed"), [(0, 4), (1, 6), (2, 8), (3, 9), (4, 11)])
def test_the_beta_rule_needs_as_many_votes_as_the_paper_says(rivals: int, needed: int) -> None:
    rule = BetaMajority(confidence=0.95)
    assert rule(finished(*["a"] * (needed - 1), *["b"] * rivals)) is None
    stop = rule(finished(*["a"] * needed, *["b"] * rivals))
    assert stop is not None
    assert (stop.rule, stop.detail["posterior"]) == ("beta", majority_posterior(needed, rivals))


@pytest.mark.parametrize(
    ("rule", "situation", "said"),
    [
        ("beta", finished("a", "a", "a", "b"), "beta 0.81 of 0.95"),
        ("beta:0.9", finished("a"), ""),
        ("posterior", finished(("a", 0.9), ("b", 0.3)), "posterior 0.90 of 0.95"),
        ("posterior", finished("a"), ""),
        ("window:3", finished("b", "a", "a"), "window 2 of 3"),
        ("window", finished(), "window 0 of 5"),
        ("lead", finished("a", "a", "a", "b"), "lead 2 with 12 left"),
        ("lead", finished(("a", 0.9), ("b", 0.25), rule=VoteRule.WEIGHTED), "lead 0.65 with 14 left"),
        ("lead", finished(("a", 0.9), rule=VoteRule.BEST), ""),
        ("score", finished(("a", 0.979)), "score 0.97 of 0.98"),
        ("patience:4", finished(("a", 0.5), ("b", 0.9), ("b", 0.9)), "patience 1 of 4"),
        ("window:3,lead,posterior", finished("a"), "window 1 of 3, lead 1 with 15 left"),
    ],
)
def test_a_rule_says_how_far_it_is(rule: str, situation: Situation, said: str) -> None:
    assert standing(make_stop_rule(rule), situation) == said
    assert make_stop_rule(rule)(situation) is None


def test_a_rule_of_ones_own_need_not_say_how_far_it_is() -> None:
    class Never:
        name = "never"

        def __call__(self, situation: Situation) -> Stop | None:
            return None

    rule = AllOf((Never(), ScoreThreshold(score=0.8), CannotBeOvertaken()))
    assert standing(Never(), finished("a")) == ""
    assert standing(rule, finished(("a", 0.5))) == "score 0.50 of 0.8 and lead 1 with 15 left"


def test_the_beta_posterior_is_a_binomial_sum() -> None:
    assert majority_posterior(4, 0) == 1 - 1 / 32
    assert majority_posterior(2, 2) == 0.5
    # Five trials in all: 1, 5 and 10 ways of at most two.
    assert majority_posterior(2, 2) == (1 + 5 + 10) / 32


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_beta_posterior_is_symmetric_and_rises_with_the_lead(leader: int, rival: int) -> None:
    assert majority_posterior(leader, rival) == pytest.approx(1 - majority_posterior(rival, leader))
    assert majority_posterior(leader + 1, rival) > majority_posterior(leader, rival)


def test_third_answers_do_not_count() -> None:
    assert BetaMajority()(finished("a", "a", "a", "a", "b", "c")) is None
    assert BetaMajority()(finished(*["a"] * 6, "b", "c", "d")) is not None


def test_the_beta_rule_keeps_still_when_the_vote_by_weight_has_another_leader() -> None:
    votes = [("often", 0.1)] * 7 + [("sure", 0.9)]
    assert BetaMajority()(finished(*votes, rule=VoteRule.MAJORITY)) is not None
    assert BetaMajority()(finished(*votes, rule=VoteRule.WEIGHTED)) is None


def test_the_weighted_posterior_by_hand() -> None:
    """Answers a (0.9, 0.8) and b (0.6), and one that nobody gave: with two others to each answer,

    a: 0.9 * 0.8 * 0.4/2 = 0.144;  b: 0.1/2 * 0.2/2 * 0.6 = 0.003;  other: 0.1/2 * 0.2/2 * 0.4/2 = 0.001.
    """
    assert weighted_posteriors([[0.9, 0.8], [0.6]]) == pytest.approx([0.144 / 0.148, 0.003 / 0.148])


def test_the_weighted_posterior_stops_on_scores_and_not_without_them() -> None:
    rule = WeightedPosterior(confidence=0.97)
    assert rule(finished(("a", 0.9), ("a", 0.8), ("b", 0.6), rule=VoteRule.WEIGHTED)) is not None
    assert rule(finished(("a", 0.9), ("b", 0.6), rule=VoteRule.WEIGHTED)) is None
    assert rule(finished("a", "a", "a", "a", "a", "a")) is None


def test_a_window_of_agreement() -> None:
    rule = AgreementWindow(window=3)
    assert rule(finished("b", "a", "a", "a")) is not None
    assert rule(finished("a", "a", "a", "b")) is None
    assert rule(finished("b", "b", "b", "b", "a", "a", "a")) is None
    assert rule(finished("a", "a")) is None


def test_a_window_does_not_look_beyond_unfinished_paths() -> None:
    situation = finished("a")
    situation.tree.add_pending(0)
    for _ in range(3):
        node = situation.tree.add_pending(0)
        situation.tree.complete(node.id, "x", (1,), -1.0, FinishReason.EOS)
        situation.tree.finish(node.id, "a")
    vote = decide(candidates(situation.tree), VoteRule.MAJORITY, str.__eq__)
    assert AgreementWindow(window=2)(Situation(situation.tree, vote, 8)) is None


def test_a_lead_that_cannot_be_overtaken() -> None:
    rule = CannotBeOvertaken()
    assert rule(finished("a", "a", "a", "b", width=6)) is None  # b could still draw level
    assert rule(finished("a", "a", "a", "b", width=5)) is not None
    assert rule(finished("a", "a", width=4)) is None  # a new answer could draw level
    assert rule(finished("a", "a", width=3)) is not None


def test_a_lead_by_weight_counts_a_full_score_for_each_path_that_is_left() -> None:
    rule = CannotBeOvertaken()
    votes = [("a", 0.9), ("a", 0.9), ("b", 0.5)]
    assert rule(finished(*votes, rule=VoteRule.WEIGHTED, width=4)) is not None
    assert rule(finished(*votes, rule=VoteRule.WEIGHTED, width=5)) is None
    assert rule(finished(*votes, rule=VoteRule.BEST, width=4)) is None


def test_a_score_is_enough() -> None:
    assert ScoreThreshold(score=0.9)(finished(("a", 0.95), rule=VoteRule.BEST)) is not None
    assert ScoreThreshold(score=0.96)(finished(("a", 0.95), rule=VoteRule.BEST)) is None
    assert ScoreThreshold(score=0.1)(finished("a")) is None


def test_patience_ends_when_nothing_better_comes() -> None:
    rule = NoImprovement(paths=2)
    assert rule(finished(("a", 0.9), ("b", 0.5), ("c", 0.9))) is not None
    assert rule(finished(("a", 0.5), ("b", 0.9), ("c", 0.7))) is None
    assert rule(finished(("a", 0.9), ("b", 0.5))) is None


EVERY_RULE: list[StopRule] = [
    BetaMajority(),
    WeightedPosterior(),
    AgreementWindow(),
    CannotBeOvertaken(),
    ScoreThreshold(),
    NoImprovement(),
]


@pytest.mark.parametrize("rule", EVERY_RULE, ids=lambda rule: rule.name)
def test_no_rule_stops_before_anything_has_an_answer(rule: StopRule) -> None:
    assert rule(finished()) is None


def test_rules_combine() -> None:
    sure, never = ScoreThreshold(score=0.5), ScoreThreshold(score=1.0)
    situation = finished(("a", 0.9), rule=VoteRule.WEIGHTED, width=1)
    assert AnyOf((never, sure))(situation) == sure(situation)
    assert AnyOf((never, never))(situation) is None
    assert AllOf((sure, never))(situation) is None
    both = AllOf((sure, NoImprovement(paths=1)))(finished(("a", 0.9), ("a", 0.8), rule=VoteRule.WEIGHTED))
    assert both is not None
    assert both.rule == "score and patience"
    assert set(both.detail) == {"score.score", "score.threshold", "patience.best", "patience.paths"}
    with pytest.raises(SearchError, match="no rules"):
        AnyOf(())


def test_a_stop_is_plain_data() -> None:
    stop = BetaMajority()(finished(*["a"] * 5))
    assert stop is not None
    assert Stop(**json.loads(json.dumps(asdict(stop)))) == stop


def replay(strategy: Strategy, script_seed: int, order: int) -> tuple[list[Vote], list[Stop | None]]:
    """Play a search, and return the vote and what the exact rule says after each finished path."""
    script, random = random_script(script_seed), Random(order)
    tree, whole = SearchTree(), set[int]()
    votes, stops = list[Vote](), list[Stop | None]()
    while True:
        ask = strategy.decide(tree)
        whole |= {child.id for child in apply(tree, ask)}
        pending = tree.pending()
        if not pending:
            return votes, stops
        node = random.choice(pending)
        before = tree.finished_count
        step = to_the_end(script, node.path) if node.id in whole else script(node.path)
        record(tree, node.id, step, scored=strategy.uses_reward)
        if tree.finished_count > before:
            now = strategy.settled(tree)
            votes.append(decide(candidates(tree, now.aggregation), now.vote, str.__eq__))
            stops.append(CannotBeOvertaken()(Situation(tree, votes[-1], now.width)))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(STRATEGIES), st.integers(0, 100_000), st.integers(0, 100))
def test_the_exact_rule_never_changes_the_answer(strategy: Strategy, script_seed: int, order: int) -> None:
    votes, stops = replay(strategy, script_seed, order)
    for vote, stop in zip(votes, stops, strict=True):
        if stop is not None:
            assert vote.answer == votes[-1].answer


def test_the_exact_rule_does_stop_some_searches() -> None:
    stopped = 0
    for strategy in STRATEGIES:
        for seed in range(10):
            stopped += any(replay(strategy, seed, seed)[1])
    assert stopped > 20


def test_a_path_that_is_less_confident_than_the_first_ones_is_cut() -> None:
    tree = SearchTree()
    for logprob in (-1.0, -2.0, -3.0):
        node = tree.add_pending(0)
        tree.complete(node.id, "x", (1, 2), logprob, FinishReason.EOS)
        tree.finish(node.id, "a")
    for logprob in (-2.9, -3.1):
        tree.complete(tree.add_pending(0).id, "y\n", (1, 2), logprob)
    # The lowest of the first three is -1.5 a token; the last path has -1.55.
    assert PathConfidence(percentile=10, warm_up=3)(tree) == [5]
    assert PathConfidence(percentile=50, warm_up=3)(tree) == [4, 5]
    assert PathConfidence(percentile=10, warm_up=4)(tree) == []


def test_no_path_is_cut_before_the_first_ones_have_ended() -> None:
    tree = SearchTree()
    tree.add_pending(0)
    tree.complete(tree.add_pending(0).id, "y\n", (1, 2), -9.0)
    assert PathConfidence(warm_up=1)(tree) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("beta", BetaMajority()),
        ("beta:0.9", BetaMajority(confidence=0.9)),
        ("window:5", AgreementWindow(window=5)),
        ("score:0.98", ScoreThreshold(score=0.98)),
        ("lead", CannotBeOvertaken()),
        ("posterior:0.99", WeightedPosterior(confidence=0.99)),
        ("patience:3", NoImprovement(paths=3)),
        ("beta, lead", AnyOf((BetaMajority(), CannotBeOvertaken()))),
    ],
)
def test_rules_from_text(text: str, rule: StopRule) -> None:
    assert make_stop_rule(text) == rule


@pytest.mark.parametrize("name", ["beta", "lead", "patience", "posterior", "score", "window"])
def test_every_name_makes_a_rule(name: str) -> None:
    assert make_stop_rule(name).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bta", "did you mean 'beta'"),
        ("", "choose one of: beta, lead"),
        ("beta:x", "cannot take 'x'"),
        ("lead:3", "cannot take '3'"),
        ("window:2.5", "cannot take '2.5'"),
        ("beta:2", "cannot take '2'|confidence is 2.0"),
        ("window:0", "cannot take '0'|window is 0"),
    ],
)
def test_wrong_text_is_said(text: str, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        make_stop_rule(text)


@pytest.mark.parametrize("kind", [lambda: PathConfidence(percentile=0), lambda: PathConfidence(warm_up=0)])
def test_wrong_numbers_of_a_path_rule_are_said(kind: Any) -> None:
    with pytest.raises(SearchError, match="use"):
        kind()


def test_large_waves_have_a_chance_too() -> None:
    # With all votes for one answer, the other one leads in the end with chance 1 in 2 to the power of about as many.
    assert chance_of_change(3000, 3000, 5000) == pytest.approx(0.5, abs=0.01)
    assert chance_of_change(5000, 0, 5000) < 1e-12
