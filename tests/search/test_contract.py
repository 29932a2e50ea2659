"""The contract of `ramify.search.strategy`, held against every strategy (`play` checks purity and repeated asks)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import ClassVar

import pytest

from ramify.errors import StrategyError
from ramify.search.allocation import RoundingRule
from ramify.search.budget import MOST_PATHS
from ramify.search.node import NodeState, PruneReason
from ramify.search.registry import make_strategy, strategy_names, strategy_option_names, strategy_to_dict
from ramify.search.strategies.ab_mcts import ABMCTS
from ramify.search.strategies.auto import Auto
from ramify.search.strategies.beam import BeamSearch
from ramify.search.strategies.dvts import DVTS
from ramify.search.strategies.mcts import MCTS, SelectionRule
from ramify.search.strategies.particle import ParticleFilter, Resampling
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.refine import Refine
from ramify.search.strategies.sampling import BestOfN, Greedy, MajorityVote, WeightedVote
from ramify.search.strategies.widening import Widening
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import Aggregation, VoteRule, candidates, decide

from .scripted import Step, outcome, play, random_script

STRATEGIES: list[Strategy] = [
    Greedy(),
    MajorityVote(width=5),
    WeightedVote(width=5),
    BestOfN(width=4, aggregation=Aggregation.MIN),
    Rebase(width=8),
    Rebase(width=6, temperature=0.3, aggregation=Aggregation.PRODUCT, rounding=RoundingRule.LARGEST_REMAINDER),
    Rebase(width=7, merge_duplicates=True, max_depth=6, vote=VoteRule.MAJORITY),
    Rebase(width=6, rounding=RoundingRule.PAPER),
    MCTS(width=6),
    MCTS(width=5, selection=SelectionRule.PUCT, widening=1.0, batch=3),
    MCTS(width=4, rollouts=True),
    Rebase(width=8, depth_widths=(6, 3)),
    Widening(start_width=2, width=9),
    Widening(start_width=3, width=8, vote=VoteRule.WEIGHTED, min_change=0.0),
    ABMCTS(width=5),
    ABMCTS(width=6, batch=2, explore_steps=9, aggregation=Aggregation.MEAN),
    BeamSearch(width=8),
    BeamSearch(width=7, children=2, aggregation=Aggregation.MIN),
    DVTS(width=8),
    DVTS(width=7, children=3, aggregation=Aggregation.PRODUCT),
    ParticleFilter(width=6),
    Refine(width=6, revisions=2),
    Refine(width=7, revisions=2, critique=False, vote=VoteRule.BEST),
    Refine(width=3, revisions=5),
    Auto(choices=(MajorityVote(width=5), Rebase(width=7)), edges=(0.5,), probe_paths=3),
    Auto(choices=(MCTS(width=6), ParticleFilter(width=6), DVTS(width=8)), edges=(0.4, 0.6)),
    Auto(choices=(Widening(start_width=4, width=9),), probe_paths=2),
    ParticleFilter(width=5, temperature=0.3, resampling=Resampling.MULTINOMIAL, resampling_seed=4),
]
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: f"{each.name}-{each.width}")


@every_strategy
def test_the_order_of_results_changes_no_path(strategy: Strategy) -> None:
    script = random_script(7)
    expected = outcome(play(strategy, script))
    for seed in range(1, 6):
        for burst in (1, 3, 100):
            assert outcome(play(strategy, script, seed=seed, burst=burst)) == expected


@every_strategy
def test_every_search_ends_with_nothing_left_open(strategy: Strategy) -> None:
    for seed in range(20):
        tree = play(strategy, random_script(seed), seed=seed)
        assert tree.pending_count == 0
        assert not tree.open_leaves()
        assert tree.finished_count <= strategy.width


@every_strategy
def test_finished_and_pruned_nodes_are_never_expanded(strategy: Strategy) -> None:
    for seed in range(10):
        tree = play(strategy, random_script(seed), seed=seed, burst=2)
        for node in tree:
            if node.state in (NodeState.FINISHED, NodeState.PRUNED):
                assert tree.child_count(node.id) == 0


@every_strategy
def test_a_saved_tree_continues_as_if_nothing_had_happened(strategy: Strategy) -> None:
    tree = play(strategy, random_script(3))
    restored = SearchTree.from_dict(tree.to_dict())
    assert strategy.decide(restored) == strategy.decide(tree)


@every_strategy
def test_paths_that_never_finish_stop_at_the_depth_limit(strategy: Strategy) -> None:
    tree = play(strategy, lambda path: Step(0.5))
    assert tree.finished_count == 0
    if isinstance(strategy, MCTS | ABMCTS | Auto | Refine):
        # These bring their paths to the end in one go, so the limit of tokens ends them.
        assert tree.depth <= strategy.max_depth
        return
    assert tree.depth == strategy.max_depth
    assert {node.prune_reason for node in tree.level(strategy.max_depth)} <= {PruneReason.DEPTH, PruneReason.DUPLICATE}


@every_strategy
def test_unfinished_and_invalid_paths_never_vote(strategy: Strategy) -> None:
    tree = play(strategy, random_script(11))
    vote = decide(candidates(tree, strategy.aggregation), strategy.vote, str.__eq__)
    voters = [member.node for group in vote.groups for member in group.members]
    assert sorted(voters) == sorted(node.id for node in tree.finished_nodes())


@every_strategy
def test_tokens_are_counted_once_for_each_node(strategy: Strategy) -> None:
    tree = play(strategy, random_script(2))
    assert tree.generated_tokens == 3 * (len(tree) - 1)


@every_strategy
def test_a_strategy_survives_its_dictionary(strategy: Strategy) -> None:
    assert make_strategy(**strategy_to_dict(strategy)) == strategy


@pytest.mark.parametrize("name", strategy_names())
def test_each_name_makes_its_strategy(name: str) -> None:
    strategy = make_strategy(name)
    assert strategy.name == name
    assert strategy.max_depth >= 1


def test_names_are_sorted_and_complete() -> None:
    assert strategy_names() == [
        "ab-mcts",
        "beam",
        "best-of-n",
        "dvts",
        "greedy",
        "majority",
        "mcts",
        "particle",
        "rebase",
        "refine",
        "weighted",
        "widening",
    ]


def test_an_unknown_strategy_or_option_names_the_nearest() -> None:
    with pytest.raises(StrategyError, match="no strategy 'rebse'; did you mean 'rebase'"):
        make_strategy("rebse")
    with pytest.raises(StrategyError, match="choose one of: ab-mcts, auto, beam, best-of-n"):
        make_strategy("zzz")
    with pytest.raises(StrategyError, match="rebase has no option 'temprature'; did you mean 'temperature'"):
        make_strategy("rebase", temprature=0.2)
    with pytest.raises(StrategyError, match="aggregation cannot be 'lst'; did you mean 'last'"):
        make_strategy("weighted", aggregation="lst")


@pytest.mark.parametrize("value", ["abc", "", "8,4", 1.5, True, -1, 0, float("nan"), 10**30, None, (3, 2), [1]])
@pytest.mark.parametrize("name", strategy_names())
def test_whatever_an_option_is_given_it_is_taken_or_refused_with_its_name(name: str, value: object) -> None:
    for option in strategy_option_names(name):
        try:
            make_strategy(name, **{option: value})
        except StrategyError as error:
            assert str(error).startswith(option)


@pytest.mark.parametrize(
    ("name", "option"),
    [("rebase", "merge_duplicates"), ("mcts", "rollouts"), ("refine", "critique"), ("particle", "resampling_seed")],
)
def test_text_is_no_flag_and_no_seed(name: str, option: str) -> None:
    with pytest.raises(StrategyError, match=f"{option} is 'no'; use"):
        make_strategy(name, **{option: "no"})


def test_one_number_caps_every_depth() -> None:
    assert make_strategy("rebase", depth_widths=8) == make_strategy("rebase", depth_widths=[8])


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_a_width_must_be_a_whole_number_above_zero(value: object) -> None:
    with pytest.raises(StrategyError, match=r"width is .*; use 1 or more"):
        make_strategy("rebase", width=value)


COUNTS = sorted(
    {
        (type(strategy).name, option.name)
        for strategy in STRATEGIES
        for option in fields(strategy)
        if option.init and option.type in ("int", "int | None", "tuple[int, ...]") and "seed" not in option.name
    }
)


@pytest.mark.parametrize(("name", "option"), COUNTS)
@pytest.mark.parametrize("value", [MOST_PATHS + 1, 10**9, 10**5000], ids=["one", "many", "long"])
def test_counts_are_bounded(name: str, option: str, value: int) -> None:
    with pytest.raises(StrategyError, match=f"{option} is .*; use {MOST_PATHS} or less"):
        replace(next(each for each in STRATEGIES if each.name == name), **{option: value})


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf"), "0.1"])
def test_a_temperature_must_be_above_zero(value: object) -> None:
    with pytest.raises(StrategyError, match=r"temperature is .*; use a number above 0"):
        make_strategy("rebase", temperature=value)


def test_options_may_be_plain_text() -> None:
    strategy = make_strategy("rebase", aggregation="min", rounding="paper", vote="best")
    assert (strategy.aggregation, strategy.vote) == (Aggregation.MIN, VoteRule.BEST)


def test_only_voting_by_reward_needs_a_reward() -> None:
    needs = {name: make_strategy(name).uses_reward for name in strategy_names()}
    assert {name for name, needed in needs.items() if not needed} == {"greedy", "majority", "refine", "widening"}


def test_greedy_asks_for_temperature_zero_and_sampling_for_the_runs() -> None:
    tree = SearchTree()
    assert [wish.temperature for wish in Greedy().decide(tree).expansions] == [0.0]
    assert [wish.temperature for wish in MajorityVote().decide(tree).expansions] == [None]


def test_chains_do_not_wait_for_each_other() -> None:
    strategy, tree = MajorityVote(width=3), SearchTree()
    for _ in range(3):
        tree.add_pending(0)
    tree.complete(2, "first to end")
    ask = strategy.decide(tree)
    assert [(wish.node, wish.children) for wish in ask.expansions] == [(2, 1)]


def test_chains_that_were_not_affordable_at_first_start_later() -> None:
    strategy, tree = MajorityVote(width=3), SearchTree()
    tree.add_pending(0)
    ask = strategy.decide(tree)
    assert [(wish.node, wish.children) for wish in ask.expansions] == [(0, 2)]


def test_a_scored_chain_waits_for_its_own_score_only() -> None:
    strategy, tree = WeightedVote(width=2), SearchTree()
    for node_id in (1, 2):
        tree.add_pending(0)
        tree.complete(node_id, "step")
    tree.score(2, 0.5)
    assert [wish.node for wish in strategy.decide(tree).expansions] == [2]


def test_a_search_is_not_done_before_its_last_path_is_scored() -> None:
    for strategy in (WeightedVote(width=1), BestOfN(width=1), Rebase(width=1)):
        tree = SearchTree()
        tree.add_pending(0)
        tree.complete(1, "step")
        tree.finish(1, "42")
        assert not strategy.decide(tree).done
        tree.score(1, 0.5)
        assert strategy.decide(tree).done


def test_a_strategy_of_ones_own_needs_no_row_in_the_registry() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Own(MajorityVote):
        name: ClassVar[str] = "own"
        spice: float = 0.5

    assert strategy_to_dict(Own(width=3)) == {"name": "own", "width": 3, "max_depth": 25, "spice": 0.5}
    with pytest.raises(StrategyError, match="no strategy 'own'"):
        make_strategy("own")
