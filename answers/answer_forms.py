"""Forms of answers as a user or a prompt file names them: kinds, patterns, JSON pointers and ranges of letters."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from ramify.errors import MalformedText, UsageError
from ramify.json_text import read_json_at
from ramify.text import did_you_mean

from .kinds import AnswerKind
from .processes import patterns

PATTERN, POINTER, LETTERS = "regex:", "json:", "choice:"
"""Prefixes of the forms that have a pattern, a JSON pointer or a range of letters."""
SEARCH_LIMIT_S = 0.1
"""Seconds of processor time for the search of a pattern in a text."""
COMPILE_LIMIT_S = 1.0
_NAMES: dict[str, AnswerKind] = {
    "boxed": AnswerKind.BOX,
    "last-line": AnswerKind.LINE,
    **{str(kind): kind for kind in AnswerKind},
}
_RANGE = re.compile(r"([A-J])-([A-J])")
_MOST_OPENINGS = 500
"""Brackets at which a JSON value is looked for, counted from the end of a text."""


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """Form of an answer: its kind, and for some a rule.

    `pattern` is a regular expression of the library `regex`, of whose last match the group "answer" counts, else the
    first group, else all. `pointer` is a JSON pointer (RFC 6901) into the last JSON value of a text. `letters` are the
    options of a choice; "" where the question says. None means that there is no such rule.
    """

    kind: AnswerKind
    pattern: str | None = None
    pointer: str | None = None
    letters: str = ""

    @property
    def has_rule(self) -> bool:
        """True if a pattern or a pointer finds the answer."""
        return self.pattern is not None or self.pointer is not None

    def find(self, text: str) -> str | None:
        """Return the part of a text that the rule finds, None if there is none or the search takes too long."""
        if self.pattern is not None:
            return _last_match(self.pattern, text)
        if self.pointer is not None:
            return _pointed(last_json(text), self.pointer)
        return None


def answer_form(text: str) -> AnswerForm:
    """Return the form that a text names: a kind, `boxed`, `last-line`, `choice:A-E`, `regex:PATTERN`, `json:POINTER`.

    Raises:
        UsageError: if there is no such form, or the pattern or the pointer is not valid.
    """
    if text.startswith(PATTERN):
        return AnswerForm(AnswerKind.BOX, pattern=_checked(text.removeprefix(PATTERN)))
    if text.startswith(POINTER):
        pointer = text.removeprefix(POINTER)
        if pointer and not pointer.startswith("/"):
            raise UsageError(f"{pointer!r} is no JSON pointer", "write it like json:/answer")
        return AnswerForm(AnswerKind.BOX, pointer=pointer)
    if text.startswith(LETTERS):
        ends = _RANGE.fullmatch(text.removeprefix(LETTERS).strip())
        if ends is None or ends[1] != "A" or ends[2] == "A":
            raise UsageError(f"{text!r} is no range of letters", "write it like choice:A-E, up to J")
        return AnswerForm(AnswerKind.CHOICE, letters="ABCDEFGHIJ"[: ord(ends[2]) - ord("A") + 1])
    if text not in _NAMES:
        known = (*_NAMES, f"{LETTERS}A-E", f"{PATTERN}PATTERN", f"{POINTER}POINTER")
        raise UsageError(f"there is no form of answers {text!r}", did_you_mean(text, known, f"use {', '.join(known)}"))
    return AnswerForm(_NAMES[text])


@lru_cache(maxsize=64)
def _checked(pattern: str) -> str:
    matches = patterns.matches(pattern, "", time_limit_s=COMPILE_LIMIT_S)
    if matches is None:
        raise UsageError(f"the pattern {pattern[:100]!r} takes too much time or memory to compile", "simplify it")
    return pattern


@lru_cache(maxsize=16)
def _compiled(pattern: str) -> Any:
    # The library has no type annotations. Imported here, since only patterns of a user need it.
    return cast("Any", import_module("regex")).compile(pattern)


def _last_match(pattern: str, text: str) -> str | None:
    found: Any = None
    try:
        for match in _compiled(pattern).finditer(text, timeout=SEARCH_LIMIT_S):
            found = match
    except TimeoutError:
        return None
    if found is None:
        return None
    groups = found.re.groups
    part: str | None = found["answer"] if "answer" in found.groupdict() else found[1 if groups else 0]
    return (part or "").strip() or None


def last_json(text: str) -> Any:
    """Return the last object or list in a text that is JSON, None if there is none."""
    openings = [match.start() for match in re.finditer(r"[\[{]", text)][-_MOST_OPENINGS:]
    found: Any = None
    end = 0
    for start in openings:
        if start < end:
            continue
        try:
            found, end = read_json_at(text, start)
        except MalformedText:
            continue
    return found


def _pointed(value: Any, pointer: str) -> str | None:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = cast("dict[str, Any]", value).get(key)
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(cast("list[Any]", value)):
            value = cast("list[Any]", value)[int(key)]
        else:
            return None
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text.strip() or None
