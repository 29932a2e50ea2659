"""Ends of paths: a model's own end, stop sequences and limits, and what an unfinished path says at the last."""

from __future__ import annotations

from typing import Any

import pytest

from ramify import Budget, Engine, Rebase, Solution
from ramify.answers.reading import AnswerReader
from ramify.engine.control.path_ends import PathEnds
from ramify.search.node import FinishReason, NodeState
from ramify.search.strategies.sampling import MajorityVote
from ramify.search.tree import ROOT, SearchTree
from ramify.testing import ScriptedModel, ScriptedStep

BOXES = (
    "The sum is \\boxed{5} at first.\n",
    "But a check shows \\boxed{7}.\n",
    ScriptedStep(text="So it is 7 apples.", end=True),
)


def boxes(question: str, path: tuple[int, ...]) -> str | ScriptedStep:
    return BOXES[min(len(path), 3) - 1]


class Ordinary(ScriptedModel):
    """A scripted model that is not one of ramify's own: its paths go on after an answer."""

    ends_at_answer = False


async def solve(model: ScriptedModel, **options: Any) -> Solution:
    async with Engine(model=model, reward=None) as engine:
        return await engine.solve("q", **{"strategy": MajorityVote(width=2), **options})


async def test_the_first_answer_ends_a_path_only_of_models_that_say_nothing_else() -> None:
    assert (await solve(ScriptedModel(boxes))).answer == "5"
    solution = await solve(Ordinary(boxes))
    assert solution.answer == "7" and solution.text.endswith("So it is 7 apples.")
    assert [each.votes for each in solution.candidates] == [2, 2]


async def test_a_path_at_its_limit_of_tokens_counts_with_its_last_answer() -> None:
    endless = Ordinary(lambda question, path: f"Now \\boxed{{{len(path)}}} it is.\n")
    solution = await solve(endless, max_path_tokens=12)
    assert solution.answer == "3" and all(each.generated_tokens == 12 for each in solution.candidates)
    without = Ordinary(lambda question, path: "And so on it goes.\n")
    assert (await solve(without, max_path_tokens=12)).candidates == ()


async def test_a_path_at_the_limit_of_steps_counts_with_its_last_answer() -> None:
    endless = Ordinary(lambda question, path: f"Now \\boxed{{{len(path)}}} it is.\n")
    async with Engine(model=endless, reward=lambda question, steps: 0.5) as engine:
        solution = await engine.solve("q", strategy=Rebase(width=2, max_depth=4))
    assert solution.answer == "4" and solution.candidates


async def test_a_cut_path_answers_where_no_path_has_finished() -> None:
    endless = Ordinary(lambda question, path: f"Now \\boxed{{{len(path)}}} it is.\n")
    solution = await solve(endless, budget=Budget(generated_tokens=22))
    assert solution.answer is not None and solution.tree is not None
    assert not solution.tree.finished_nodes() and solution.candidates


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("It is \\boxed{40}. Let me che", "40"),
        ("The answer is 40. Let", "40"),
        ("The answer is 4", None),
        ("First \\boxed{3}.\nThe answer is 4", "3"),
        ("#### 41\nThen", "41"),
        ("nothing", None),
    ],
)
def test_an_answer_that_more_text_could_change_is_not_taken_from_a_cut_path(text: str, answer: str | None) -> None:
    tree = SearchTree()
    node = tree.add_pending(ROOT)
    tree.complete(node.id, text, (), None, FinishReason.LENGTH, token_count=9)
    ends = PathEnds(tree, AnswerReader(), max_path_tokens=9, ends_at_answer=False)
    assert node.state is NodeState.OPEN and ends.answer(node) == answer
    assert [each.answer for each in ends.cut_paths()] == ([] if answer is None else [answer])
    assert PathEnds(tree, AnswerReader(), max_path_tokens=9).answer(node) is None
