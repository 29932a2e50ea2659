"""Running totals: which texts contradict themselves, which say nothing, and the reward."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ramify
from ramify.reward.protocol import ScoredStep
from ramify.reward.totals import CONTRADICTED_SCORE, MAX_CHARACTERS, TotalsReward, contradicts

QUESTION = (
    "Eva starts with 40 toys. Zoe has 10 toys. Then Eva buys 7 more toys. Zoe also has 6 nuts. Ann comes with 2 toys"
)
FOLLOWS = [
    ["Eva has 40+7=47 toys."],
    ["Eva has 40 + 7 = 47 toys in all.", "Eva has 50-47=3 more toys."],
    ["Eva has 7+40=47 toys.", "Eva then has 47-1=46 toys."],
    ["Eva had 40-4=36 toys. Eva has 36+7=43 toys."],
    ["Zoe has 6+1=7 nuts.", "Zoe has 10+1=11 toys."],
    ["Eva has 40+7=47 toys.", "Eva and Zoe have 47+10=57 toys.", "All three have 57+2=59 toys."],
    ["Kim has 40-12=28 toys.", "Kim and Zoe have 10+28=38 toys."],
    ["Zoe buys 3*4=12 toys."],
    ["She has 3+4=7 toys."],
    ["Eva has 47 toys."],
    ["Zoe has 3+4=7 boxes."],
    ["Zoe has 10-1,000=1 toys."],
    [""],
]
CONTRADICTS = [
    ["Eva has 10+7=17 toys."],
    ["Eva has 40+7=47 toys.", "Eva has 40-1=39 toys."],
    ["Eva has 40+7=47 toys.\nEva has 40-1=39 toys.\n"],
    ["Eva has 40+7=47 toys.", "Zoe has 47-3=44 toys."],
    ["Eva has 40+7=47 toys.", "Eva and Zoe have 47+7=54 toys."],
    ["Eva has 20+20=40 toys.", "Eva and Zoe have 47+10=57 toys."],
    ["Eva and Eva have 40+40=80 toys."],
    ["Eva and Zoe have 40+10=50 toys.", "All three have 40+2=42 toys."],
    ["Eva has 50-41=9 more toys."],
]


@pytest.mark.parametrize("steps", FOLLOWS)
def test_totals_that_follow_or_say_nothing(steps: list[str]):
    assert not contradicts(QUESTION, steps)


@pytest.mark.parametrize("steps", CONTRADICTS)
def test_totals_that_do_not_follow(steps: list[str]):
    assert contradicts(QUESTION, steps)


def test_worked_solutions_of_the_bundled_task_follow():
    for problem in ramify.generate_problems(steps=(2, 8), count=300, seed=5):
        assert problem.solution
        assert not contradicts(problem.question, problem.solution), problem


def test_more_totals_than_a_path_has_steps_do_not_matter():
    step = "Eva has 1+1=2 toys. " * MAX_CHARACTERS
    assert contradicts(QUESTION, [step])


@given(st.text(alphabet="AZaz09 .,=+-\nEvahs", max_size=300), st.text(max_size=100))
def test_any_text_is_read(question: str, step: str):
    assert contradicts(question, [step, question]) in (True, False)


@pytest.mark.anyio
async def test_the_reward_scores_each_path_by_its_own_totals():
    session = await TotalsReward().open(QUESTION)
    start = ["Eva has 40+7=47 toys.\n"]
    first = await session.score([ScoredStep(node=1, parent=None, path=tuple(start))])
    right = ScoredStep(node=2, parent=1, path=(*start, "Eva has 47-1=46 toys.\n"))
    wrong = ScoredStep(node=3, parent=1, path=(*start, "Eva has 10-1=9 toys.\n"))
    assert first + await session.score([right, wrong]) == [1.0, 1.0, CONTRADICTED_SCORE]
    later = ScoredStep(node=4, parent=3, path=(*wrong.path, "The answer is 9."))
    assert await session.score([later]) == [CONTRADICTED_SCORE]
    # What was forgotten is read again from the texts.
    await session.release([1, 2, 3, 4])
    assert await session.score([right, later]) == [1.0, CONTRADICTED_SCORE]
    await session.close()
    assert session.usage.evaluated_tokens == 0
