"""Operations of a story: sentences with their solution lines, and sentences with numbers that do not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .story import PACKS, PARTS, PRONOUNS, TIMES_WORDS, Event, Story, amount

GAINS = (("buys", "bought"), ("finds", "found"), ("gets", "got"), ("picks up", "picked up"))
LOSSES = (("sells", "sold"), ("loses", "lost"), ("gives away", "gave away"), ("uses up", "used up"))


class Operation(NamedTuple):
    """`cost` counts the solution lines it adds, with those that the question needs later to join a new person in."""

    cost: int
    weight: int
    apply: Callable[[Story], bool]


def _change(story: Story, person: str, operator: str, number: int) -> bool:
    pair = (number, story.holds[person]) if operator == "*" else (story.holds[person], number)
    done = story.calculate(pair[0], operator, pair[1])
    if done is None:
        return False
    story.step(f"{person} has", done[0], story.thing)
    story.holds[person] = done[1]
    return True


def _verb(story: Story, operator: str) -> tuple[str, str]:
    return story.rng.choice(GAINS if operator == "+" else LOSSES)


def _fits(story: Story, person: str, operator: str, number: int) -> bool:
    return story.calculate(story.holds[person], operator, number) is not None


def _dated(story: Story, person: str, past: str, number: int) -> str:
    day = story.day() if story.rng.random() < 0.55 else None
    if day is None:
        return story.rng.choice(("", "", "then ", "later "))
    story.events.append(Event(person, past, number, day))
    return f"on {day} "


def gain_or_loss(story: Story) -> bool:
    """Someone buys, finds, sells or loses a given number."""
    person, operator = story.pick_live(), story.rng.choice("+-")
    number = amount(story.rng, high=300 if operator == "+" else max(2, story.holds[person] - 1))
    if not _fits(story, person, operator, number):
        return False
    verb, past = _verb(story, operator)
    when = _dated(story, person, past, number)
    more = "more " if operator == "+" and story.rng.random() < 0.3 else ""
    story.say(f"{when}{story.name(person)} {verb} {number} {more}{story.thing}.", person)
    return _change(story, person, operator, number)


def scale(story: Story) -> bool:
    """Someone's number is multiplied."""
    person, factor = story.pick_live(), story.rng.randint(2, 6)
    if not _fits(story, person, "*", factor):
        return False
    thing, times = story.thing, TIMES_WORDS[factor]
    forms = [
        f"then {story.name(person)} has {times} as many {thing} as before.",
        f"soon the number of {thing} that {person} has is {times} as large.",
        f"a magic trick turns each of the {thing} of {person} into {factor} {thing}.",
    ]
    story.say(story.rng.choice(forms), person)
    return _change(story, person, "*", factor)


def share(story: Story) -> bool:
    """Someone splits everything evenly and keeps one part."""
    person = story.pick_live()
    parts = [k for k in range(2, 10) if _fits(story, person, "/", k) and story.holds[person] > k]
    if not parts:
        return False
    k, thing, pack = story.rng.choice(parts), story.thing, story.rng.choice(PACKS)
    who = story.name(person)
    forms = [
        f"{who} puts the {thing} into {k} equal {pack} and keeps only one of the {pack}.",
        f"{who} shares the {thing} equally among {k} people and keeps one share.",
    ]
    if k in PARTS:
        forms += [f"{who} keeps only {PARTS[k]} of the {thing}."] * 2
    story.say(story.rng.choice(forms), person)
    return _change(story, person, "/", k)


def lose_part(story: Story) -> bool:
    """Someone gives away a fraction: one line for the part, one for what is left."""
    person = story.pick_live()
    parts = [k for k in (3, 4, 5) if _fits(story, person, "/", k)]
    if not parts:
        return False
    k = story.rng.choice(parts)
    part = story.calculate(story.holds[person], "/", k)
    if part is None:
        return False
    verb, past = _verb(story, "-")
    when = _dated(story, person, past, part[1])
    story.say(f"{when}{story.name(person)} {verb} {PARTS[k]} of the {story.thing}.", person)
    story.step(f"{person} {verb}", part[0], story.thing)
    return _change(story, person, "-", part[1])


