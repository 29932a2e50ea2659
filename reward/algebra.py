"""Combinations of rewards: products, minima, maxima and weighted sums, as text and as Python expressions.

`mean-logprob:demo-l * arithmetic` multiplies scores, `min(a, b)` and `max(a, b)` take the lowest and the highest, and
`0.7*a + 0.3*b` adds weighted logits: sigmoid(0.7 logit(a) + 0.3 logit(b)). Signs stand between blanks, because names
may hold them; only a weight may touch its `*`. Parentheses group, and quotes hold a name that has such signs itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ramify.errors import UsageError
from ramify.text import shorten

MAX_PARTS = 16
"""Rewards that one combination may have."""
MAX_DEPTH = 8
"""Parentheses and functions inside each other."""
_CERTAINTY = 1e-6
"""Distance from 0 and 1 that a score keeps before its logit is taken."""
_EXAMPLE = 'write it like "mean-logprob:demo-l * arithmetic", "min(a, b)" or "0.7*a + 0.3*b"'
_WEIGHT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*\*\s*")
_FUNCTION = re.compile(r"\s*(min|max)\(")
_SIGN = re.compile(r"\s+([*+])\s+")
_QUOTED = re.compile(r"\s*(\"[^\"]*\"|'[^']*')")
SourceT = TypeVar("SourceT")


@dataclass(frozen=True, slots=True)
class Part:
    """A reward by itself: a name, a path, a function or a reward model."""

    source: object

    def __str__(self) -> str:
        source = self.source
        text = str(source if isinstance(source, str | Path) else getattr(source, "name", "function"))
        return f'"{text}"' if _is_combined(text) else text

    def __mul__(self, other: Combination) -> Combination:
        return product(self, other)

    def __rmul__(self, weight: float) -> Combination:
        return Weighted(((float(weight), self),))

    def __add__(self, other: Combination) -> Combination:
        return total(self, other)


@dataclass(frozen=True, slots=True)
class Extreme:
    """The lowest of some scores, or the `highest`."""

    parts: tuple[Combination, ...]
    highest: bool = False

    def __str__(self) -> str:
        return f"{'max' if self.highest else 'min'}({', '.join(map(str, self.parts))})"

    __mul__, __rmul__, __add__ = Part.__mul__, Part.__rmul__, Part.__add__  # pyright: ignore[reportAssignmentType]


@dataclass(frozen=True, slots=True)
class Product:
    """The product of some scores."""

    parts: tuple[Combination, ...]

    def __str__(self) -> str:
        return " * ".join(f"({part})" if isinstance(part, Weighted) else str(part) for part in self.parts)

    __mul__, __rmul__, __add__ = Part.__mul__, Part.__rmul__, Part.__add__  # pyright: ignore[reportAssignmentType]


@dataclass(frozen=True, slots=True)
class Weighted:
    """The sigmoid of a sum of weighted logits of scores."""

    terms: tuple[tuple[float, Combination], ...]

    def __str__(self) -> str:
        shown = [f"({part})" if isinstance(part, Weighted) else str(part) for _, part in self.terms]
        return " + ".join(
            text if weight == 1 and len(shown) > 1 else f"{weight:g}*{text}"
            for (weight, _), text in zip(self.terms, shown, strict=True)
        )

    __mul__, __rmul__, __add__ = Part.__mul__, Part.__rmul__, Part.__add__  # pyright: ignore[reportAssignmentType]


Combination = Part | Product | Extreme | Weighted


def reward(source: object) -> Part:
    """Return a name, a path, a function or a reward model as a part of a combination.

    `reward("mean-logprob:demo-l") * reward("arithmetic")` multiplies two.
    """
    return Part(source)


def product(*parts: Combination) -> Product:
    """Return the product of scores; products of products become one."""
    return Product(tuple(inner for part in parts for inner in (part.parts if isinstance(part, Product) else (part,))))


def lowest(*parts: Combination) -> Extreme:
    """Return the minimum of scores."""
    return Extreme(parts)


def highest(*parts: Combination) -> Extreme:
    """Return the maximum of scores."""
    return Extreme(parts, highest=True)


def total(*parts: Combination) -> Weighted:
    """Return the sigmoid of the sum of logits; weighted sums become one."""
    return Weighted(
        tuple(term for part in parts for term in (part.terms if isinstance(part, Weighted) else ((1.0, part),)))
    )


def parts_of(combination: Combination) -> Iterator[Part]:
    """Yield the rewards of a combination from left to right, each as often as it stands there."""
    if isinstance(combination, Part):
        yield combination
    elif isinstance(combination, Weighted):
        for _, part in combination.terms:
            yield from parts_of(part)
    else:
        for part in combination.parts:
            yield from parts_of(part)


def renamed(combination: Combination, name: Callable[[str], str]) -> Combination:
    """Return the combination with other names of its parts."""
    match combination:
        case Part(source):
            return Part(name(source)) if isinstance(source, str) else combination
        case Product(parts):
            return Product(tuple(renamed(part, name) for part in parts))
        case Extreme(parts, highest):
            return Extreme(tuple(renamed(part, name) for part in parts), highest)
        case Weighted(terms):
            return Weighted(tuple((weight, renamed(part, name)) for weight, part in terms))


def value_of(combination: Combination, scores: Callable[[Part], float]) -> float:
    """Return the score, from 0 to 1, that a combination makes of the scores of its parts."""
    match combination:
        case Part():
            return scores(combination)
        case Product(parts):
            return math.prod(value_of(part, scores) for part in parts)
        case Extreme(parts, highest):
            return (max if highest else min)(value_of(part, scores) for part in parts)
        case Weighted(terms):
            return _sigmoid(sum(weight * _logit(value_of(part, scores)) for weight, part in terms))


def _logit(score: float) -> float:
    share = min(1 - _CERTAINTY, max(_CERTAINTY, score))
    return math.log(share / (1 - share))


def _sigmoid(logit: float) -> float:
    odds = math.exp(-min(abs(logit), 700.0))
    return 1 / (1 + odds) if logit >= 0 else odds / (1 + odds)


def read_combination(text: str) -> Combination:
    """Return the combination that a text stands for; one without signs, functions and quotes is a reward by itself.

    Raises:
        UsageError: if it is malformed, or too large.
    """
    if not _is_combined(text):
        return Part(text)
    reader = _Reader(text)
    combination = reader.sum(0)
    reader.end()
    if sum(1 for _ in parts_of(combination)) > MAX_PARTS:
        raise UsageError(f"the reward {shorten(text, 60)!r} has more than {MAX_PARTS} parts", "combine fewer")
    return combination


def _is_combined(text: str) -> bool:
    return bool(_SIGN.search(text) or _FUNCTION.match(text) or _WEIGHT.match(text) or text[:1] in "\"'(")


class _Reader:
    """Recursive descent over the text of a combination."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0

    def sum(self, depth: int) -> Combination:
        """Return terms joined with +."""
        terms = [self._term(depth)]
        while self._takes(re.compile(r"\s+\+\s+")):
            terms.append(self._term(depth))
        if len(terms) == 1 and terms[0][0] == 1:
            return terms[0][1]
        return Weighted(tuple(terms))

    def end(self) -> None:
        """Check that nothing is left."""
        if self._text[self._place :].strip():
            raise self._malformed(f"there is no sign before {shorten(self._text[self._place :].strip(), 30)!r}")

    def _term(self, depth: int) -> tuple[float, Combination]:
        weight = self._takes(_WEIGHT)
        factors = [self._factor(depth)]
        while self._takes(re.compile(r"\s+\*\s+")):
            factors.append(self._factor(depth))
        return float(weight[1]) if weight else 1.0, factors[0] if len(factors) == 1 else product(*factors)

    def _factor(self, depth: int) -> Combination:
        if depth > MAX_DEPTH:
            raise self._malformed("it is nested too deeply")
        function = self._takes(_FUNCTION)
        if function:
            parts = [self.sum(depth + 1)]
            while self._takes(re.compile(r"\s*,")):
                parts.append(self.sum(depth + 1))
            self._close()
            return Extreme(tuple(parts), highest=function[1] == "max")
        if self._takes(re.compile(r"\s*\(")):
            inner = self.sum(depth + 1)
            self._close()
            return inner
        quoted = self._takes(_QUOTED)
        if quoted:
            return Part(quoted[1][1:-1])
        ends = r"\s+[*+]\s+|[,)]|$" if depth else r"\s+[*+]\s+|$"
        name = self._takes(re.compile(rf"\s*(.*?)(?=\s*(?:{ends}))", re.DOTALL))
        if name is None or not name[1].strip():
            raise self._malformed("a reward is missing")
        if name[1].strip()[0] in "\"'":
            raise self._malformed("a closing quote is missing")
        return Part(name[1].strip())

    def _close(self) -> None:
        if not self._takes(re.compile(r"\s*\)")):
            raise self._malformed("a closing parenthesis is missing")

    def _takes(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._place)
        if match:
            self._place = match.end()
        return match

    def _malformed(self, reason: str) -> UsageError:
        return UsageError(f"the reward {shorten(self._text, 60)!r} is malformed: {reason}", _EXAMPLE)


def labels_of(parts: Sequence[Part]) -> list[str]:
    """Return a label of each part: its name, with a number where a name stands twice."""
    names = [str(part).strip('"') for part in parts]
    return [
        name if names.count(name) == 1 else f"{name} #{names[: place + 1].count(name)}"
        for place, name in enumerate(names)
    ]
