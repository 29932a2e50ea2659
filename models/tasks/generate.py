"""Generation of the bundled task: arithmetic word problems of a chosen number of steps."""

from __future__ import annotations

from random import Random

from ramify.problem import Problem

from .operations import OPERATIONS, distract
from .partition import Part, part_of
from .questions import ask, ask_with_step
from .story import Story, amount, start_story


def generate_one(seed: int, steps: tuple[int, int], part: Part, problem_id: str) -> Problem:
    """Return the problem that `seed` determines, of `part`, with its number of steps drawn uniformly."""
    story, answer = tell_one(seed, steps, part)
    lines = [*story.lines, f"The answer is {answer}."]
    return Problem(
        id=problem_id,
        question=" ".join(story.sentences),
        answer=str(answer),
        solution="\n".join(lines),
        metadata={"steps": len(story.sums)},
    )


def tell_one(seed: int, steps: tuple[int, int], part: Part) -> tuple[Story, int]:
    """Return the story of the problem that `seed` determines, and its answer."""
    rng = Random(seed)
    wanted = rng.randint(*steps)
    while True:
        story = start_story(rng)
        answer = _tell(story, wanted)
        if answer is not None and part_of(story.sums) == part:
            return story, answer


def _tell(story: Story, wanted: int) -> int | None:
    rng = story.rng
    _open(story)
    for _ in range(60):
        room = wanted - len(story.sums) - (len(story.live) - 1)
        if room == 0:
            _maybe_distract(story)
            return ask(story)
        if room == 1 and len(story.live) == 1 and rng.random() < 0.35:
            answer = ask_with_step(story)
            if answer is not None:
                return answer
        choices = [o for o in OPERATIONS if o.cost <= room]
        operation = rng.choices(choices, [o.weight for o in choices])[0]
        if operation.apply(story):
            _maybe_distract(story)
    return None


def _open(story: Story) -> None:
    person = story.cast[0]
    number = amount(story.rng, low=5)
    forms = (f"{person} has {number} {story.thing}.", f"{person} starts with {number} {story.thing}.")
    story.say(story.rng.choice(forms), person)
    story.holds[person] = number
    story.live.append(person)


def _maybe_distract(story: Story) -> None:
    if story.rng.random() < 0.2:
        distract(story)