def rate(story: Story) -> bool:
    """Someone gains or loses so many a day or a pack, several times."""
    rng, thing = story.rng, story.thing
    person, operator = story.pick_live(), story.rng.choice("+-")
    count, each = rng.randint(2, 9), rng.randint(2, rng.choice((9, 20, 60)))
    product = story.calculate(count, "*", each)
    if product is None or not _fits(story, person, operator, product[1]):
        return False
    (verb, past), pack = _verb(story, operator), rng.choice(PACKS)
    when = _dated(story, person, past, product[1])
    who = story.name(person)
    forms = [
        f"{when}{who} {verb} {count} {pack} with {each} {thing} in each.",
        f"{when}{who} {verb} {count} {pack} of {each} {thing}.",
    ]
    if not when.startswith("on"):
        forms += [f"{when}{who} {verb} {each} {thing} a day for {count} days.",
                  f"for {count} days, {who} {verb} {each} {thing} each day."]  # fmt: skip
    story.say(rng.choice(forms), person)
    story.step(f"{person} {verb}", product[0], thing)
    return _change(story, person, operator, product[1])


def repeat(story: Story) -> bool:
    """Someone gains or loses as many as in an earlier, dated event."""
    if not story.events:
        return False
    event, person = story.rng.choice(story.events), story.pick_live()
    operator = story.rng.choice("+-")
    if not _fits(story, person, operator, event.amount):
        return False
    verb, past = _verb(story, operator)
    when = _dated(story, person, past, event.amount)
    who = story.name(person)
    whom = PRONOUNS[person] if event.person == person else event.person
    story.say(f"{when}{who} {verb} as many {story.thing} as {whom} {event.past} on {event.day}.", person)
    return _change(story, person, operator, event.amount)


def repeat_changed(story: Story) -> bool:
    """Someone gains or loses a multiple of an earlier amount, or a few more or fewer: two lines."""
    if not story.events:
        return False
    rng, event, person = story.rng, story.rng.choice(story.events), story.pick_live()
    operator, inner = rng.choice("+-"), rng.choice("*+-")
    number = rng.randint(2, 3) if inner == "*" else amount(rng, high=60)
    first = (number, "*", event.amount) if inner == "*" else (event.amount, inner, number)
    moved = story.calculate(*first)
    if moved is None or not _fits(story, person, operator, moved[1]):
        return False
    verb, past = _verb(story, operator)
    when = _dated(story, person, past, moved[1])
    degree = {"*": f"{TIMES_WORDS.get(number)} as many", "+": f"{number} more", "-": f"{number} fewer"}[inner]
    link = "as" if inner == "*" else "than"
    who = story.name(person)
    whom = PRONOUNS[person] if event.person == person else event.person
    story.say(f"{when}{who} {verb} {degree} {story.thing} {link} {whom} {event.past} on {event.day}.", person)
    story.step(f"{person} {verb}", moved[0], story.thing)
    return _change(story, person, operator, moved[1])


def match_other(story: Story) -> bool:
    """Someone gains or loses as many as another person holds at that moment."""
    known = [p for p in story.holds if p in story.live]
    if len(known) < 2:
        return False
    person, other = story.rng.sample(known, 2)
    operator = story.rng.choice("++-")
    if not _fits(story, person, operator, story.holds[other]):
        return False
    verb, _ = _verb(story, operator)
    story.say(f"{person} {verb} as many {story.thing} as {other} has now.", "")
    return _change(story, person, operator, story.holds[other])


