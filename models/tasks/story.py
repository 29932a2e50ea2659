"""Story under construction: holdings, sentences and solution lines so far, and the words that vary them."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

PRONOUNS: dict[str, str] = {
    "Tom": "he", "Ben": "he", "Sam": "he", "Max": "he", "Leo": "he", "Dan": "he", "Bob": "he", "Jack": "he",
    "Omar": "he", "Ivan": "he", "Hugo": "he", "Carl": "he",
    "Ann": "she", "Mia": "she", "Eva": "she", "Zoe": "she", "Kim": "she", "Lucy": "she", "Nina": "she",
    "Rosa": "she", "Sara": "she", "Jane": "she", "Emma": "she", "Lena": "she",
}  # fmt: skip
"""Each person's subject pronoun."""

PEOPLE: tuple[str, ...] = tuple(PRONOUNS)

THINGS: tuple[str, ...] = (
    "apples", "pears", "plums", "lemons", "eggs", "nuts", "cookies", "cards", "coins", "stamps", "books", "pens",
    "shells", "stones", "beads", "buttons", "marbles", "stickers", "flowers", "seeds", "candles", "cups", "toys",
    "ropes",
)  # fmt: skip
"""Things that can be held, bought, shared and lost, in the plural."""

DAYS: tuple[str, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

PACKS: tuple[str, ...] = ("boxes", "bags", "baskets", "jars")

TIMES_WORDS: dict[int, str] = {2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}

PARTS: dict[int, str] = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}

LARGEST = 3000
"""Nobody in a story holds more than this; totals of several people may exceed it."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something dated that later sentences may refer to: `person` `past` `amount` things on `day`."""

    person: str
    past: str
    amount: int
    day: str


@dataclass(slots=True)
class Story:
    """The mutable state that operations extend.

    `live` holds the people whose final quantity the question still needs. `sums` are the calculations so far, one
    per solution line, and `told` the number of sentences that each line follows.
    """

    rng: Random
    thing: str
    cast: list[str]
    others: list[str]
    sentences: list[str] = field(default_factory=list[str])
    lines: list[str] = field(default_factory=list[str])
    sums: list[str] = field(default_factory=list[str])
    told: list[int] = field(default_factory=list[int])
    holds: dict[str, int] = field(default_factory=dict[str, int])
    live: list[str] = field(default_factory=list[str])
    events: list[Event] = field(default_factory=list[Event])
    next_day: int = 0
    last_subject: str = ""

    def say(self, sentence: str, subject: str) -> None:
        """Append a sentence whose only possible pronoun referent is `subject` ("" for nobody)."""
        self.sentences.append(sentence[0].upper() + sentence[1:])
        self.last_subject = subject

    def name(self, person: str) -> str:
        """Return the person's name, or a pronoun where the previous sentence makes it unambiguous."""
        if person == self.last_subject and self.rng.random() < 0.4:
            return PRONOUNS[person]
        return person

    def calculate(self, left: int, operator: str, right: int) -> tuple[str, int] | None:
        """Return the written calculation and its result, or None if the result is not a small natural number."""
        if operator == "/":
            if right < 2 or left % right:
                return None
            result = left // right
        else:
            result = {"+": left + right, "-": left - right, "*": left * right}[operator]
        if not 1 <= result <= LARGEST:
            return None
        return f"{left}{operator}{right}={result}", result

    def step(self, before: str, sum_text: str, after: str) -> None:
        """Append one solution line."""
        self.sums.append(sum_text)
        self.told.append(len(self.sentences))
        self.lines.append(f"{before} {sum_text} {after}.")

    def pick_live(self) -> str:
        """Return a person whose quantity is still needed."""
        return self.rng.choice(self.live)

    def day(self) -> str | None:
        """Return the next day of the week to date an event with, or None if the week is over."""
        if self.next_day >= len(DAYS):
            return None
        name = DAYS[self.next_day]
        self.next_day += self.rng.choice((1, 1, 2))
        return name


def start_story(rng: Random) -> Story:
    """Return a story in which one person holds a given number of things."""
    people = rng.sample(PEOPLE, 5)
    things = rng.sample(THINGS, 3)
    story = Story(rng=rng, thing=things[0], cast=people[:3], others=[*people[3:], *things[1:]])
    story.next_day = rng.randrange(3)
    return story


def amount(rng: Random, low: int = 2, high: int = 300) -> int:
    """Return a number from `low` to `high` whose count of digits varies."""
    top = min(high, rng.choice((20, 60, 120, 300)))
    return rng.randint(low, max(low, top))
