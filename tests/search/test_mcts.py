"""MCTS: exact trees worked out by hand, and properties over all scripts."""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.errors import StrategyError
from ramify.search.node import NodeState, PruneReason
from ramify.search.strategies.mcts import MCTS, PUCT_BASE, SelectionRule, bounds, priors
from ramify.search.tree import SearchTree

from .scripted import Path, Step, outcome, play, random_script, record


def grow(tree: SearchTree, parent: int, *scores: float) -> list[int]:
    """Add scored open children."""
    ids = list[int]()
    for score in scores:
        node = tree.add_pending(parent)
        record(tree, node.id, Step(score), scored=True)
        ids.append(node.id)
    return ids


def test_scores_are_backed_up_as_a_running_mean() -> None:
    tree = SearchTree()
    a, b = grow(tree, 0, 0.25, 0.75)
    grow(tree, a, 0.5, 1.0)
    assert [(tree.node(i).visits, tree.node(i).value_sum) for i in (0, a, b)] == [(4, 2.5), (3, 1.75), (1, 0.75)]


def test_uct_is_the_mean_and_the_uncertainty() -> None:
    tree = SearchTree()
    a, b = (tree.node(i) for i in grow(tree, 0, 0.5, 0.25))
    grow(tree, a.id, 1.0)
    found = bounds(SelectionRule.UCT, tree.root, [a, b], 2.0, {})
    assert found == pytest.approx([0.75 + 2 * sqrt(log(3) / 2), 0.25 + 2 * sqrt(log(3) / 1)])


def test_a_virtual_visit_brings_nothing() -> None:
    tree = SearchTree()
    a, b = (tree.node(i) for i in grow(tree, 0, 0.5, 0.25))
    found = bounds(SelectionRule.UCT, tree.root, [a, b], 1.0, {0: 1, a.id: 1})
    assert found == pytest.approx([0.25 + sqrt(log(3) / 2), 0.25 + sqrt(log(3) / 1)])


def test_puct_weighs_by_the_mean_log_probability_of_a_token() -> None:
    tree = SearchTree()
    for tokens, logprob, score in (((1, 2), -1.0, 0.5), ((1, 2, 3, 4), -8.0, 0.5)):
        node = tree.add_pending(0)
        tree.complete(node.id, "x", tokens, logprob)
        tree.score(node.id, score)
    likely, rare = tree.children(0)
    p = [exp(-0.5) / (exp(-0.5) + exp(-2)), exp(-2) / (exp(-0.5) + exp(-2))]
    assert priors([likely, rare]) == pytest.approx(p)
    weight = (log((2 + PUCT_BASE + 1) / PUCT_BASE) + 1.25) * sqrt(2)
    found = bounds(SelectionRule.PUCT, tree.root, [likely, rare], 1.25, {})
    assert found == pytest.approx([0.5 + weight * p[0] / 2, 0.5 + weight * p[1] / 2])


def test_equal_priors_where_a_log_probability_is_unknown() -> None:
    tree = SearchTree()
    for logprob in (-1.0, None):
        tree.complete(tree.add_pending(0).id, "x", (1,), logprob)
    assert priors(tree.children(0)) == [0.5, 0.5]


