"""Auto: the probe, the difficulty that it gives, and the strategy that is chosen by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ramify import Engine
from ramify.errors import StrategyError
from ramify.search.node import Node, NodeState, Origin, PruneReason
from ramify.search.registry import make_strategy, strategy_to_dict
from ramify.search.strategies.auto import Auto, difficulty
from ramify.search.strategies.beam import BeamSearch
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.refine import Refine
from ramify.search.strategies.sampling import Greedy, MajorityVote, WeightedVote
from ramify.search.strategies.widening import Widening
from ramify.search.tree import SearchTree
from ramify.testing import ScriptedModel, ScriptedReward, ScriptedStep

from .scripted import Path, Step, play


def node(answer: str | None, score: float | None = None) -> Node:
    return Node(id=1, parent=0, index=0, path=(0,), state=NodeState.FINISHED, answer=answer, score=score)


def agreeing(path: Path) -> Step:
    return Step(0.9, "7") if len(path) == 2 else Step(0.9)


def differing(path: Path) -> Step:
    return Step(0.2, str(path[0])) if len(path) == 2 else Step(0.2)


def test_difficulty_is_one_minus_the_share_of_the_leading_answer() -> None:
    assert difficulty([node("1"), node("1"), node("2")], 4) == 0.5
    assert difficulty([node("1")] * 4, 4) == 0.0
    assert difficulty([], 4) == 1.0


def test_with_scores_it_is_the_mean_of_agreement_and_score() -> None:
    assert difficulty([node("1", 0.8), node("1", 0.6)], 2) == pytest.approx(1 - (1.0 + 0.7) / 2)
    assert difficulty([node("1", 0.8)], 2) == pytest.approx(1 - (0.5 + 0.4) / 2)


@pytest.mark.parametrize("burst", [1, 3, 100])
def test_an_easy_problem_gets_the_first_choice_and_a_hard_one_the_last(burst: int) -> None:
    auto = Auto(choices=(MajorityVote(width=4), Rebase(width=8)), edges=(0.3,), probe_paths=4)
    easy, hard = play(auto, agreeing, burst=burst), play(auto, differing, burst=burst)
    assert auto.settled(easy) == MajorityVote(width=4)
    assert auto.settled(hard) == Rebase(width=8)
    assert len(easy) == 1 + 4
    assert hard.finished_count == 8


def test_the_probe_is_part_of_the_width() -> None:
    tree = play(Auto(choices=(WeightedVote(width=6),), probe_paths=4), agreeing, burst=100)
    assert [each.origin for each in tree.level(1)] == [Origin.MODEL] * 6
    assert [tree.child_count(each.id) for each in tree.level(1)] == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("chosen", [Rebase(width=9), BeamSearch(width=9)], ids=lambda each: each.name)
def test_what_searches_by_steps_fills_up_the_width(chosen: Rebase | BeamSearch) -> None:
    tree = play(Auto(choices=(chosen,), probe_paths=2), agreeing, burst=100)
    assert tree.finished_count == 9


def test_a_probe_that_dies_counts_as_hard() -> None:
    script = lambda path: Step(0.9, PruneReason.EMPTY) if path[0] < 2 else Step(0.9, "7")  # noqa: E731
    auto = Auto(choices=(MajorityVote(width=2), MajorityVote(width=5)), edges=(0.9,), probe_paths=2)
    assert play(auto, script).finished_count == 3


def test_a_choice_without_a_reward_waits_for_the_scores_that_another_choice_needs() -> None:
    auto = Auto(choices=(MajorityVote(width=3), Rebase(width=8)), edges=(0.9,), probe_paths=1)
    tree = SearchTree()
    for _ in range(3):
        tree.add_pending(0)
    tree.complete(1, "all of it")
    tree.finish(1, "7")
    tree.score(1, 0.9)
    tree.complete(2, "The answer is 7.")
    tree.complete(3, "on")
    tree.score(3, 0.9)
    assert [wish.node for wish in auto.decide(tree).expansions] == [3]


def test_until_the_probe_is_complete_the_widest_choice_counts() -> None:
    auto = Auto(choices=(MajorityVote(width=4), Rebase(width=8)), edges=(0.3,))
    assert auto.settled(SearchTree()).width == 8


def test_it_survives_saving() -> None:
    auto = Auto(choices=(MajorityVote(width=4), Rebase(width=8, depth_widths=(4, 2))), edges=(0.3,))
    assert make_strategy(**strategy_to_dict(auto)) == auto


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"choices": ()}, "0 choices with 0 edges"),
        ({"choices": (MajorityVote(), Rebase())}, "2 choices with 0 edges"),
        ({"choices": (MajorityVote(), Rebase(), MajorityVote()), "edges": (0.5, 0.5)}, "do not ascend"),
        ({"choices": (Greedy(),)}, "narrower than the probe of 4 paths"),
    ],
)
def test_choices_that_do_not_fit_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(StrategyError, match=message):
        Auto(**options)  # pyright: ignore[reportArgumentType]


async def run(strategy: Auto, script: Callable[[str, Path], str | ScriptedStep], reward: ScriptedReward | None = None):
    async with Engine(model=ScriptedModel(script), reward=reward) as engine:
        return await engine.solve("How many?", strategy=strategy)


async def test_the_vote_is_that_of_the_choice_though_the_last_probe_has_no_answer() -> None:
    def script(_: str, path: Path) -> str | ScriptedStep:
        if path[0] == 3:
            return ScriptedStep(text="I do not know", end=True)
        return "go on\n" if path[0] > 3 else f"The answer is {1 if path[0] < 2 else 2}."

    strategy = Auto(choices=(MajorityVote(width=4), Rebase(width=4)), edges=(0.3,), probe_paths=4)
    solution = await run(strategy, script, ScriptedReward(lambda _, steps: 0.9 if "is 2" in steps[-1] else 0.1))
    assert solution.answer == "2"


async def test_a_choice_that_is_sure_after_the_probe_writes_no_more() -> None:
    solution = await run(Auto(choices=(Widening(width=64),)), lambda *_: "The answer is 7.")
    assert (solution.answer, len(solution.candidates)) == ("7", 4)


async def test_a_choice_may_revise_its_texts() -> None:
    strategy = Auto(choices=(Refine(width=8), MajorityVote(width=8)), edges=(0.5,))
    solution = await run(strategy, lambda *_: "The answer is 7.")
    assert solution.answer == "7"
    assert solution.tree is not None and Origin.REVISION in {node.origin for node in solution.tree}
    with pytest.raises(StrategyError, match="different instructions"):
        Auto(choices=(Refine(width=8), Refine(width=8, critique=False)), edges=(0.5,))
