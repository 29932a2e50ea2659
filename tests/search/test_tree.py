"""The search tree: allowed operations, counts, and saving without loss."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import pytest

from ramify.errors import TreeError
from ramify.search.export.graphs import to_dot, to_graphml
from ramify.search.node import FinishReason, PruneReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.tree import SearchTree

from .scripted import play, random_script


@pytest.fixture
def tree() -> SearchTree:
    """Root with 1 (finished), 2 (open, expanded) and 3 (pruned); below 2: 4 (pending) and 5 (open)."""
    tree = SearchTree()
    for _ in range(3):
        tree.add_pending(0)
    tree.complete(1, "one ", (10, 11), -0.5, FinishReason.EOS)
    tree.finish(1, "42")
    tree.score(1, 0.9)
    tree.complete(2, "two ", (20,), -1.25)
    tree.score(2, 0.5)
    tree.prune(3, PruneReason.USER)
    tree.add_pending(2)
    tree.add_pending(2, origin="hand")
    tree.complete(5, 'say "hi"\\\n', (50, 51, 52), None, FinishReason.STEP)
    return tree


def test_counts_and_orders(tree: SearchTree) -> None:
    assert [node.id for node in tree.open_nodes()] == [0, 2, 5]
    assert [node.id for node in tree.open_leaves()] == [5]
    assert [node.id for node in tree.pending()] == [4]
    assert [node.id for node in tree.finished_nodes()] == [1]
    assert [node.id for node in tree.level(1)] == [1, 2, 3]
    assert (tree.pending_count, tree.finished_count, tree.pruned_count) == (1, 1, 1)
    assert (tree.unscored_count, tree.depth, len(tree), tree.generated_tokens) == (1, 2, 6, 6)


def test_paths(tree: SearchTree) -> None:
    assert [node.id for node in tree.path_nodes(5)] == [2, 5]
    assert tree.path_text(5) == 'two say "hi"\\\n'
    assert tree.path_token_count(5) == 4
    assert tree.path_nodes(0) == [] and tree.path_text(0) == ""
    assert tree.node(5).path == (1, 1) and tree.node(5).depth == 2
    assert [child.id for child in tree.children(0)] == [1, 2, 3]
    assert tree.subtree(0) == [0, 1, 2, 4, 5, 3]


def test_shared_steps_are_counted_once(tree: SearchTree) -> None:
    tree.complete(4, "x", (1,) * 100)
    by_path = sum(tree.path_token_count(leaf) for leaf in (1, 3, 4, 5))
    assert tree.generated_tokens == sum(node.token_count for node in tree) == by_path - tree.node(2).token_count


def test_a_backend_may_report_counts_without_tokens() -> None:
    tree = SearchTree()
    tree.complete(tree.add_pending(0).id, "text", token_count=7)
    assert tree.generated_tokens == 7 and tree.node(1).tokens == ()


def test_path_scores_name_the_unscored_node(tree: SearchTree) -> None:
    assert tree.path_scores(1) == [0.9]
    with pytest.raises(TreeError, match="node 5 has no score"):
        tree.path_scores(5)


@pytest.mark.parametrize("value", [None, float("nan"), -0.01, 1.01, float("inf")])
def test_a_score_must_be_a_probability(tree: SearchTree, value: float | None) -> None:
    with pytest.raises(TreeError, match=f"node 5 got the score {value}"):
        tree.score(5, value)


def test_a_score_may_be_repeated_but_not_changed(tree: SearchTree) -> None:
    tree.score(2, 0.5)
    with pytest.raises(TreeError, match=r"node 2 already has the score 0\.5"):
        tree.score(2, 0.6)


@pytest.mark.parametrize("parent", [1, 3, 4])
def test_only_open_nodes_are_expanded(tree: SearchTree, parent: int) -> None:
    with pytest.raises(TreeError, match=f"node {parent} is .* and cannot be expanded; it would have to be open"):
        tree.add_pending(parent)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda tree: tree.complete(5, "again"), "node 5 is open and cannot be completed"),
        (lambda tree: tree.complete(4, "x", logprob=float("nan")), "node 4 has log-probability nan"),
        (lambda tree: tree.complete(4, "x", token_count=-1), "node 4 cannot have -1 tokens"),
        (lambda tree: tree.finish(4, "1"), "node 4 is pending and cannot be finished"),
        (lambda tree: tree.finish(2, "1"), "node 2 has children and cannot finish"),
        (lambda tree: tree.finish(0, "1"), "node 0 is the root"),
        (lambda tree: tree.score(0, 0.5), "node 0 is the root"),
        (lambda tree: tree.score(3, 0.5), "node 3 is pruned and cannot be scored"),
        (lambda tree: tree.prune(1, PruneReason.USER), "node 1 is finished and cannot be pruned"),
        (lambda tree: tree.add_pending(2, 0), "node 2 already has a child number 0"),
        (lambda tree: tree.add_pending(2, -1), "node 2 cannot have a child number -1"),
        (lambda tree: tree.node(6), "node 6 does not exist; the tree has nodes 0 to 5"),
        (lambda tree: tree.node(-1), "node -1 does not exist"),
    ],
)
def test_what_a_state_forbids_is_refused_and_changes_nothing(tree: SearchTree, operation: Any, message: str) -> None:
    before = tree.to_dict()
    with pytest.raises(TreeError, match=message):
        operation(tree)
    assert tree.to_dict() == before


@pytest.mark.parametrize("seed", range(5))
def test_saving_loses_nothing(seed: int) -> None:
    tree = play(Rebase(width=8), random_script(seed))
    tree.add_pending(0, 50, origin="hand")
    restored = SearchTree.from_dict(json.loads(json.dumps(tree.to_dict())))
    assert restored.to_dict() == tree.to_dict()
    assert list(restored) == list(tree)
    assert restored.open_nodes() == tree.open_nodes() and restored.open_leaves() == tree.open_leaves()
    for name in ("pending_count", "finished_count", "pruned_count", "unscored_count"):
        assert getattr(restored, name) == getattr(tree, name), name
    assert (restored.generated_tokens, restored.depth) == (tree.generated_tokens, tree.depth)
    assert list(restored.graph.edges) == list(tree.graph.edges)
    assert restored.add_pending(0).id == len(tree)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(version=2), "format version 2"),
        (lambda data: data.pop("version"), "format version None"),
        (lambda data: data.update(nodes=[]), "no list of nodes"),
        (lambda data: data["nodes"].pop(1), "node 2 stands at place 1"),
        (lambda data: data["nodes"][5].update(path=[0, 1]), "node 5 has parent 2 and path"),
        (lambda data: data["nodes"][5].update(path=[1, 0]), "node 5 has the path of another node"),
        (lambda data: data["nodes"][5].update(parent=1, path=[0, 0]), "node 5 stands below node 1, which is finished"),
        (lambda data: data["nodes"][5].update(score=2.0), "node 5 has score 2.0"),
        (lambda data: data["nodes"][5].update(state="lost"), "node 5 has state 'lost'"),
        (lambda data: data["nodes"][5].pop("text"), "node 5 has no text"),
        (lambda data: data["nodes"][3].update(prune_reason=None), "node 3 is pruned with prune reason None"),
        (lambda data: data["nodes"][0].update(state="finished"), "node 0 must be the root"),
        (lambda data: data["nodes"].__setitem__(2, "x"), "node 2 is not a mapping"),
    ],
)
def test_a_damaged_file_is_refused(tree: SearchTree, change: Any, message: str) -> None:
    data = tree.to_dict()
    change(data)
    with pytest.raises(TreeError, match=message):
        SearchTree.from_dict(data)


def test_the_structure_is_a_networkx_tree(tree: SearchTree) -> None:
    assert nx.is_arborescence(tree.graph)
    assert tree.graph.nodes[5]["node"] is tree.node(5)


def test_graphml_can_be_read_back(tree: SearchTree) -> None:
    tree.node(5).text = "control \x00 and < & >"
    text = to_graphml(tree, winner=1)
    ElementTree.fromstring(text)
    graph: Any = nx.parse_graphml(text)  # pyright: ignore[reportUnknownMemberType]
    assert graph.nodes["1"]["answer"] == "42" and graph.nodes["1"]["winning"] is True
    assert graph.nodes["1"]["score"] == 0.9 and graph.nodes["1"]["state"] == "finished"
    assert graph.nodes["3"]["prune_reason"] == "user" and "score" not in graph.nodes["3"]
    assert graph.nodes["5"]["text"] == "control \ufffd and < & >" and graph.nodes["5"]["winning"] is False
    assert sorted(graph.edges) == [("0", "1"), ("0", "2"), ("0", "3"), ("2", "4"), ("2", "5")]


def test_dot_shows_score_state_reason_and_the_winning_path(tree: SearchTree) -> None:
    tree.complete(4, "long " * 50, (1,))
    lines = to_dot(tree, winner=1, text_limit=20).splitlines()
    assert '  1 [label="1 finished 0.900\\none\\nanswer: 42", fillcolor=palegreen, penwidth=3];' in lines
    assert '  3 [label="3 pruned: user", fillcolor=lightgrey];' in lines
    assert '  5 [label="5 open\\nsay \\"hi\\"\\\\", fillcolor=white];' in lines
    assert '  4 [label="4 open\\nlong long long long…", fillcolor=white];' in lines
    assert "  0 -> 1 [penwidth=3];" in lines and "  0 -> 2;" in lines
    assert lines[0] == "digraph search {" and lines[-1] == "}"