def test_exact_tree() -> None:
    """Two at the root; one selection a round; the better child first, then the lesser one for its few visits.

    After the root: Q(0) = 0.8, Q(1) = 0.6, N(root) = 2. Round 1: 0.8 + s > 0.6 + s, so (0) gets two children, scored
    0.1 and 0.2: Q(0) = (0.8 + 0.1 + 0.2) / 3 = 0.3667, N(0) = 3. Round 2: N(root) = 4,
    0.3667 + sqrt(ln 4 / 3) = 1.046 < 0.6 + sqrt(ln 4) = 1.777, so (1) gets two, scored 0.9 and 0.3. Six steps are
    there: the best two leaves are (1, 0) at 0.9 and (1, 1) at 0.3, and they are brought to their ends.
    """
    scores: dict[Path, float] = {(0,): 0.8, (1,): 0.6, (0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.9, (1, 1): 0.3}

    def script(path: Path) -> Step:
        return Step(scores[path]) if path in scores else Step(0.5, str(path[:2]))

    tree = play(MCTS(width=2, root_children=2, batch=1, explore_steps=6), script)
    assert {node.path for node in tree} == {(), *scores, (1, 0, 0), (1, 1, 0)}
    assert [node.answer for node in tree.finished_nodes()] == ["(1, 0)", "(1, 1)"]
    pruned = {node.path: node.prune_reason for node in tree if node.state is NodeState.PRUNED}
    assert pruned == {(0, 0): PruneReason.ALLOCATION, (0, 1): PruneReason.ALLOCATION}


def test_a_batch_spreads_over_the_tree() -> None:
    tree = SearchTree()
    grow(tree, 0, 0.8, 0.75, 0.1)
    ask = MCTS(width=8, root_children=3, batch=2).decide(tree)
    assert [(wish.node, wish.children) for wish in ask.expansions] == [(1, 2), (2, 2)]


def test_a_batch_never_asks_for_more_paths_than_are_missing() -> None:
    tree = SearchTree()
    grow(tree, 0, *[0.5] * 4)
    ask = MCTS(width=3, root_children=4, batch=8).decide(tree)
    assert sum(wish.children for wish in ask.expansions) == 3


def test_finished_children_are_not_selected() -> None:
    tree = SearchTree()
    first = tree.add_pending(0)
    record(tree, first.id, Step(1.0, "42"), scored=True)
    (other,) = grow(tree, 0, 0.1)
    ask = MCTS(width=4, root_children=2).decide(tree)
    assert [(wish.node, wish.children) for wish in ask.expansions] == [(other, 2)]


def test_an_exhausted_subtree_is_left() -> None:
    tree = SearchTree()
    good, poor = grow(tree, 0, 0.9, 0.1)
    for _ in range(2):
        record(tree, tree.add_pending(good).id, Step(0.9, PruneReason.EMPTY), scored=True)
    ask = MCTS(width=4, root_children=2).decide(tree)
    assert [wish.node for wish in ask.expansions] == [poor]


def test_widening_lets_a_visited_node_have_more_children() -> None:
    tree = SearchTree()
    grow(tree, 0, 0.9, 0.8, 0.7, 0.6)
    # The root was visited 4 times: ceil(3 * 4 ** 0.5) = 6 children.
    ask = MCTS(width=16, root_children=2, widening=3, batch=1).decide(tree)
    assert [(wish.node, wish.children) for wish in ask.expansions] == [(0, 2)]


def test_with_rollouts_every_new_step_is_continued_to_its_end() -> None:
    tree = SearchTree()
    grow(tree, 0, 0.9, 0.8)
    ask = MCTS(width=4, root_children=2, rollouts=True).decide(tree)
    assert [(wish.node, wish.to_the_end) for wish in ask.expansions] == [(1, True), (2, True)]


def test_winding_down_only_finishes() -> None:
    strategy, tree = MCTS(width=3), SearchTree()
    grow(tree, 0, 0.2, 0.9)
    ask = strategy.decide(tree, winding_down=True)
    assert [(wish.node, wish.children, wish.to_the_end) for wish in ask.expansions] == [(2, 2, True), (1, 1, True)]


def test_winding_down_before_the_first_step_still_gives_paths() -> None:
    strategy, tree = MCTS(width=3), SearchTree()
    ask = strategy.decide(tree, winding_down=True)
    assert [(wish.node, wish.children, wish.to_the_end) for wish in ask.expansions] == [(0, 3, True)]


configurations = st.builds(
    MCTS,
    width=st.integers(1, 12),
    selection=st.sampled_from(SelectionRule),
    exploration=st.floats(0.1, 4),
    children=st.integers(1, 4),
    batch=st.integers(1, 6),
    explore_steps=st.integers(1, 60),
    widening=st.sampled_from([0.0, 0.5, 2.0]),
    rollouts=st.booleans(),
    max_depth=st.integers(1, 9),
)


@settings(max_examples=60, deadline=None)
@given(configurations, st.integers(0, 10_000), st.integers(0, 100), st.sampled_from([1, 3, 100]))
def test_whatever_the_configuration(strategy: MCTS, script_seed: int, order: int, burst: int) -> None:
    tree = play(strategy, random_script(script_seed), seed=order, burst=burst)
    assert tree.finished_count <= strategy.width
    assert not tree.open_leaves()
    assert tree.depth <= strategy.max_depth
    assert outcome(tree) == outcome(play(strategy, random_script(script_seed)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"explore_share": 0}, "explore_share is 0"),
        ({"explore_share": 1.5}, "explore_share is 1.5"),
        ({"exploration": -1}, "exploration is -1"),
        ({"widening": -1}, "widening is -1"),
        ({"root_children": 0}, "root_children is 0"),
        ({"selection": "ucd"}, "did you mean 'uct'"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        MCTS(**options)  # type: ignore[arg-type]
