"""REBASE on scripted searches small enough to work out by hand."""

from __future__ import annotations

from ramify.search.node import PruneReason
from ramify.search.strategies.rebase import Rebase
from ramify.search.tree import SearchTree
from ramify.search.votes import candidates, decide

from .scripted import Path, Step, play, record


def scripted(steps: dict[Path, Step]) -> SearchTree:
    return play(Rebase(width=4), steps.__getitem__)


def shape(tree: SearchTree) -> list[tuple[int, Path, str]]:
    return [(node.id, node.path, node.prune_reason or node.answer or str(node.state)) for node in tree][1:]


def level(strategy: Rebase, *steps: Step) -> SearchTree:
    """A tree whose first level has these results."""
    tree = SearchTree()
    for step in steps:
        record(tree, tree.add_pending(0).id, step, scored=True)
    return tree


def test_a_whole_search() -> None:
    tree = scripted(
        {
            (0,): Step(0.9),
            (1,): Step(0.8),
            (2,): Step(0.7, "5"),
            (3,): Step(0.2),
            # One finished, 3 left: 3 / (1 + e^-1 + e^-7) = 2.19, rounded up to all 3 for the best.
            (0, 0): Step(0.6, "5"),
            (0, 1): Step(0.95),
            (0, 2): Step(0.5, PruneReason.EMPTY),
            # Two finished, 2 left: the share of the empty step goes to the living.
            (0, 1, 0): Step(0.9, "7"),
            (0, 1, 1): Step(0.3),
            (0, 1, 1, 0): Step(0.99, "5"),
        }
    )
    assert shape(tree) == [
        (1, (0,), "open"),
        (2, (1,), "allocation"),
        (3, (2,), "5"),
        (4, (3,), "allocation"),
        (5, (0, 0), "5"),
        (6, (0, 1), "open"),
        (7, (0, 2), "empty"),
        (8, (0, 1, 0), "7"),
        (9, (0, 1, 1), "open"),
        (10, (0, 1, 1, 0), "5"),
    ]
    assert tree.generated_tokens == 30
    vote = decide(candidates(tree), Rebase().vote, str.__eq__)
    assert vote.answer == "5"
    assert [round(group.weight, 9) for group in vote.groups] == [2.29, 0.9]
    assert vote.winner is not None and vote.winner.path == (0, 1, 1, 0)


def test_equal_scores_go_to_the_later_node_first() -> None:
    tree = level(Rebase(), *[Step(0.5)] * 3)
    ask = Rebase(width=4).decide(tree)
    assert [(wish.node, wish.children) for wish in ask.expansions] == [(1, 1), (2, 1), (3, 2)]


def test_a_search_whose_width_has_all_finished_ends() -> None:
    tree = level(Rebase(), Step(0.9, "1"), Step(0.8, "2"), Step(0.7))
    ask = Rebase(width=2).decide(tree)
    assert ask.done and ask.prune == ((3, PruneReason.ALLOCATION),) and not ask.expansions


def test_it_waits_for_every_step_and_every_score() -> None:
    tree = level(Rebase(), Step(0.9))
    late = tree.add_pending(0)
    assert Rebase(width=2).decide(tree) == Rebase(width=2).decide(tree).__class__()
    tree.complete(late.id, "done")
    assert not Rebase(width=2).decide(tree).expansions
    tree.score(late.id, 0.1)
    assert Rebase(width=2).decide(tree).expansions


def test_an_ask_applied_in_part_is_asked_again_with_the_same_shares() -> None:
    strategy = Rebase(width=10)
    tree = level(strategy, Step(0.9), Step(0.8), Step(0.7))
    full = strategy.decide(tree)
    assert [(wish.node, wish.children) for wish in full.expansions] == [(1, 7), (2, 3)]
    # Without the pruned node's weight the two others would share 8 and 2.
    tree.prune(3, PruneReason.ALLOCATION)
    for _ in range(3):
        record(tree, tree.add_pending(2).id, Step(0.5), scored=True)
    assert [(wish.node, wish.children) for wish in strategy.decide(tree).expansions] == [(1, 7)]


def test_an_expanded_node_is_not_asked_again_when_the_budget_granted_less() -> None:
    strategy = Rebase(width=4)
    tree = level(strategy, Step(0.9))
    assert strategy.decide(tree).expansions[0].children == 4
    record(tree, tree.add_pending(1).id, Step(0.5), scored=True)
    assert [(wish.node, wish.children) for wish in strategy.decide(tree).expansions] == [(2, 4)]


def test_duplicates_merge_only_if_asked_to() -> None:
    steps = [Step(0.5, text="x = 1"), Step(0.5, text=" x  = 1\n"), Step(0.5, text="x = 2"), Step(0.5, text="x = 1")]
    tree = level(Rebase(), *steps)
    plain = Rebase(width=4).decide(tree)
    assert [wish.children for wish in plain.expansions] == [1, 1, 1, 1]
    merged = Rebase(width=4, merge_duplicates=True).decide(tree)
    assert [(wish.node, wish.children) for wish in merged.expansions] == [(1, 2), (3, 2)]
    assert merged.prune == ((2, PruneReason.DUPLICATE), (4, PruneReason.DUPLICATE))


def test_the_same_step_under_another_parent_is_no_duplicate() -> None:
    tree = level(Rebase(), Step(0.5, text="a"), Step(0.5, text="b"))
    for parent in (1, 2):
        record(tree, tree.add_pending(parent).id, Step(0.5, text="same"), scored=True)
    ask = Rebase(width=2, merge_duplicates=True).decide(tree)
    assert [wish.node for wish in ask.expansions] == [3, 4] and not ask.prune


def test_paper_rounding_can_give_everyone_nothing() -> None:
    tree = level(Rebase(), *[Step(0.5)] * 16, *[Step(0.5, "1")] * 8)
    ask = Rebase(width=16, rounding="paper").decide(tree)  # pyright: ignore[reportArgumentType]
    assert ask.done and len(ask.prune) == 16
    assert len(Rebase(width=16).decide(tree).expansions) == 8


def test_shares_come_from_the_aggregated_path() -> None:
    tree = level(Rebase(), Step(0.1), Step(0.9))
    record(tree, tree.add_pending(1).id, Step(0.8), scored=True)
    record(tree, tree.add_pending(2).id, Step(0.7), scored=True)
    by_last = Rebase(width=2, temperature=0.01).decide(tree)
    by_minimum = Rebase(width=2, temperature=0.01, aggregation="min").decide(tree)  # pyright: ignore[reportArgumentType]
    assert [wish.node for wish in by_last.expansions] == [3]
    assert [wish.node for wish in by_minimum.expansions] == [4]
