"""Solved problems of a store: kept where the vote was clear, and found by how like their questions are."""

from __future__ import annotations

from pathlib import Path

import pytest

import ramify
from ramify.conversation import Example
from ramify.engine.store.rows import RowKind, RowStore
from ramify.engine.store.solved import ProblemMemory, SolvedProblem, is_clear, keep_solved, solved_problems
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.testing import ScriptedModel

QUESTIONS = (
    "Sara starts with 55 seeds. She buys 185 seeds. How many seeds does Sara have?",
    "A train covers 60 miles in an hour. How long does it take for 300 miles?",
    "Tom starts with 12 seeds and plants 7 of the seeds. How many seeds does Tom have?",
)


def memory_of(rows: RowStore, *questions: str, source: str = "model") -> ProblemMemory:
    for question in questions:
        keep_solved(rows, SolvedProblem(source, question, f"Text of: {question}", "1"))
    return ProblemMemory.of(rows, source)


def asked(memory: ProblemMemory, question: str, count: int) -> list[str]:
    return [each.question for each in memory.similar(question, count)]


def test_the_most_similar_problem_comes_last(tmp_path: Path) -> None:
    question = "Sara starts with 8 seeds. She buys 9 seeds. How many seeds does she have?"
    with RowStore(tmp_path) as rows:
        memory = memory_of(rows, *QUESTIONS)
        assert len(memory) == 3
        assert asked(memory, question, 1) == [QUESTIONS[0]]
        assert asked(memory, question, 2) == [QUESTIONS[2], QUESTIONS[0]]
        assert asked(memory, "xyzzy", 3) == []
        # Itself is none of them; the same words with other numbers are another question.
        assert QUESTIONS[0] not in asked(memory, QUESTIONS[0], 3)
        assert asked(memory, QUESTIONS[0].replace("185", "12"), 1) == [QUESTIONS[0]]
        mine = Example("Mine?", "Yes.")
        shown = memory.shown(Problem(question=question, examples=(mine,)), 1)
        assert shown.examples == (Example(QUESTIONS[0], f"Text of: {QUESTIONS[0]}"), mine)


def test_problems_of_another_model_or_prompt_are_not_shown(tmp_path: Path) -> None:
    with RowStore(tmp_path) as rows:
        memory_of(rows, QUESTIONS[0], source="other")
        assert asked(memory_of(rows, QUESTIONS[2]), QUESTIONS[0], 3) == [QUESTIONS[2]]
        rows.put(RowKind.SOLVED, bytes(20), b'{"question": 1}')
        rows.put(RowKind.SOLVED, bytes(19) + b"1", b"no JSON")
    with RowStore(tmp_path) as rows:
        assert [each.question for each in solved_problems(rows, "model")] == [QUESTIONS[2]]


@pytest.mark.parametrize(
    ("answers", "clear"),
    [("7777", True), ("7757", True), ("7755", False), ("777", False), ("7", False), ("77776655", False)],
)
async def test_only_clear_votes_are_kept(tmp_path: Path, answers: str, clear: bool) -> None:
    model = ScriptedModel(lambda question, path: f"The answer is {answers[path[0]]}.")
    async with ramify.Engine(model=model, reward=None) as engine:
        solution = await engine.solve("How many?", strategy=ramify.MajorityVote(width=len(answers)))
    assert is_clear(solution) is clear
    with RowStore(tmp_path) as rows:
        keep = memory_of(rows).keeper(Problem(question="How many?"))
        assert keep is not None
        keep(solution)
        found = solved_problems(rows, "model")
        expected = [SolvedProblem("model", "How many?", "The answer is 7.", "7")] if clear else []
        assert found == expected


PROGRAMS = ("def f(x):\n    return x", "def f(x):\n    return x + 0", "def f(x):\n    return unknown")


@pytest.mark.slow
async def test_programs_without_a_vote_are_kept_with_the_others(tmp_path: Path) -> None:
    model = ScriptedModel(lambda question, path: f"```python\n{PROGRAMS[path[0]]}\n```")
    problem = Problem(question='def f(x):\n    """\n    >>> f(1)\n    1\n    """', check="python-tests")
    async with ramify.Engine(model=model, reward=None, store=tmp_path) as engine:
        solution = await engine.solve(problem, strategy=ramify.MajorityVote(width=3), answer="program")
    assert sorted(each.votes for each in solution.candidates) == [0, 2, 2]
    assert solution.vote_counts() == [2]


async def test_problems_that_a_search_solved_are_examples_of_the_next_engine(tmp_path: Path) -> None:
    problems = ramify.generate_problems(steps=(2, 2), count=6, seed=5)
    strategy = ramify.MajorityVote(width=4)
    async with ramify.Engine(reward=None, isolation="thread", store=tmp_path) as engine:
        solutions = [await engine.solve(each, strategy=strategy, seed=1, remember=1) for each in problems[:5]]
        plain = await engine.solve(problems[5], strategy=strategy, seed=1)
    clear = [each.question for each in solutions if each.answer is not None and is_clear(each)]
    assert clear and len(clear) < 5
    with RowStore(tmp_path) as rows:
        kept = {each[1] for each in rows.values(RowKind.SOLVED)}
    # The last one was solved, too.
    assert len(kept) == len(clear) + is_clear(plain)
    async with ramify.Engine(reward=None, isolation="thread", store=tmp_path) as engine:
        shown = await engine.solve(problems[5], strategy=strategy, seed=1, remember=2)
        again = await engine.solve(problems[5], strategy=strategy, seed=1)
        last = await engine.solve(problems[4], strategy=strategy, seed=1)
    # What was solved meanwhile is no example before the engine is opened again.
    assert solutions[4].usage.policy.prompt_tokens == last.usage.policy.prompt_tokens
    assert shown.usage.policy.prompt_tokens > plain.usage.policy.prompt_tokens
    assert (again.answer, again.usage.policy.prompt_tokens) == (plain.answer, plain.usage.policy.prompt_tokens)


async def test_nothing_is_remembered_without_a_store() -> None:
    async with ramify.Engine(model=ScriptedModel(lambda question, path: "The answer is 7."), reward=None) as engine:
        with pytest.raises(UsageError, match="no store"):
            await engine.solve("How many?", remember=1)
