"""Adaptive-branching MCTS: distribution of its samples, and properties over all scripts."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.errors import StrategyError
from ramify.search.node import NodeState
from ramify.search.strategies.ab_mcts import ABMCTS
from ramify.search.tree import SearchTree

from .scripted import Step, outcome, play, random_script, record


def grow(tree: SearchTree, parent: int, *scores: float) -> list[int]:
    ids = [tree.add_pending(parent).id for _ in scores]
    for node, score in zip(ids, scores, strict=True):
        record(tree, node, Step(score), scored=True)
    return ids


def chosen(tree: SearchTree, draws: int = 300) -> Counter[int]:
    """Return the nodes that single selections choose under many seeds."""
    counts = Counter[int]()
    for seed in range(draws):
        strategy = ABMCTS(width=50, batch=1, selection_seed=seed)
        counts.update(wish.node for wish in strategy.decide(tree).expansions)
    return counts


def test_the_first_round_widens_the_root() -> None:
    strategy, tree = ABMCTS(width=8, batch=4), SearchTree()
    ask = strategy.decide(tree)
    assert [(wish.node, wish.children, wish.to_the_end) for wish in ask.expansions] == [(0, 4, False)]


def test_good_children_and_poor_grandchildren_make_it_wider() -> None:
    tree = SearchTree()
    first, *_ = grow(tree, 0, *[0.95] * 10)
    grow(tree, first, *[0.05] * 10)
    counts = chosen(tree)
    assert counts[0] > 0.9 * sum(counts.values())


def test_poor_children_and_good_grandchildren_make_it_deeper() -> None:
    tree = SearchTree()
    first, *rest = grow(tree, 0, *[0.05] * 10)
    grow(tree, first, *[0.95] * 10)
    counts = chosen(tree)
    assert counts[0] < 0.1 * sum(counts.values())
    below = {first, *(child.id for child in tree.children(first))}
    # Nine untried children have nine chances of a lucky draw, but each far less often than the proven one.
    assert sum(counts[node] for node in below) > 5 * max(counts[node] for node in rest)


def test_choices_are_as_frequent_as_the_posteriors_say() -> None:
    tree = SearchTree()
    first, second, third = grow(tree, 0, 0.4, 0.7, 0.9)
    grow(tree, first, 0.9, 0.8)
    grow(tree, second, 0.6)
    random, rounds = Random(0), 3000

    def beta(*scores: float) -> float:
        return random.betavariate(0.5 + sum(scores), 0.5 + len(scores) - sum(scores))

    expected = Counter[int]()
    for _ in range(rounds):
        wider = beta(0.4, 0.7, 0.9) > beta(0.9, 0.8, 0.6)
        below = {first: beta(0.4, 0.9, 0.8), second: beta(0.7, 0.6), third: beta(0.9)}
        expected[0 if wider else max(below, key=below.__getitem__)] += 1
    found = Counter(dict.fromkeys((0, first, second, third), 0))
    for node, count in chosen(tree, rounds).items():
        path = tree.node(node).path
        found[0 if not path else (first, second, third)[path[0]]] += count
    for child in found:
        share = expected[child] / rounds
        assert abs(found[child] - expected[child]) / rounds < 4 * (2 * share * (1 - share) / rounds) ** 0.5


def test_finished_children_are_never_entered() -> None:
    tree = SearchTree()
    for _ in range(5):
        record(tree, tree.add_pending(0).id, Step(1.0, "42"), scored=True)
    assert set(chosen(tree, 50)) == {0}


def test_a_round_never_asks_for_more_paths_than_are_missing() -> None:
    strategy, tree = ABMCTS(width=3, batch=16), SearchTree()
    ask = strategy.decide(tree)
    assert sum(wish.children for wish in ask.expansions) == 3


def test_after_exploring_the_best_leaves_are_brought_to_their_ends() -> None:
    strategy, tree = ABMCTS(width=2, explore_steps=3), SearchTree()
    grow(tree, 0, 0.3, 0.9, 0.6)
    ask = strategy.decide(tree)
    assert [(wish.node, wish.children, wish.to_the_end) for wish in ask.expansions] == [(2, 1, True), (3, 1, True)]
    assert [node for node, _ in ask.prune] == [1]


def test_winding_down_only_finishes() -> None:
    strategy, tree = ABMCTS(width=2), SearchTree()
    grow(tree, 0, 0.3, 0.9, 0.6)
    ask = strategy.decide(tree, winding_down=True)
    assert all(wish.to_the_end for wish in ask.expansions)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        ABMCTS,
        width=st.integers(1, 10),
        batch=st.integers(1, 8),
        explore_steps=st.integers(1, 50),
        selection_seed=st.integers(0, 5),
        max_depth=st.integers(1, 8),
    ),
    st.integers(0, 10_000),
    st.sampled_from([1, 3, 100]),
)
def test_whatever_the_configuration(strategy: ABMCTS, seed: int, burst: int) -> None:
    tree = play(strategy, random_script(seed), seed=seed, burst=burst)
    assert tree.finished_count <= strategy.width
    assert not tree.open_leaves()
    assert tree.depth <= strategy.max_depth
    assert all(tree.child_count(node.id) == 0 for node in tree if node.state is NodeState.FINISHED)
    assert outcome(tree) == outcome(play(strategy, random_script(seed)))


def test_options_out_of_range() -> None:
    with pytest.raises(StrategyError, match="explore_share is 2"):
        ABMCTS(explore_share=2)
    with pytest.raises(StrategyError, match="batch is 0"):
        ABMCTS(batch=0)
