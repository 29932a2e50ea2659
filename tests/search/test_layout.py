"""Layout of tree drawings: worked examples, and properties over all trees."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.search.export.layout import tidy_positions

Children = list[list[int]]


def tree_of(parents: list[int]) -> Children:
    """Node i + 1 has the parent parents[i]."""
    children: Children = [[] for _ in range(len(parents) + 1)]
    for child, parent in enumerate(parents, start=1):
        children[parent].append(child)
    return children


trees = st.lists(st.integers(0, 10**6), max_size=80).map(
    lambda draws: tree_of([draw % (place + 1) for place, draw in enumerate(draws)])
)


def levels(children: Children) -> list[list[int]]:
    """Nodes of each depth from left to right."""
    found, level = list[list[int]](), [0]
    while level:
        found.append(level)
        level = [child for node in level for child in children[node]]
    return found


@pytest.mark.parametrize(
    ("children", "places"),
    [
        ([], []),
        ([[]], [0]),
        ([[1], [2], []], [0, 0, 0]),
        ([[1, 2, 3], [], [], []], [1, 0, 1, 2]),
        # 1 has three children and 2 none, so 2 stands close to 1 and not beside its children.
        ([[1, 2], [3, 4, 5], [], [], [], []], [1.5, 1, 2, 0, 1, 2]),
        # Two pairs side by side: 0 1 and 2 3 below, their parents at 0.5 and 2.5.
        ([[1, 2], [3, 4], [5, 6], [], [], [], []], [1.5, 0.5, 2.5, 0, 1, 2, 3]),
        # The leaf between two wide subtrees stands in the middle of the room that they force.
        ([[1, 2, 3], [4, 5, 6], [], [7, 8, 9], *[[]] * 6], [2.5, 1, 2.5, 4, 0, 1, 2, 3, 4, 5]),
    ],
)
def test_worked_examples(children: Children, places: list[float]) -> None:
    assert tidy_positions(children) == places


@given(trees)
def test_neighbours_keep_their_distance_and_parents_are_centred(children: Children) -> None:
    places = tidy_positions(children)
    assert min(places) == 0
    for level in levels(children):
        for left, right in pairwise(level):
            assert places[right] - places[left] >= 1 - 1e-9
    for node, below in enumerate(children):
        if below:
            assert places[node] == pytest.approx((places[below[0]] + places[below[-1]]) / 2)


@given(trees)
def test_the_mirrored_tree_is_drawn_mirrored(children: Children) -> None:
    places = tidy_positions(children)
    mirrored = tidy_positions([below[::-1] for below in children])
    width = max(places)
    assert [width - place for place in mirrored] == pytest.approx(places)


@given(trees, trees)
def test_a_subtree_looks_the_same_wherever_it_stands(first: Children, second: Children) -> None:
    shift = 1 + len(first)
    joined = [[1, shift], *([child + 1 for child in below] for below in first)]
    joined += [[child + shift for child in below] for below in second]
    places = tidy_positions(joined)
    for alone, start in ((tidy_positions(first), 1), (tidy_positions(second), shift)):
        part = places[start : start + len(alone)]
        assert [place - part[0] for place in part] == pytest.approx([place - alone[0] for place in alone])


def test_long_paths_and_wide_levels_need_no_stack() -> None:
    count = 20_000
    assert set(tidy_positions([*([node + 1] for node in range(count)), []])) == {0}
    assert tidy_positions([list(range(1, count + 1)), *[[]] * count])[0] == (count - 1) / 2
