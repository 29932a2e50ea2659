"""A search that was cut anywhere, saved, loaded and continued ends like one that was never cut."""

from __future__ import annotations

import json
from random import Random

import pytest

from ramify.search.node import FinishReason, NodeState, Origin, PruneReason
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree

from .scripted import Path, apply, outcome, play, random_script, record, to_the_end
from .test_contract import STRATEGIES


def cut(tree: SearchTree) -> SearchTree:
    """End a search as a run does: steps in the making are cut, open paths are given up; then save and load it."""
    for node in tree.pending():
        tree.complete(node.id, "half a st", (1,), -0.5, FinishReason.CANCELLED)
        tree.prune(node.id, PruneReason.STOPPED)
    for leaf in tree.open_leaves():
        if leaf.parent is not None:
            tree.prune(leaf.id, PruneReason.BUDGET)
    return SearchTree.from_dict(json.loads(json.dumps(tree.to_dict())))


def play_with_cuts(strategy: Strategy, script_seed: int, *, seed: int, chance: float) -> SearchTree:
    """Run to the end, cutting, saving and restarting now and then."""
    script, random = random_script(script_seed), Random(seed)
    tree, whole = SearchTree(), set[Path]()
    while True:
        ask = strategy.decide(tree)
        whole |= {child.path for child in apply(tree, ask)}
        pending = tree.pending()
        if not pending:
            return tree
        if random.random() < chance:
            whole = {node.path for node in pending if node.path in whole}
            tree = cut(tree).restarted()
            continue
        node = random.choice(pending)
        step = to_the_end(script, node.path) if node.path in whole else script(node.path)
        record(tree, node.id, step, scored=strategy.uses_reward)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: each.name)
def test_cuts_change_nothing(strategy: Strategy) -> None:
    for seed in range(6):
        expected = outcome(play(strategy, random_script(seed)))
        assert outcome(play_with_cuts(strategy, seed, seed=seed, chance=0.1)) == expected


def test_what_was_cut_short_is_written_again_and_what_was_whole_is_open() -> None:
    tree = SearchTree()
    for _ in range(2):
        tree.add_pending(0)
    tree.complete(1, "half", (1,), -1.0, FinishReason.BUDGET)
    tree.prune(1, PruneReason.BUDGET)
    tree.complete(2, "whole\n", (1, 2), -1.0)
    tree.prune(2, PruneReason.BUDGET)
    copy = tree.restarted()
    assert [(node.path, node.state, node.text) for node in copy] == [
        ((), NodeState.OPEN, ""),
        ((0,), NodeState.PENDING, ""),
        ((1,), NodeState.OPEN, "whole\n"),
    ]
    assert copy.generated_tokens == 2


def test_what_a_strategy_gave_up_stays_given_up() -> None:
    tree = SearchTree()
    tree.complete(tree.add_pending(0).id, "a\n")
    tree.prune(1, PruneReason.ALLOCATION)
    assert tree.restarted().node(1).prune_reason is PruneReason.ALLOCATION


def test_the_step_that_only_saved_an_answer_is_left_out() -> None:
    tree = SearchTree()
    tree.complete(tree.add_pending(0).id, "a\n")
    saved = tree.add_pending(1, origin=Origin.RESCUE)
    tree.complete(saved.id, "The answer is 3.", (1,), -1.0, FinishReason.EOS)
    tree.finish(saved.id, "3")
    assert [node.path for node in tree.restarted()] == [(), (0,)]


def test_the_score_of_what_is_left_out_counts_no_longer() -> None:
    tree = SearchTree()
    tree.complete(tree.add_pending(0).id, "a\n")
    tree.score(1, 0.3)
    before = [(node.visits, node.value_sum) for node in tree]
    saved = tree.add_pending(1, origin=Origin.RESCUE)
    tree.complete(saved.id, "The answer is 3.", (1,), -1.0, FinishReason.EOS)
    tree.finish(saved.id, "3")
    tree.score(saved.id, 0.7)
    assert [(node.visits, node.value_sum) for node in tree.restarted()] == before


def test_a_scored_step_that_was_cut_counts_once_after_it_is_written_again() -> None:
    tree = SearchTree()
    thought = tree.add_pending(0)
    tree.complete(thought.id, "<think>half", (1,), -1.0, FinishReason.BUDGET)
    tree.score(thought.id, 0.5)
    tree.prune(thought.id, PruneReason.BUDGET)
    again = tree.restarted()
    assert [(each.score, each.visits, each.value_sum) for each in again] == [(None, 0, 0.0)] * 2
