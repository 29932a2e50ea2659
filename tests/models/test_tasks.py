"""The bundled tasks: the rearranging of lists, and the checking of steps."""

from __future__ import annotations

import random
import re

import pytest

import ramify
from ramify.engine.library.catalog import list_bundled
from ramify.engine.loading import default_reward
from ramify.engine.rewards.naming import read_reward_name
from ramify.models.tasks.partition import part_of, stream_seed
from ramify.models.tasks.story import THINGS
from ramify.models.tasks.tasks import ARITHMETIC, LISTS, TASKS, Task, generate_problems, task_of
from ramify.problem import Problem

PLACES = ["first", "second", "third", "fourth", "fifth", "sixth"]


def follow(items: list[str], sentence: str) -> list[str]:
    """Do what a sentence asks for, written anew from what the sentence means."""
    named = [word for word in re.findall(r"[a-z]+", sentence) if word in THINGS]
    places = [PLACES.index(word) for word in re.findall(r"[a-z]+", sentence) if word in PLACES]
    new, done = next((word for word in named if word not in items), ""), list(items)
    if sentence.startswith(("Reverse", "Turn", "Write the list from back")):
        return done[::-1]
    if sentence.startswith("Sort"):
        return sorted(done)
    if sentence.startswith("Move"):
        count = 2 if "two items" in sentence else 1
        return done[count:] + done[:count] if "first" in sentence else done[-count:] + done[:-count]
    if sentence.startswith(("Swap", "Let")):
        one, two = places or [items.index(word) for word in named]
        done[one], done[two] = done[two], done[one]
    elif sentence.startswith(("Remove", "Take")):
        done.pop(places[0] if places else items.index(named[0]))
    elif sentence.startswith(("Add", "Put")):
        other = next((word for word in named if word != new), "")
        at = 0 if "at the front" in sentence else len(items)
        if other:
            at = items.index(other) + ("after" in sentence)
        done.insert(at, new)
    else:
        done[places[0] if places else items.index(next(word for word in named if word != new))] = new
    return done


def test_solutions_do_what_the_question_asks() -> None:
    for problem in generate_problems((1, 12), 300, seed=5, task="lists"):
        first, *sentences, question = re.findall(r"[^.?]+[.?]", problem.question)
        items = [word for word in re.findall(r"[a-z]+", first) if word in THINGS]
        *lines, last = (problem.solution or "").splitlines()
        assert len(lines) == len(sentences) == problem.metadata["steps"]
        for sentence, line in zip(sentences, lines, strict=True):
            items = follow(items, sentence.strip())
            assert line.partition(": ")[2] == f"{' '.join(items)}.", (problem.question, line)
            assert 3 <= len(items) == len(set(items)) <= 6
        place = next((PLACES.index(word) for word in question.split() if word in PLACES), None)
        assert problem.answer == (" ".join(items) if place is None else items[place])
        assert last == f"The answer is {problem.answer}."
        assert ramify.extract_answer(problem.solution or "") == problem.answer


def test_lists_are_repeatable_and_apart_from_training() -> None:
    assert generate_problems(count=20, seed=3, task="lists") == ramify.generate_problems(count=20, seed=3, task="lists")
    train = [LISTS.one(stream_seed("train", 1, i), (2, 8), "train", "") for i in range(100)]
    for problems, part in ((train, "train"), (generate_problems(count=100, seed=1, task="lists"), "eval")):
        for problem in problems:
            start = re.search(r"(?:list: |list of \w+ is )([^.]+)\.", problem.question)
            assert start is not None
            assert part_of([start[1], *(problem.solution or "").splitlines()[:-1]]) == part


def test_the_task_must_exist() -> None:
    with pytest.raises(ValueError, match="there is no task 'chess'; the tasks are arithmetic, lists"):
        generate_problems(task="chess")


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_worked_solutions_are_right_and_planted_errors_are_found(task: Task) -> None:
    for problem in task.problems((2, 8), 150, 3):
        assert task_of(problem) is task
        steps = task.steps(problem.solution or "")
        assert task.first_error(problem, steps) is None
        chance = random.Random(problem.id)
        at = chance.randrange(len(steps) - 1)
        assert task.first_error(problem, [f"{line}\n" for line in task.plant_error(problem, at, chance)]) == at


WORD_PROBLEM = Problem(
    id="1",
    question="?",
    answer="25",
    solution="Ann has 2+3=5 pens.\nBob has 5*4=20 pens.\nThey have 5+20=25 pens.\nThe answer is 25.",
)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["Bob has 4*5=20 pens.", "A 3+2=5.", "They have 20+5=25 pens.", "The answer is 25."], None),
        (["Ann has 2+3=6 pens.", "Bob has 6*4=24 pens.", "The answer is 24."], 0),
        # Not what the worked solution does: wrong if it leads to a wrong answer, another way if it does not.
        (["Ann has 2+3=5 pens.", "They have 5+5=10 pens.", "The answer is 10."], 1),
        (["Ann has 2+3=5 pens.", "They have 5*5=25 pens.", "The answer is 25."], None),
        (["Ann has 2+3=5 pens.", "Ann has 2+3=5 pens.", "The answer is 5."], 1),
        (["Ann has 2+3=5 pens.", "The answer is 5."], 1),
        (["Ann has 2+3=5 pens.", "Well, well.", "The answer is 5."], 1),
    ],
)
def test_first_errors_of_word_problems(lines: list[str], error: int | None) -> None:
    assert ARITHMETIC.first_error(WORD_PROBLEM, lines) == error


LIST_PROBLEM = Problem(
    id="1",
    question="?",
    answer="c b d",
    solution="reversed: c b a.\nremoved: c b.\nadded: c b d.\nThe answer is c b d.",
    metadata={"task": "lists"},
    check="exact",
)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (["turned: c b a.", "added: c b d.", "The answer is c b d."], None),
        (["reversed: c a b.", "removed: c b.", "The answer is c b."], 0),
        (["removed: c b.", "reversed: c b a.", "The answer is c b a."], 1),
        (["reversed: c b a.", "The answer is c b a."], 1),
    ],
)
def test_first_errors_of_list_problems(lines: list[str], error: int | None) -> None:
    assert LISTS.first_error(LIST_PROBLEM, lines) == error


def test_each_task_has_a_bundled_policy_and_no_reward_that_learned_another() -> None:
    cards = {entry.name: entry.card for entry in list_bundled()}
    learned = {name: card["task"] for name, card in cards.items() if card["role"] == "policy"}
    assert set(learned.values()) == set(TASKS)
    for name, task in learned.items():
        reward = default_reward(f"{name}:q8_0")
        if reward not in (None, "mean-logprob"):
            judges = {part.model for part in read_reward_name(str(reward)).singles if part.model}
            assert judges and {cards[judge]["task"] for judge in judges} == {task}


def test_steps_of_other_problems_cannot_be_checked() -> None:
    assert task_of(Problem(id="1", question="?", answer="3", solution="By theorem 4.\nThe answer is 3.")) is None
    assert task_of(Problem(id="1", question="?", answer="25")) is None
    assert task_of(Problem(id="1", question="?", solution="a\nb", metadata={"task": "chess"})) is None
