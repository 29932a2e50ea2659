"""Final questions of a story, and the calculation that some of them need."""

from __future__ import annotations

from .story import PACKS, Story, amount


def ask(story: Story) -> int:
    """Say the question about everybody who is still live, write the joining lines, and return the answer."""
    if len(story.live) == 1:
        return _ask_one(story)
    if len(story.live) == 2:
        return _ask_two(story)
    return _ask_three(story)


def _ask_one(story: Story) -> int:
    person, thing = story.live[0], story.thing
    forms = (
        f"How many {thing} does {person} have now?",
        f"How many {thing} does {person} have in the end?",
        f"How many {thing} are left for {person}?",
        f"What is the number of {thing} that {person} has at the end?",
    )
    story.say(story.rng.choice(forms), "")
    return story.holds[person]


def _ask_two(story: Story) -> int:
    rng, thing = story.rng, story.thing
    first, second = rng.sample(story.live, 2)
    have = story.holds
    if rng.random() < 0.4 and have[first] > have[second]:
        done = story.calculate(have[first], "-", have[second])
        assert done is not None
        forms = (
            f"How many more {thing} does {first} have than {second}?",
            f"How many fewer {thing} does {second} have than {first}?",
        )
        story.say(rng.choice(forms), "")
        story.step(f"{first} has", done[0], f"more {thing}")
        return done[1]
    first, second = story.live
    total = have[first] + have[second]
    forms = (
        f"How many {thing} do {first} and {second} have together?",
        f"What is the total number of {thing} that {first} and {second} have?",
        f"{first} and {second} put all of the {thing} together. How many {thing} are there?",
    )
    story.say(rng.choice(forms), "")
    story.step(f"{first} and {second} have", f"{have[first]}+{have[second]}={total}", thing)
    return total


def _ask_three(story: Story) -> int:
    first, second, third = story.live
    have, thing = story.holds, story.thing
    forms = (
        f"How many {thing} do {first}, {second} and {third} have together?",
        f"What is the total number of {thing} that {first}, {second} and {third} have?",
    )
    story.say(story.rng.choice(forms), "")
    two = have[first] + have[second]
    total = two + have[third]
    story.step(f"{first} and {second} have", f"{have[first]}+{have[second]}={two}", thing)
    story.step("All three have", f"{two}+{have[third]}={total}", thing)
    return total


def ask_with_step(story: Story) -> int | None:
    """End with a question about one person that takes a calculation; None if the numbers do not allow it."""
    person, rng = story.live[0], story.rng
    return rng.choice((_money, _packs, _goal))(story, person)


def _money(story: Story, person: str) -> int | None:
    price = story.rng.randint(2, 9)
    done = story.calculate(story.holds[person], "*", price)
    if done is None:
        return None
    who, thing = story.name(person), story.thing
    forms = (
        f"{who} sells all of the {thing} for {price} dollars each. How many dollars does {person} get?",
        f"each of the {thing} costs {price} dollars. How many dollars are the {thing} of {person} worth?",
    )
    story.say(story.rng.choice(forms), "")
    story.step(f"{person} gets", done[0], "dollars")
    return done[1]


def _packs(story: Story, person: str) -> int | None:
    fits = [k for k in range(2, 10) if story.calculate(story.holds[person], "/", k)]
    if not fits:
        return None
    k, pack = story.rng.choice(fits), story.rng.choice(PACKS)
    done = story.calculate(story.holds[person], "/", k)
    assert done is not None
    who, thing = story.name(person), story.thing
    forms = (
        f"{who} puts all of the {thing} into {pack} of {k}. How many {pack} does {person} need?",
        f"each of the {pack} holds {k} {thing}. How many {pack} does {person} need?",
    )
    story.say(story.rng.choice(forms), "")
    story.step(f"{person} needs", done[0], pack)
    return done[1]


def _goal(story: Story, person: str) -> int | None:
    goal = story.holds[person] + amount(story.rng, low=3)
    done = story.calculate(goal, "-", story.holds[person])
    if done is None or goal > 3000:
        return None
    who, thing = story.name(person), story.thing
    story.say(f"{who} wants to have {goal} {thing}. How many more {thing} does {person} need?", "")
    story.step(f"{person} needs", done[0], f"more {thing}")
    return done[1]
