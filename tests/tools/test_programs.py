"""Programs of models against tests, examples and inputs, in the sandbox."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from ramify.answers.checkers import make_checker
from ramify.answers.programs import ProgramEquality, gold_tests
from ramify.engine.rewards.code_rewards import CHECKED, FAILED, NOTHING_KNOWN, WORKED, ExamplesReward, score_of_calls
from ramify.reward.protocol import ScoredStep
from ramify.tools import programs
from ramify.tools.programs import run_examples, run_inputs, run_tests

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

HEAD = '''from typing import List


def largest(values: List[int]) -> int:
    """ Return the largest value, 0 for none.
    >>> largest([1, 3, 2])
    3
    >>> largest([])
    0
    """
'''
RIGHT = "def largest(values):\n    return max(values, default=0)"
TESTS = "def check(candidate):\n    assert candidate([5, 7]) == 7\n    assert candidate([]) == 0"
GOLD = gold_tests(TESTS, setup=HEAD, entry_point="largest")


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        (RIGHT, True),
        ("    return max(values, default=0)", True),
        ("return max(values, default=0)", True),
        ("    def largest(values: List[int]):\n        return max(values, default=0)", True),
        ("def largest(values):\n    return max(values)", False),
        ("def largest(values):\n    return values[", False),
        ("import os\nos._exit(0)", False),
        ("import sys\nsys.exit(0)", False),
        ("def check(candidate): pass", False),
        ("print('passed')", False),
        ("while True: pass", False),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", False),
        ("print('x' * 10**8)\n" + RIGHT, True),
        ("if __name__ == '__main__':\n    print(largest(input()))\n" + RIGHT, True),
    ],
)
def test_code_is_right_if_its_tests_pass(code, passed, monkeypatch):
    monkeypatch.setattr(programs, "CODE_LIMITS", replace(programs.CODE_LIMITS, cpu_s=1))
    assert make_checker("python-tests").accepts(code, GOLD) is passed


async def test_the_first_error_of_tests_is_told():
    assert "ZeroDivisionError" in (await run_tests("1 / 0", "assert True")).error


@pytest.mark.parametrize(
    ("code", "passed", "total", "runs"),
    [
        (RIGHT, 2, 2, True),
        ("def largest(values):\n    return max(values)", 1, 2, True),
        ("def largest(values):\n    while True: pass", 0, 2, True),
        ("def largest(values: return", 0, 2, False),
        ("import os\nos._exit(0)", 0, 2, False),
    ],
)
async def test_examples_of_a_question_are_counted(code, passed, total, runs):
    found = await run_examples(code, HEAD)
    assert (found.passed, found.total, found.runs) == (passed, total, runs)


@pytest.mark.parametrize(
    "question",
    [
        "Write f.\n```python\ndef f(a, b):\n    '''f([1], \"b)\") => (1, 'b)')\n    f([], '') ==> true\n    '''\n```",
        "Write a function f.\nassert f([1], 'b)') == (1, 'b)')\nassert f([], '')",
        "def f(a, b):\n    '''\n    >>> f([1], 'b)') == (1, 'b)')\n    >>> f([], '')\n    True\n    '''",
    ],
)
async def test_examples_are_found_in_their_usual_forms(question):
    found = await run_examples("def f(a, b):\n    return (a[0], b) if a else True", question)
    assert (found.passed, found.total) == (2, 2)


def test_programs_that_return_the_same_are_equal():
    equality = ProgramEquality(HEAD)
    loop = (
        "def largest(values):\n    best = 0\n    for each in values:\n        best = max(best, each)\n    return best"
    )
    sort = "def largest(items):\n    return sorted(items)[-1] if items else 0"
    failing = "def largest(values):\n    return values.nothing"
    other = "def largest(values):\n    return undefined"
    assert equality._same(RIGHT, sort)
    assert not equality._same(RIGHT, loop), "negative numbers are among the inputs"
    assert not equality._same(failing, other)
    assert equality.works(RIGHT) and not equality.works(failing)
    assert equality.same(RIGHT, sort) and not equality.unresolved


async def test_inputs_follow_from_the_question_alone():
    first, second = [await run_inputs(RIGHT, HEAD) for _ in range(2)]
    assert first == second and len(set(first.values)) >= 3
    assert (await run_inputs("print(6 * 7)", "Write a program that prints the answer.")).values == ("42\n",)
    typed = await run_inputs("def f(a, b): return a + b", "def f(a: int, b: int) -> int:\n    '''Add.'''")
    assert not any(each.startswith("error") for each in typed.values)


async def test_the_reward_examples_is_the_share_that_passes():
    session = await ExamplesReward().open(HEAD)
    half = "```python\ndef largest(values):\n    return 3\n```"
    paths = ("I think.", f"```python\n{RIGHT}\n```", half, "```python\ndef largest(values):")
    steps = [ScoredStep(node=place, parent=None, path=(each,)) for place, each in enumerate(paths)]
    assert await session.score(steps) == [NOTHING_KNOWN, 1.0, 0.5, NOTHING_KNOWN]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Nothing is called.", NOTHING_KNOWN),
        ("```python\nprint(1)\n```\n```output\n1\n```\n", WORKED),
        ("```python\nassert f(1) == 2\n```\n```output\n(no output)\n```\n", CHECKED),
        ("```python\nassert f(1) == 3\n```\n```output\nAssertionError\n```\n", FAILED),
        ("```output\n3\n```\nmore\n```output\nerror: there is no tool 'x'\n```\n", FAILED),
        ("```output\nerror: time\n```\nagain\n```output\n3\n```\n", WORKED),
    ],
)
def test_the_reward_tool_is_what_the_last_result_says(text, score):
    assert score_of_calls(text) == score
