"""Expected length of the rest of a path."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.control.requests import STEPS_PER_PATH, expected_rest
from ramify.search.node import NodeState, Origin, PruneReason
from ramify.search.tree import SearchTree


def test_the_rest_of_a_path_is_expected_from_what_has_finished() -> None:
    tree = SearchTree()
    assert expected_rest(tree, [0]) == 0
    first, second = tree.add_pending(0), tree.add_pending(0)
    tree.complete(first.id, "a", range(10))
    tree.complete(second.id, "b", range(20))
    # Nothing has finished: eight steps of the mean length, of which the node has one.
    assert expected_rest(tree, [first.id]) == 8 * 15 - 10
    tree.finish(second.id, "7")
    assert expected_rest(tree, [0]) == 20
    # At least one more step of the mean length.
    assert expected_rest(tree, [first.id]) == 15


def by_walking(tree: SearchTree, node_ids: Iterable[int]) -> int:
    """The same from the nodes themselves, all of them each time."""
    here = [tree.path_token_count(node) for node in node_ids]
    finished = [tree.path_token_count(node.id) for node in tree.finished_nodes()]
    steps = [node.token_count for node in tree if node.token_count]
    if not here or not steps:
        return 0
    step = sum(steps) / len(steps)
    whole = sum(finished) / len(finished) if finished else STEPS_PER_PATH * step
    return ceil(sum(max(step, whole - each) for each in here) / len(here))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 30), st.sampled_from("sfcp")), max_size=40))
def test_what_the_tree_keeps_count_of_is_what_a_walk_finds(steps: list[tuple[int, int, str]]) -> None:
    tree = SearchTree()
    for choice, tokens, fate in steps:
        parents = [node.id for node in tree.open_nodes()]
        done = [node.id for node in tree.finished_nodes()]
        critique = fate == "c" and bool(done)
        node = tree.add_pending(
            0 if critique else parents[choice % len(parents)],
            origin=Origin.CRITIQUE if critique else Origin.MODEL,
            about=done[choice % len(done)] if critique else None,
        )
        if fate == "p":
            tree.prune(node.id, PruneReason.USER)
            continue
        tree.complete(node.id, "x", (), token_count=tokens)
        if fate in "fc":
            tree.finish(node.id, "7")
        wanted = [each.id for each in tree if each.state is NodeState.OPEN][: 1 + choice % 3]
        again = SearchTree.from_dict(tree.to_dict())
        assert expected_rest(tree, wanted) == by_walking(tree, wanted) == expected_rest(again, wanted)
    assert expected_rest(tree, []) == 0
