"""The second task: a list of things is rearranged step by step. No arithmetic; answers are compared as text.

A solution has one line for each instruction, which says what was done and what the list is then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from ramify.problem import Problem

from .partition import Part, part_of
from .story import PEOPLE, THINGS

SHORTEST, LONGEST = 3, 6
"""Lengths that a list may have at any time."""

PLACES = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(slots=True)
class Table:
    """A list under construction: its items, what was asked for, and the solution lines."""

    rng: Random
    person: str
    items: list[str]
    sentences: list[str] = field(default_factory=list[str])
    lines: list[str] = field(default_factory=list[str])

    def do(self, sentence: str, word: str, items: list[str]) -> None:
        """Take an instruction and its outcome in."""
        self.sentences.append(f"{sentence}.")
        self.lines.append(f"{word}: {joined(items)}.")
        self.items = items

    @property
    def place(self) -> int:
        """A random position."""
        return self.rng.randrange(len(self.items))

    @property
    def newcomer(self) -> str:
        """A random thing that is not in the list."""
        return self.rng.choice([thing for thing in THINGS if thing not in self.items])


def joined(items: list[str]) -> str:
    """Return a list as it is written: a small model copies words that follow each other far sooner than with commas."""
    return " ".join(items)


def turned(table: Table) -> None:
    """The list is reversed."""
    forms = ("Reverse the list", "Turn the list around", "Write the list from back to front")
    table.do(table.rng.choice(forms), "reversed", table.items[::-1])


def swapped(table: Table) -> None:
    """Two items change places."""
    one, two = sorted(table.rng.sample(range(len(table.items)), 2))
    items = list(table.items)
    items[one], items[two] = items[two], items[one]
    forms = (
        f"Swap the {PLACES[one]} and the {PLACES[two]} item",
        f"Swap {table.items[one]} and {table.items[two]}",
        f"Let {table.items[one]} and {table.items[two]} change places",
    )
    table.do(table.rng.choice(forms), "swapped", items)


def rotated(table: Table) -> None:
    """One or two items go from one end to the other."""
    items, count = table.items, table.rng.randint(1, 2)
    what = "item" if count == 1 else "two items"
    if table.rng.random() < 0.5:
        table.do(f"Move the first {what} to the end", "moved", items[count:] + items[:count])
    else:
        table.do(f"Move the last {what} to the front", "moved", items[-count:] + items[:-count])


def removed(table: Table) -> None:
    """An item is taken out."""
    place = table.place
    forms = (f"Remove the {PLACES[place]} item", f"Take {table.items[place]} out of the list")
    table.do(table.rng.choice(forms), "removed", table.items[:place] + table.items[place + 1 :])


def added(table: Table) -> None:
    """A new item comes in."""
    new, place, items = table.newcomer, table.place, table.items
    forms = [
        (f"Add {new} at the end", len(items)),
        (f"Put {new} at the front", 0),
        (f"Put {new} right after {items[place]}", place + 1),
        (f"Put {new} right before {items[place]}", place),
    ]
    sentence, at = table.rng.choice(forms)
    table.do(sentence, "added", [*items[:at], new, *items[at:]])


def replaced(table: Table) -> None:
    """An item gives way to a new one."""
    new, place, items = table.newcomer, table.place, table.items
    forms = (f"Replace {items[place]} by {new}", f"Write {new} in place of the {PLACES[place]} item")
    table.do(table.rng.choice(forms), "replaced", [*items[:place], new, *items[place + 1 :]])


def ordered(table: Table) -> None:
    """The list is sorted."""
    table.do("Sort the list from A to Z", "sorted", sorted(table.items))


OPERATIONS: tuple[tuple[Callable[[Table], None], int], ...] = (
    (turned, 3), (swapped, 4), (rotated, 4), (removed, 3), (added, 4), (replaced, 3), (ordered, 1),
)  # fmt: skip
"""Operations of a problem, with their relative frequencies."""


def generate_one(seed: int, steps: tuple[int, int], part: Part, problem_id: str) -> Problem:
    """Return the problem that `seed` determines, of `part`, with its number of steps drawn uniformly."""
    rng = Random(seed)
    wanted = rng.randint(*steps)
    while True:
        table = _start(rng)
        start = joined(table.items)
        while len(table.lines) < wanted:
            _step(table)
        if part_of([start, *table.lines]) == part:
            return _problem(table, problem_id)


def _start(rng: Random) -> Table:
    table = Table(rng, rng.choice(PEOPLE), rng.sample(THINGS, rng.randint(SHORTEST, LONGEST - 1)))
    forms = (
        f"{table.person} has this list: {joined(table.items)}.",
        f"The list of {table.person} is {joined(table.items)}.",
    )
    table.sentences.append(rng.choice(forms))
    return table


def _step(table: Table) -> None:
    fits = [
        (operation, weight)
        for operation, weight in OPERATIONS
        if not (operation is removed and len(table.items) <= SHORTEST)
        and not (operation is added and len(table.items) >= LONGEST)
        and not (operation is ordered and table.items == sorted(table.items))
    ]
    table.rng.choices([each for each, _ in fits], [weight for _, weight in fits])[0](table)


def _problem(table: Table, problem_id: str) -> Problem:
    rng, items = table.rng, table.items
    if rng.random() < 0.5:
        question, answer = (
            rng.choice(("What is the list now?", f"What is the list of {table.person} in the end?")),
            joined(items),
        )
    else:
        place = table.place
        question, answer = f"Which item is {PLACES[place]} now?", items[place]
    return Problem(
        id=problem_id,
        question=" ".join([*table.sentences, question]),
        answer=answer,
        solution="\n".join([*table.lines, f"The answer is {answer}."]),
        metadata={"steps": len(table.lines), "task": "lists"},
        check="exact",
    )
