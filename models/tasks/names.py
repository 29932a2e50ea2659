"""People and things of the bundled task, and small words that vary its wording."""

from __future__ import annotations

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