def hand_over(story: Story) -> bool:
    """One person gives some to another: a line for each."""
    if len(story.live) < 2:
        return False
    giver, taker = story.rng.sample(story.live, 2)
    number = amount(story.rng, high=max(2, story.holds[giver] - 1))
    if not (_fits(story, giver, "-", number) and _fits(story, taker, "+", number)):
        return False
    forms = [
        f"{story.name(giver)} gives {number} {story.thing} to {taker}.",
        f"{taker} takes {number} {story.thing} from {giver}.",
        f"{story.name(giver)} hands {taker} {number} of the {story.thing}.",
    ]
    story.say(story.rng.choice(forms), "")
    return _change(story, giver, "-", number) and _change(story, taker, "+", number)


def _newcomer(story: Story) -> str | None:
    return next((p for p in story.cast if p not in story.holds), None)


def introduce(story: Story) -> bool:
    """A new person comes in with a given number."""
    person = _newcomer(story)
    if person is None:
        return False
    number = amount(story.rng, low=5)
    forms = [f"{person} has {number} {story.thing}.", f"{person} comes with {number} {story.thing}."]
    story.say(story.rng.choice(forms), "")
    story.holds[person] = number
    story.live.append(person)
    return True


def _compare(story: Story) -> tuple[str, str] | None:
    person, base, rng = _newcomer(story), story.pick_live(), story.rng
    if person is None:
        return None
    operator = rng.choice("+-*/")
    have, thing = story.holds[base], story.thing
    number = rng.randint(2, 5) if operator in "*/" else amount(rng, high=200 if operator == "+" else max(2, have - 1))
    if operator == "/":
        number = 2
    done = story.calculate(number, "*", have) if operator == "*" else story.calculate(have, operator, number)
    if done is None:
        return None
    degree = {
        "+": f"{number} more {thing} than", "-": f"{number} fewer {thing} than",
        "*": f"{TIMES_WORDS.get(number)} as many {thing} as", "/": f"half as many {thing} as",
    }[operator]  # fmt: skip
    story.say(rng.choice((f"{person} has {degree} {base}.", f"now {person} has {degree} {base}.")), "")
    story.step(f"{person} has", done[0], thing)
    story.holds[person] = done[1]
    story.live.append(person)
    return person, base


def compare(story: Story) -> bool:
    """A new person's number is given relative to someone's, and both matter."""
    return _compare(story) is not None


def compare_and_leave(story: Story) -> bool:
    """A new person's number is given relative to someone's who no longer matters afterwards."""
    pair = _compare(story)
    if pair is None:
        return False
    story.live.remove(pair[1])
    return True


OPERATIONS: tuple[Operation, ...] = (
    Operation(1, 6, gain_or_loss),
    Operation(1, 2, scale),
    Operation(1, 4, share),
    Operation(2, 2, lose_part),
    Operation(2, 4, rate),
    Operation(1, 5, repeat),
    Operation(2, 3, repeat_changed),
    Operation(1, 4, match_other),
    Operation(2, 4, hand_over),
    Operation(1, 3, introduce),
    Operation(2, 3, compare),
    Operation(1, 2, compare_and_leave),
)


def distract(story: Story) -> None:
    """Add one sentence that changes nothing."""
    rng = story.rng
    bystander, other_person, other_thing, third_thing = (*story.others[:2], *story.others[2:4])
    person = rng.choice([*story.holds, bystander])
    number = amount(rng, low=3, high=200)
    forms = [
        (f"{person} also has {number} {other_thing}.", ""),
        (f"{person} {rng.choice(GAINS)[0]} {number} {other_thing}.", ""),
        (f"{person} {rng.choice(LOSSES)[0]} {number} {third_thing}.", ""),
        (f"{rng.choice((bystander, other_person))} has {number} {story.thing}.", ""),
        (f"{bystander} {rng.choice(GAINS)[0]} {number} {story.thing}.", ""),
        (f"{person} is {rng.randint(6, 80)} years old.", ""),
        (f"the way to the market takes {rng.randint(5, 90)} minutes.", ""),
        (f"the {third_thing} at the market cost {rng.randint(2, 40)} dollars.", ""),
    ]
    sentence, subject = rng.choice(forms)
    story.say(sentence, subject)
