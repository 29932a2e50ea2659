"""Problems that share a budget, and models that share a problem."""

from __future__ import annotations

import pytest

import ramify
from ramify.engine.ensembles.cascade import cascade, certainty, ensemble
from ramify.engine.ensembles.shared_budget import solve_set
from ramify.errors import UsageError
from ramify.search.budget_sharing import EqualSplit, Portfolio
from ramify.testing import ScriptedModel, ScriptedReward


def answers(question: str, path: tuple[int, ...]) -> str:
    """Easy questions always say 1; hard ones say 1 for two paths of three."""
    if question.startswith("easy"):
        return "The answer is 1."
    return f"The answer is {1 if path[0] % 3 else 2}."


PROBLEMS = [ramify.Problem(id=str(i), question=q, answer="1") for i, q in enumerate(["easy", "hard", "easy b"])]
PATH_TOKENS = 5


async def test_a_budget_goes_where_the_answer_is_open() -> None:
    async with ramify.Engine(model=ScriptedModel(answers), reward=None) as engine:
        found = await solve_set(engine, PROBLEMS, generated_tokens=40 * PATH_TOKENS, parallel=1)
    counts = [0 if each is None else len(each.candidates) for each in found]
    assert counts[0] == counts[2] == 4
    assert counts[1] > 8
    assert sum(each.usage.policy.generated_tokens for each in found if each) <= 40 * PATH_TOKENS
    assert [each.answer for each in found if each] == ["1", "1", "1"]


async def test_tranches_give_the_paths_of_one_wide_run() -> None:
    async with ramify.Engine(model=ScriptedModel(answers), reward=None) as engine:
        (found,) = await solve_set(
            engine, PROBLEMS[1:2], generated_tokens=1000, allocator=EqualSplit(tranche=3, most=12), parallel=2
        )
        whole = await engine.solve(PROBLEMS[1], strategy=ramify.MajorityVote(width=12))
    assert found is not None
    assert [each.answer for each in found.candidates] == [each.answer for each in whole.candidates]
    assert found.usage.policy.generated_tokens == whole.usage.policy.generated_tokens


async def test_problems_that_get_nothing_have_no_solution() -> None:
    many = [ramify.Problem(id=str(i), question=f"easy {i}") for i in range(30)]
    async with ramify.Engine(model=ScriptedModel(answers), reward=None) as engine:
        found = await solve_set(engine, many, generated_tokens=300, allocator=Portfolio(first=4), parallel=1)
    reached = [each is not None for each in found]
    assert reached == sorted(reached, reverse=True)
    assert 5 <= sum(reached) < 30
    assert sum(each.usage.policy.generated_tokens for each in found if each) <= 300


async def test_scores_can_weigh_the_votes_of_a_set() -> None:
    reward = ScriptedReward(lambda question, steps: 0.9 if "2" in steps[-1] else 0.1)
    async with ramify.Engine(model=ScriptedModel(answers), reward=reward) as engine:
        found = await solve_set(
            engine, PROBLEMS[1:2], generated_tokens=1000, allocator=EqualSplit(most=6), weighted=True
        )
    assert found[0] is not None
    assert found[0].answer == "2"


async def test_wrong_numbers_are_said() -> None:
    async with ramify.Engine(model=ScriptedModel(answers), reward=None) as engine:
        with pytest.raises(UsageError, match="generated_tokens is 0"):
            await solve_set(engine, PROBLEMS, generated_tokens=0)
        with pytest.raises(UsageError, match="needs a reward"):
            await solve_set(engine, PROBLEMS, generated_tokens=10, weighted=True)


async def test_the_bundled_model_stays_within_the_budget_of_a_set() -> None:
    problems = ramify.generate_problems(steps=(2, 4), count=5, seed=77)
    async with ramify.Engine(reward=None, isolation="thread") as engine:
        found = await solve_set(engine, problems, generated_tokens=2500, parallel=3)
    assert 0 < sum(each.usage.policy.generated_tokens for each in found if each) <= 2500
    assert all(each is not None and each.answer is not None for each in found)


def unsure(question: str, path: tuple[int, ...]) -> str:
    return f"The answer is {path[0]}."


async def test_a_cascade_asks_the_larger_model_only_in_doubt() -> None:
    strategy = ramify.MajorityVote(width=6)
    small, large = ScriptedModel(answers, name="small"), ScriptedModel(lambda q, p: "The answer is 9.", name="large")
    async with ramify.Engine(model=small, reward=None) as one, ramify.Engine(model=large, reward=None) as two:
        easy = await cascade([one, two], "easy", strategy=strategy)
        hard = await cascade([one, two], "hard", strategy=strategy)
    assert (easy.answer, easy.model["policy"]) == ("1", "small")
    assert (hard.answer, hard.model["policy"]) == ("9", "large")
    assert hard.usage.policy.generated_tokens == 2 * easy.usage.policy.generated_tokens


async def test_certainty_is_the_posterior_of_the_answer() -> None:
    async with ramify.Engine(model=ScriptedModel(answers), reward=None) as engine:
        sure = await engine.solve("easy", strategy=ramify.MajorityVote(width=4))
        open_vote = await engine.solve("hard", strategy=ramify.MajorityVote(width=6))
    assert certainty(sure) == 1 - 1 / 32
    # Four to two: of seven trials at most four.
    assert certainty(open_vote) == (1 + 7 + 21 + 35 + 35) / 128


async def test_certainty_when_all_differ() -> None:
    async with ramify.Engine(model=ScriptedModel(unsure), reward=None) as engine:
        assert certainty(await engine.solve("q", strategy=ramify.MajorityVote(width=3))) == 0.5


async def test_an_ensemble_votes_together() -> None:
    one, two = ScriptedModel(unsure, name="one"), ScriptedModel(lambda q, p: "The answer is 2.", name="two")
    async with ramify.Engine(model=one, reward=None) as first, ramify.Engine(model=two, reward=None) as second:
        solution = await ensemble([first, second], "q", strategy=ramify.MajorityVote(width=3))
    assert (solution.answer, len(solution.candidates)) == ("2", 6)
    assert solution.model["policy"] == "one + two"


async def test_what_cannot_be_asked_is_said() -> None:
    async with ramify.Engine(model=ScriptedModel(unsure), reward=None) as engine:
        with pytest.raises(UsageError, match="no engines"):
            await cascade([], "q")
        with pytest.raises(UsageError, match="no engines"):
            await ensemble([], "q")
        with pytest.raises(UsageError, match="confidence is 0"):
            await cascade([engine], "q", confidence=0)


async def test_the_error_of_one_search_comes_without_a_group() -> None:
    done = list[int]()
    async with ramify.Engine(model=ScriptedModel(answers), reward=None) as engine:
        with pytest.raises(UsageError, match="empty"):
            await ensemble([engine, engine], "")
        with pytest.raises(UsageError, match="empty"):
            await solve_set(
                engine,
                [PROBLEMS[0], ramify.Problem(id="bad")],
                generated_tokens=2000,
                parallel=2,
                on_solution=lambda place, solution: done.append(place),
            )
    assert set(done) <= {0}
