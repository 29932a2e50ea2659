"""Refine: exact chains of drafts, critiques and revisions, their cost and their votes."""

from __future__ import annotations

import pytest

from ramify.errors import StrategyError, TreeError
from ramify.search.export.graphs import to_dot
from ramify.search.node import NodeState, Origin, PruneReason
from ramify.search.registry import make_strategy, strategy_to_dict
from ramify.search.strategies.refine import Refine
from ramify.search.tree import SearchTree
from ramify.search.votes import VoteRule, candidates

from .scripted import Path, Step, play


def answers(path: Path) -> Step:
    return Step(0.5, str(path[0]))


def chains(tree: SearchTree) -> list[tuple[str, int | None]]:
    return [(str(node.origin), node.about) for node in tree.level(1)]


def test_each_draft_is_followed_by_a_critique_and_a_revision_of_it() -> None:
    tree = play(Refine(width=4, revisions=1), answers, burst=100)
    assert chains(tree) == [
        ("model", None),
        ("model", None),
        ("critique", 1),
        ("critique", 2),
        ("revision", 3),
        ("revision", 4),
    ]
    assert tree.depth == 1


def test_revisions_go_on_from_revisions_without_a_critique() -> None:
    tree = play(Refine(width=3, revisions=2, critique=False), answers, burst=100)
    assert chains(tree) == [("model", None), ("revision", 1), ("revision", 2)]


def test_what_no_chain_can_be_made_of_are_drafts_that_stay_as_they_are() -> None:
    tree = play(Refine(width=5, revisions=2, critique=False), answers, burst=100)
    kinds = [kind for kind, _ in chains(tree)]
    assert kinds.count("model") == 3
    assert kinds.count("revision") == 2


def test_a_width_below_one_chain_makes_a_shorter_chain() -> None:
    tree = play(Refine(width=2, revisions=5, critique=False), answers, burst=100)
    assert [kind for kind, _ in chains(tree)] == ["model", "revision"]


def test_critiques_never_vote_whatever_they_say() -> None:
    tree = play(Refine(width=2, revisions=1), answers, burst=100)
    assert [(each.node, each.answer) for each in candidates(tree) if each.answer is not None] == [(1, "0"), (3, "2")]
    assert tree.node(2).origin is Origin.CRITIQUE and tree.node(2).answer is None


def test_a_draft_that_dies_ends_its_chain() -> None:
    script = lambda path: Step(0.5, PruneReason.PATH_LENGTH if path == (0,) else "7")  # noqa: E731
    tree = play(Refine(width=4, revisions=1), script, burst=100)
    assert tree.node(1).state is NodeState.PRUNED
    assert all(node.about != 1 for node in tree)


def test_votes_by_score_wait_for_the_scores_of_answers_alone() -> None:
    tree = play(Refine(width=4, revisions=1, vote=VoteRule.BEST), answers, burst=1)
    assert all((node.score is None) == (node.origin is Origin.CRITIQUE) for node in tree.level(1))


def test_instructions_are_its_own_unless_given() -> None:
    strategy = Refine(critique_prompt="What is wrong?", revision_prompt="Again.")
    assert strategy.instruction(Origin.CRITIQUE) == "What is wrong?"
    assert strategy.instruction(Origin.REVISION) == "Again."
    assert "mistakes" in Refine(critique=False).instruction(Origin.REVISION)


def test_options_are_checked_and_survive_saving() -> None:
    with pytest.raises(StrategyError, match="revisions is -1"):
        Refine(revisions=-1)
    strategy = Refine(width=6, revisions=2, critique=False)
    assert make_strategy(**strategy_to_dict(strategy)) == strategy


def test_what_a_node_is_about_survives_saving_and_is_checked() -> None:
    tree = play(Refine(width=2, revisions=1), answers, burst=100)
    data = tree.to_dict()
    assert SearchTree.from_dict(data).to_dict() == data == tree.restarted().to_dict()
    data["nodes"][2]["about"] = 3
    with pytest.raises(TreeError, match="node 2 is about node 3, which is no finished node before it"):
        SearchTree.from_dict(data)


def test_trees_saved_before_there_were_conversations_still_load() -> None:
    data = play(Refine(width=1, revisions=0), answers).to_dict()
    for node in data["nodes"]:
        del node["about"]
    assert SearchTree.from_dict(data).node(1).about is None


def test_only_finished_texts_can_be_talked_about() -> None:
    tree = SearchTree()
    tree.add_pending(0)
    with pytest.raises(TreeError, match="node 1 is pending and cannot be talked about"):
        tree.add_pending(0, origin=Origin.CRITIQUE, about=1)


def test_drawings_say_what_a_text_is_about() -> None:
    drawing = to_dot(play(Refine(width=2, revisions=1), answers, burst=100))
    assert "critique of 1" in drawing and "revision after 2" in drawing
