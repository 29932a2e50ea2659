"""Votes of finished paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import SearchError
from ramify.search.node import Origin
from ramify.search.tree import SearchTree
from ramify.search.votes import Aggregation, Candidate, VoteRule, aggregate, candidates, decide, group_answers


def candidate(index: int, answer: str | None, score: float | None = 0.5) -> Candidate:
    return Candidate(node=index + 1, path=(index,), answer=answer, score=score, text="", generated_tokens=1)


def same(a: str, b: str) -> bool:
    return a == b


FIVE = [
    candidate(0, "7", 0.99),
    candidate(1, "5", 0.3),
    candidate(2, "5", 0.4),
    candidate(3, "5", 0.2),
    candidate(4, "6", 0.95),
    candidate(5, "6", 0.9),
]


@pytest.mark.parametrize(("rule", "answer", "winner"), [("majority", "5", 3), ("weighted", "6", 5), ("best", "7", 1)])
def test_each_rule_has_its_own_winner(rule: str, answer: str, winner: int) -> None:
    vote = decide(FIVE, VoteRule(rule), same)
    assert vote.answer == answer
    assert vote.winner is not None and vote.winner.node == winner


def test_groups_are_sorted_and_complete() -> None:
    vote = decide(FIVE, VoteRule.WEIGHTED, same)
    assert [(group.answer, group.count, round(group.weight, 9), group.best_score) for group in vote.groups] == [
        ("6", 2, 1.85, 0.95),
        ("7", 1, 0.99, 0.99),
        ("5", 3, 0.9, 0.4),
    ]
    assert vote.agreement == 2 / 6


def test_invalid_answers_never_vote() -> None:
    vote = decide([*(candidate(i, None, 1.0) for i in range(9)), candidate(9, "1", 0.01)], VoteRule.WEIGHTED, same)
    assert vote.answer == "1" and len(vote.groups) == 1
    assert group_answers([candidate(0, None)], same) == []
    empty = decide([candidate(0, None)], VoteRule.MAJORITY, same)
    assert (empty.answer, empty.winner, empty.groups, empty.agreement) == (None, None, (), 0.0)


def test_ties_go_to_the_best_score_and_then_to_the_first_path() -> None:
    better = [candidate(0, "a", 0.5), candidate(1, "b", 0.6)]
    assert decide(better, VoteRule.MAJORITY, same).answer == "b"
    equal = [candidate(1, "b"), candidate(0, "a")]
    for rule in VoteRule:
        assert decide(equal, rule, same).answer == "a"
        assert decide(reversed(equal), rule, same).answer == "a"


def test_majority_needs_no_scores_and_the_others_do() -> None:
    unscored = [candidate(0, "a", None), candidate(1, "b", None), candidate(2, "b", None)]
    vote = decide(unscored, VoteRule.MAJORITY, same)
    assert vote.answer == "b" and vote.groups[0].best_score is None
    assert vote.winner is not None and vote.winner.node == 2
    assert [group.weight for group in vote.groups] == [2, 1]
    for rule in (VoteRule.WEIGHTED, VoteRule.BEST):
        with pytest.raises(SearchError, match="node 1 has no score to vote by"):
            decide(unscored, rule, same)


def test_a_path_without_a_score_counts_as_a_plain_vote_in_a_weight() -> None:
    [group] = group_answers([candidate(0, "a", 0.25), candidate(1, "a", None)], same)
    assert (group.count, group.weight, group.best_score) == (2, 1.25, 0.25)
    assert group.best.node == 1


def test_equivalent_answers_vote_together() -> None:
    def close(a: str, b: str) -> bool:
        return float(a) == float(b)

    vote = decide([candidate(0, "0.5"), candidate(1, ".50", 0.9), candidate(2, "1", 1.0)], VoteRule.WEIGHTED, close)
    assert [group.answer for group in vote.groups] == ["0.5", "1"]
    assert vote.answer == ".50"


def test_grouping_by_a_relation_that_is_not_transitive_goes_by_the_first_member() -> None:
    def near(a: str, b: str) -> bool:
        return abs(int(a) - int(b)) <= 1

    members = [candidate(0, "1"), candidate(1, "2"), candidate(2, "3"), candidate(3, "2")]
    for order in (members, members[::-1]):
        groups = group_answers(order, near)
        assert [[member.node for member in group.members] for group in groups] == [[1, 2, 4], [3]]


def test_equivalence_is_asked_once_for_each_text() -> None:
    asked: list[tuple[str, str]] = []

    def spy(a: str, b: str) -> bool:
        asked.append((a, b))
        return a == b

    group_answers([candidate(i, str(i % 3)) for i in range(60)], spy)
    assert asked == [("0", "1"), ("0", "2"), ("1", "2")]


@given(
    answers=st.lists(st.tuples(st.sampled_from([None, "a", "b", "c"]), st.integers(0, 10)), max_size=12),
    rule=st.sampled_from(list(VoteRule)),
    data=st.data(),
)
def test_the_order_of_candidates_never_matters(
    answers: list[tuple[str | None, int]], rule: VoteRule, data: st.DataObject
) -> None:
    members = [candidate(i, answer, score / 10) for i, (answer, score) in enumerate(answers)]
    assert decide(data.draw(st.permutations(members)), rule, same) == decide(members, rule, same)


@pytest.mark.parametrize(
    ("how", "expected"), [("last", 0.6), ("min", 0.5), ("product", 0.9 * 0.5 * 0.6), ("mean", 2 / 3)]
)
def test_aggregations(how: str, expected: float) -> None:
    assert aggregate([0.9, 0.5, 0.6], Aggregation(how)) == pytest.approx(expected)
    with pytest.raises(SearchError, match="without scored steps"):
        aggregate([], Aggregation(how))


@pytest.mark.parametrize(("how", "expected"), [("last", 0.9), ("min", 0.5), ("product", 0.45), ("mean", 0.7)])
def test_a_step_that_goes_on_in_a_child_has_its_score_there(how: str, expected: float) -> None:
    tree = SearchTree()
    first = tree.complete(tree.add_pending(0).id, "First.")
    tree.score(first.id, 0.5)
    call = tree.complete(tree.add_pending(first.id).id, "call")
    tree.go_on(call.id)
    result = tree.complete(tree.add_pending(call.id, origin=Origin.TOOL).id, "5")
    tree.score(result.id, 0.9)
    tree.finish(result.id, "5")
    assert [each.score for each in candidates(tree, Aggregation(how))] == [pytest.approx(expected)]


def test_candidates_are_the_finished_paths_alone() -> None:
    tree = SearchTree()
    for _ in range(3):
        tree.add_pending(0)
    for node, text in ((1, "ab"), (2, "cd"), (3, "ef")):
        tree.complete(node, text, (1, 2))
        tree.score(node, 0.5)
    tree.finish(1, "4")
    leaf = tree.add_pending(2).id
    tree.complete(leaf, "gh", (3,))
    tree.finish(leaf, None)
    assert [(each.node, each.answer, each.score) for each in candidates(tree)] == [(1, "4", 0.5), (leaf, None, None)]
    tree.score(leaf, 0.8)
    last, product = candidates(tree)[1], candidates(tree, Aggregation.PRODUCT)[1]
    assert (last.score, product.score, last.text, last.generated_tokens) == (0.8, 0.4, "cdgh", 3)
