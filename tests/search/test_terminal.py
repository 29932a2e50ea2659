"""Trees drawn for a terminal."""

from __future__ import annotations

import re

import pytest

from ramify.search.export.terminal import ASCII, draw
from ramify.search.node import FinishReason, PruneReason
from ramify.search.tree import SearchTree


def add(tree: SearchTree, parent: int, text: str, score: float | None = None, answer: str | None = None) -> int:
    node = tree.add_pending(parent)
    tree.complete(node.id, text, (1, 2), -1.0, FinishReason.STEP)
    if score is not None:
        tree.score(node.id, score)
    if answer is not None:
        tree.finish(node.id, answer)
    return node.id


@pytest.fixture
def tree() -> SearchTree:
    """Two paths from the root; the first forks after two steps."""
    tree = SearchTree()
    first = add(tree, 0, "Mia has 9 pens.\n", 0.5)
    second = add(tree, 0, "Nina has 2 pens.\n", 0.125)
    deeper = add(tree, first, "Mia has 9-4=5 pens.\n", 0.75)
    add(tree, deeper, "The answer is 5.", 0.9, "5")
    add(tree, deeper, "The answer is 6.", 0.2, "6")
    tree.prune(second, PruneReason.PATH_LENGTH)
    tree.add_pending(0)
    return tree


def test_steps_of_one_path_stand_below_each_other_and_branches_are_indented(tree: SearchTree) -> None:
    assert list(draw(tree, winner=4, width=60)) == [
        "question",
        "├─ 0.50 * Mia has 9 pens.",
        "│  0.75 * Mia has 9-4=5 pens.",
        "│  ├─ 0.90 * = 5 | The answer is 5.",
        "│  └─ 0.20   = 6 | The answer is 6.",
        "├─ 0.12 x [path length] Nina has 2 pens.",
        "└─    -   [being written]",
    ]


def test_a_terminal_that_knows_only_ascii(tree: SearchTree) -> None:
    lines = list(draw(tree, winner=None, width=40, limit=4, signs=ASCII))
    assert all(line.isascii() for line in lines)
    assert lines[:4] == [
        "question",
        "|- 0.50   Mia has 9 pens.",
        "|  0.75   Mia has 9-4=5 pens.",
        "|  |- 0.90   = 5 | The answer is 5.",
    ]
    assert list(draw(tree, winner=None, width=24, signs=ASCII))[1] == "|- 0.50   Mia has 9 p..."


def test_a_single_path_is_not_indented() -> None:
    tree, node = SearchTree(), 0
    for step in range(3):
        node = add(tree, node, f"Step {step}.\n")
    assert list(draw(tree, winner=node, width=40)) == [
        "question",
        "   - * Step 0.",
        "   - * Step 1.",
        "   - * Step 2.",
    ]


def test_what_is_left_out_is_counted_last(tree: SearchTree) -> None:
    assert list(draw(tree, winner=4, width=60, limit=4)) == [
        "question",
        "├─ 0.50 * Mia has 9 pens.",
        "│  0.75 * Mia has 9-4=5 pens.",
        "│  ├─ 0.90 * = 5 | The answer is 5.",
        "│  └─ … 1 more",
        "└─ … 2 more",
    ]


def test_paint_says_what_a_line_is(tree: SearchTree) -> None:
    lines = draw(tree, winner=4, width=60, paint=lambda text, kind: f"<{kind}>" if kind else text)
    assert list(lines) == [
        "question",
        "├─ <winning>",
        "│  <winning>",
        "│  ├─ <winning>",
        "│  └─ <finished>",
        "├─ <given up>",
        "└─    -   [being written]",
    ]


@pytest.mark.parametrize("text", ["word " * 30, "日本語" * 20, "\x1b[2J\r\n" * 9])
def test_no_line_is_wider_than_asked_however_deep_the_tree(text: str) -> None:
    tree, node = SearchTree(), 0
    for _ in range(60):
        add(tree, node, text, 0.5)
        node = add(tree, node, text, 0.5)
    lines = list(draw(tree, winner=node, width=50, limit=None))
    assert len(lines) == len(tree)
    for line in lines:
        assert not re.search(r"[\x00-\x1f\x7f]", line)
        assert len(line) + len(re.findall("[日本語]", line)) <= 50
    assert lines[-1].startswith("…") and lines[-1].count("*") == 1


def test_a_long_path_needs_no_stack() -> None:
    tree, node = SearchTree(), 0
    for _ in range(3000):
        node = add(tree, node, "a ")
    assert len(list(draw(tree, winner=node, width=50, limit=None))) == 3001


def test_scores_of_parts_stand_before_the_text_where_they_are_asked_for() -> None:
    tree = SearchTree()
    tree.add_pending(0)
    tree.complete(1, "1+1=3\n", (1,))
    tree.score(1, 0.02, parts={"judge": 0.93, "arithmetic": 0.02})
    assert list(draw(tree, winner=None, width=70)) == ["question", "0.02   1+1=3"]
    shown = ["question", "0.02   (judge 0.930, arithmetic 0.020) 1+1=3"]
    assert list(draw(tree, winner=None, width=70, parts=True)) == shown
