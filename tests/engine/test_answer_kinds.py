"""Answers of every kind through an engine: what is read, how one is chosen, and what the solution says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ramify import Budget, Engine, MajorityVote, Rebase, Solution, UsageError
from ramify.answers.kinds import AnswerKind
from ramify.engine.ensembles.cascade import certainty
from ramify.engine.interrupts import as_it_stands
from ramify.ensembles import pool
from ramify.search.stopping import Situation, make_stop_rule
from ramify.search.strategies.sampling import BestOfN
from ramify.testing import ScriptedModel, ScriptedStep

POEMS = {
    (0,): "The sea is wide and blue",
    (1,): "The sea is wide and deep",
    (2,): "Cats sleep all day",
    (3,): "The sea is wide and blue today",
}
POEM = "Write a short poem about the sea."


class Ordinary(ScriptedModel):
    """A scripted model that is not one of ramify's own: its paths go on after an answer."""

    ends_at_answer = False


def texts(found: Mapping[tuple[int, ...], str]) -> Ordinary:
    return Ordinary(lambda question, path: ScriptedStep(text=found[path], end=True))


async def solve(model: ScriptedModel, question: str, reward: Any = None, **options: Any) -> Solution:
    async with Engine(model=model, reward=reward) as engine:
        return await engine.solve(question, **{"strategy": MajorityVote(width=len(POEMS)), **options})


async def test_of_whole_texts_the_one_most_like_the_others_is_the_answer() -> None:
    solution = await solve(texts(POEMS), POEM)
    assert solution.answer == solution.text == POEMS[(0,)] and solution.tree is not None
    assert solution.reading is not None and solution.reading.kind is AnswerKind.TEXT
    assert solution.reading.guessed and solution.reading.chosen_by == "medoid"
    assert [each.votes for each in solution.candidates] == [1, 1, 1, 1]
    assert {node.answer for node in solution.tree.finished_nodes()} == set(POEMS.values())
    assert 0 < certainty(solution) < 1 and certainty(replace(solution, candidates=solution.candidates[:1])) == 0
    assert Solution.from_dict(solution.to_dict(tree=True)) == solution
    assert solution.to_dict()["reading"]["kind"] == "text"


async def test_of_whole_texts_the_best_score_decides_where_there_is_a_reward() -> None:
    def likes_cats(question: str, steps: list[str]) -> float:
        return 0.9 if "Cats" in steps[0] else 0.1

    for strategy in (BestOfN(width=4), Rebase(width=4)):
        solution = await solve(texts(POEMS), POEM, likes_cats, strategy=strategy)
        assert solution.answer == POEMS[(2,)] and solution.score == 0.9
        assert solution.reading is not None and solution.reading.chosen_by == "best"


async def test_models_with_a_format_of_their_own_answer_as_before() -> None:
    solution = await solve(ScriptedModel(lambda question, path: f"The answer is {path[0] % 2}."), POEM)
    assert solution.answer == "0" and solution.reading is None and "reading" not in solution.to_dict()
    assert [each.votes for each in solution.candidates] == [2, 2, 2, 2]


async def test_the_option_goes_before_the_guess() -> None:
    solution = await solve(
        texts({place: f"{text}.\nThe answer is 4." for place, text in POEMS.items()}), POEM, answer="box"
    )
    assert solution.answer == "4" and solution.reading is not None
    assert (solution.reading.kind, solution.reading.guessed) == (AnswerKind.BOX, False)
    own = ScriptedModel(lambda question, path: ScriptedStep(text=POEMS[path], end=True))
    assert (await solve(own, "q", answer="text")).answer == POEMS[(0,)]
    with pytest.raises(UsageError, match="no form of answers 'poem'"):
        await solve(own, "q", answer="poem")


async def test_the_last_number_answers_where_no_text_states_one() -> None:
    numbers = {(0,): "3 + 4 makes 7", (1,): "So 7 apples", (2,): "That is 8", (3,): "No idea"}
    solution = await solve(texts(numbers), "How many apples?")
    assert solution.answer == "7" and solution.reading is not None and solution.reading.last_resort
    assert [each.answer for each in solution.candidates] == ["7", "7", "8", None]
    stated = await solve(texts(numbers | {(3,): "The answer is 9."}), "How many apples?")
    assert stated.answer == "9" and stated.reading is not None and not stated.reading.last_resort
    assert [each.answer for each in stated.candidates] == [None, None, None, "9"]


