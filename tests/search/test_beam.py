"""Beam search and DVTS: exact trees worked out by hand, and mistakes of other implementations."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.search.node import NodeState, PruneReason
from ramify.search.strategies.beam import BeamSearch, deal_best
from ramify.search.strategies.dvts import DVTS
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import candidates

from .scripted import Path, Step, outcome, play, random_script


def pruned(tree: SearchTree) -> set[Path]:
    return {node.path for node in tree if node.state is NodeState.PRUNED}


def test_beam_keeps_the_best_and_continues_each_as_often() -> None:
    """Width 4 by 2: of depth 1 the best two go on with two children each, and of depth 2 the best two again."""
    scores: dict[Path, float] = {(0,): 0.1, (1,): 0.9, (2,): 0.5, (3,): 0.7}
    scores |= {(1, 0): 0.2, (1, 1): 0.3, (3, 0): 0.8, (3, 1): 0.6}

    def script(path: Path) -> Step:
        return Step(scores[path]) if path in scores else Step(0.5, "done")

    tree = play(BeamSearch(width=4, children=2), script)
    assert pruned(tree) == {(0,), (2,), (1, 0), (1, 1)}
    assert [node.path for node in tree.finished_nodes()] == [(3, 0, 0), (3, 0, 1), (3, 1, 0), (3, 1, 1)]


def test_a_finished_path_leaves_the_beam_and_is_not_copied() -> None:
    """(0) finishes at depth 1, so three places are left: two beams are kept, the better one with two children."""
    scores = {(1,): 0.6, (2,): 0.9, (3,): 0.2}

    def script(path: Path) -> Step:
        return Step(1.0, "early") if path == (0,) else Step(scores[path]) if path in scores else Step(0.5, "late")

    tree = play(BeamSearch(width=4, children=2), script)
    assert [node.path for node in tree.finished_nodes()] == [(0,), (1, 0), (2, 0), (2, 1)]
    assert pruned(tree) == {(3,)}


def test_equal_scores_go_by_path() -> None:
    tree = play(BeamSearch(width=4, children=2), lambda path: Step(0.5, None if len(path) == 1 else "x"))
    assert pruned(tree) == {(2,), (3,)}


@pytest.mark.parametrize(
    ("scores", "places", "most", "counts"),
    [
        ([0.1, 0.9, 0.5], 3, 2, [0, 2, 1]),
        ([0.1, 0.9, 0.5], 1, 4, [0, 1, 0]),
        ([0.3], 8, 4, [4]),
        ([0.2, 0.2], 4, 4, [4, 0]),
        ([0.1, 0.2, 0.3, 0.4], 5, 2, [0, 1, 2, 2]),
    ],
)
def test_places_are_dealt_to_the_best(scores: list[float], places: int, most: int, counts: list[int]) -> None:
    assert deal_best(scores, places, most) == counts


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 40), st.integers(1, 8))
def test_dealing_spends_all_places_that_fit(scores: list[float], places: int, most: int) -> None:
    counts = deal_best(scores, places, most)
    kept = min(len(scores), -(-places // most))
    assert sum(counts) == min(places, kept * most)
    assert sum(count > 0 for count in counts) == kept
    assert min(s for s, c in zip(scores, counts, strict=True) if c) >= max(
        (s for s, c in zip(scores, counts, strict=True) if not c), default=0.0
    )


def test_dvts_searches_subtrees_on_their_own() -> None:
    """Width 4 by 2: (0), (1) and (2), (3) are two subtrees; the best of each goes on, though (0) beats (2) and (3)."""
    scores: dict[Path, float] = {(0,): 0.9, (1,): 0.8, (2,): 0.1, (3,): 0.2}
    scores |= {(0, 0): 0.3, (0, 1): 0.4, (3, 0): 0.7, (3, 1): 0.6}

    def script(path: Path) -> Step:
        return Step(scores[path]) if path in scores else Step(0.5, "done")

    tree = play(DVTS(width=4, children=2), script)
    assert pruned(tree) == {(1,), (2,), (0, 0), (3, 1)}
    assert [node.path for node in tree.finished_nodes()] == [(0, 1, 0), (0, 1, 1), (3, 0, 0), (3, 0, 1)]


def test_a_dvts_subtree_ends_with_its_best_step() -> None:
    def script(path: Path) -> Step:
        return Step(0.9, "best") if path == (0,) else Step(0.5, None if len(path) < 3 else "late")

    tree = play(DVTS(width=4, children=2), script)
    # (1) is pruned as its subtree has its result; (2) wins the tie of the other subtree.
    assert [node.path for node in tree.finished_nodes()] == [(0,), (2, 0, 0), (2, 0, 1)]
    assert {(1,), (3,), (2, 1)} == pruned(tree)


def test_a_finished_sibling_takes_a_place_of_its_dvts_subtree() -> None:
    def script(path: Path) -> Step:
        return Step(0.1, "poor") if path == (0,) else Step(0.5, None if len(path) < 2 else "good")

    tree = play(DVTS(width=3, children=3), script)
    assert [node.path for node in tree.finished_nodes()] == [(0,), (1, 0), (1, 1)]


@pytest.mark.parametrize("strategy", [BeamSearch(width=6, children=3), DVTS(width=6, children=3)])
def test_unfinished_siblings_never_vote(strategy: Strategy) -> None:
    for seed in range(20):
        tree = play(strategy, random_script(seed))
        voters = {each.node for each in candidates(tree)}
        assert all(tree.node(node).state is NodeState.FINISHED and tree.child_count(node) == 0 for node in voters)
        assert all(node.prune_reason is not PruneReason.STOPPED for node in tree)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([BeamSearch, DVTS]),
    st.integers(1, 12),
    st.integers(1, 6),
    st.integers(0, 10_000),
    st.sampled_from([1, 4, 100]),
)
def test_whatever_the_configuration(kind: type, width: int, children: int, seed: int, burst: int) -> None:
    strategy = kind(width=width, children=children, max_depth=8)
    tree = play(strategy, random_script(seed), seed=seed, burst=burst)
    assert tree.finished_count <= width
    assert not tree.open_leaves()
    assert outcome(tree) == outcome(play(strategy, random_script(seed)))