async def test_texts_without_an_answer_answer_a_question_of_no_certain_kind() -> None:
    lines = {(0,): "Paris", (1,): "Paris.", (2,): "Lyon", (3,): "It is Paris."}
    solution = await solve(texts(lines), "Where is the Louvre?")
    assert solution.answer == "Paris" and [each.votes for each in solution.candidates] == [2, 2, 1, 1]
    assert solution.reading is not None and solution.reading.kind is AnswerKind.LINE
    asked = await solve(texts(lines), "Where is the Louvre?", answer="box")
    assert asked.answer is None and asked.text == "It is Paris."


async def test_a_text_that_a_limit_cut_is_no_answer() -> None:
    endless = Ordinary(lambda question, path: "and so on\n")
    solution = await solve(endless, POEM, max_path_tokens=12)
    assert solution.answer is None and solution.text.startswith("and so on")
    code = Ordinary(lambda question, path: "```\nprint(1)\n```\n" if len(path) == 1 else "and so on\n")
    assert (await solve(code, "Write a Python function f.", budget=Budget(generated_tokens=40))).answer == "print(1)"


@pytest.mark.parametrize("rule", ["beta:0.5", "posterior:0.1", "window:1", "lead"])
async def test_rules_that_count_votes_never_stop_texts(rule: str) -> None:
    same = texts(dict.fromkeys(POEMS, "The same poem"))
    options: dict[str, Any] = {"stop": rule, "strategy": BestOfN(width=4)}
    solution = await solve(same, POEM, lambda question, steps: 0.9, **options)
    assert solution.stop is None and len(solution.candidates) == 4 and solution.candidates[0].votes == 4


async def test_a_stop_rule_by_score_may_stop_texts_and_names_them_in_short() -> None:
    long = texts({place: text * 20 for place, text in POEMS.items()})
    solution = await solve(long, POEM, lambda question, steps: 0.99, strategy=BestOfN(width=4), stop="score:0.9")
    assert solution.stop is not None and len(solution.stop.reason) < 100


async def test_a_saved_tree_is_read_again_by_the_kind_that_is_asked_for() -> None:
    model = texts({(0,): "3 + 4 makes 7", (1,): "So it is 7 apples"})
    first = await solve(model, "How many?", strategy=MajorityVote(width=2))
    assert first.tree is not None and first.answer == "7"
    again = await solve(model, "How many?", strategy=MajorityVote(width=2), tree=first.tree, answer="text")
    assert again.answer == "3 + 4 makes 7"


async def test_a_run_as_it_stands_selects_texts_too() -> None:
    strategy = MajorityVote(width=4)
    async with Engine(model=texts(POEMS), reward=None) as engine, engine.run(POEM, strategy=strategy) as run:
        await run.result()
        found = as_it_stands(run, strategy, seed=0, model={})
    assert found.answer == POEMS[(0,)] and found.reading is not None and found.reading.chosen_by == "medoid"


async def test_rules_ask_the_vote_whether_it_counts() -> None:
    solution = await solve(texts(POEMS), POEM)
    assert solution.tree is not None
    from ramify.search.votes import VoteRule, candidates, decide

    vote = decide(candidates(solution.tree), VoteRule.MAJORITY, str.__eq__, AnswerKind.TEXT)
    assert 0 < vote.agreement < 1 and vote.chosen_by == "medoid"
    situation = Situation(solution.tree, vote, 4)
    assert situation.voting == () and make_stop_rule("window:1")(situation) is None


async def test_pooled_texts_are_selected_among_all_of_them() -> None:
    first = await solve(texts({(0,): POEMS[(0,)], (1,): POEMS[(2,)]}), POEM, strategy=MajorityVote(width=2))
    second = await solve(texts({(0,): POEMS[(1,)], (1,): POEMS[(3,)]}), POEM, strategy=MajorityVote(width=2))
    pooled = await pool([first, second])
    assert pooled.answer == POEMS[(0,)] and len(pooled.candidates) == 4
    assert pooled.reading is not None and pooled.reading.chosen_by == "medoid"
    boxed = await solve(texts({(0,): "The answer is 4."}), "q", strategy=MajorityVote(width=1), answer="box")
    mixed = await pool([replace(boxed, question=POEM), first])
    assert mixed.reading is not None and mixed.reading.kind is AnswerKind.BOX
