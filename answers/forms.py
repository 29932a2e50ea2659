r"""Structure of an answer: numbers, choices, words, lists, tuples, sets, intervals, and formulas that take algebra.

A form has a key; answers vote together if their keys are equal, so that votes are an equivalence relation. Units,
currencies, percent signs and the variable of "x = 3" are no part of the key. The key of a formula comes from outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from .arithmetic import exact_value
from .normal_forms import normalise
from .quantities import (
    Quantity,
    is_plain_word,
    parse_based,
    parse_compound,
    parse_quantity,
    value_in_votes,
    without_unit,
)

Key = tuple[object, ...]

LONGEST = 2048
"""Answers with more characters are compared as text only."""
_DEEPEST = 8
_MOST_PARTS = 200

_CHOICE = re.compile(
    r"\(?([A-Za-z])\)?|\(([A-J])\)[ .:]?(?![-+*/^(=,]).+"
    r"|([A-J])(?:\.|\)) ?(?![-+*/^(=.,]|[A-Z](?:\.|$)).+|([A-J]):.+"
)
_OPTION = re.compile(r"^(?:the )?(?:option|choice|letter)(?: |(?=\())(?=\(?[A-J](?:[).:]|$))", re.IGNORECASE)
_WORDS = re.compile(r"[A-Za-z']+(?:[ -][A-Za-z']+)*")
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z']{3,}")
_NUMBER_WITH_BASE = re.compile(r"(?<![A-Za-z_{])\d[\d.]*\$?_")
_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc log exp max min gcd lcm mod arcsin arccos arctan sinh cosh tanh det".split()
)
_DATE = re.compile(r"\d+/\d+/\d+|\d+-\d+-\d{2,4}|\d{4}-\d\d-\d\d")
_TIME = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([apAP])\.? ?[mM])?")
_VARIABLE = r"(?:[A-Za-z]|\\[a-z]+)(?:_(?:\w|\{\w+\}))?(?:\([a-z](?:,[a-z])*\))?|\([a-z](?:,[a-z])+\)"
_ASSIGNED = re.compile(rf"({_VARIABLE}) ?(?:=|\\in ?)(?![=])(.+)")
_ASSIGNED_BEHIND = re.compile(r"(-?[\d./]+|-?\\frac\{?\d+\}?\{?\d+\}?)=([a-zA-Z])")
_BUILDER = re.compile(r"\\?\{([a-z])(?: ?\\in ?\\mathbb ?\{?R\}?)?[:|](.+?)\\?\}")
_ROWS = re.compile(r"\\begin\{([pb]matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_SIGN = r" ?(<|>|\\leq|\\geq)"
_BOUND = re.compile(rf"([a-z]){_SIGN} ?([^<>]+)")
_BOUND_BEFORE = re.compile(rf"([^<>]+?){_SIGN} ?([a-z])")
_BETWEEN = re.compile(r"([^<>]+?) ?(<|\\leq) ?([a-z]) ?(<|\\leq) ?([^<>]+)")
_SEPARATOR = re.compile(r"[,; ] ?(?:and|or)(?![A-Za-z])|[,;]")
_OPENING, _CLOSING = "([{", ")]}"


@dataclass(frozen=True, slots=True)
class Form:
    """An answer, or a part of one.

    `kind` is "number", "choice", "words", "text", "based", "compound" (5 ft 3 in), "time", "infinity", "list" (values
    without brackets), "tuple" (also an open interval), "set", "interval", "union", "matrix" or "formula".
    `value` tells forms of one kind apart beside their `parts`. `variable` is the name that the answer was assigned to,
    "" for none.
    """

    kind: str
    text: str
    value: object = None
    parts: tuple[Form, ...] = ()
    quantity: Quantity | None = None
    variable: str = ""

    def formulas(self) -> Iterator[str]:
        """Yield the texts that take algebra."""
        if self.kind == "formula":
            yield self.text
        for part in self.parts:
            yield from part.formulas()

    def key(self, formula_key: Callable[[str], Key]) -> Key:
        """Return the key under which votes count the answer."""
        if self.kind == "formula":
            return formula_key(self.text)
        keys = [part.key(formula_key) for part in self.parts]
        if self.kind in ("list", "set", "union"):
            # Values without brackets are a set in votes: roots in any order.
            keys = sorted(set(keys) if self.kind == "set" else keys, key=repr)
        kind = "set" if self.kind == "list" else self.kind
        return (kind, self.value, *keys)


@lru_cache(maxsize=8192)
def parse_form(answer: str) -> Form | None:
    """Return the form of an answer as it is written; None if it is empty."""
    if len(answer) > LONGEST:
        return Form("text", answer.strip(), answer.strip())
    text = normalise(answer)
    return _form(text, 0) if text else None


def _form(text: str, depth: int) -> Form:
    text = text.strip()
    simple = _simple(text)
    if simple is not None:
        return simple
    if depth >= _DEEPEST or ("{" not in text and text.count("(") > 100):
        return Form("formula", text)
    assigned = _ASSIGNED.fullmatch(text)
    if assigned is not None and not re.search(r"[=<>]|\\[lg]eq", assigned[2].split(",")[0]):
        listed = [part for part in _split(assigned[2]) if part]
        if not any(_ASSIGNED.fullmatch(part) for part in listed[1:]):
            inside = _form(assigned[2], depth + 1)
            return Form(inside.kind, inside.text, inside.value, inside.parts, inside.quantity, assigned[1])
    behind = _ASSIGNED_BEHIND.fullmatch(text)
    if behind is not None:
        return _form(f"{behind[2]}={behind[1]}", depth + 1)
    return _bracketed(text, depth) or _relation(text, depth) or _listed(text, depth) or _formula(text)


def _simple(text: str) -> Form | None:
    """Return the form of an answer without parts, None if it has some or takes algebra."""
    quantity = parse_quantity(text)
    if quantity is not None:
        value = (value_in_votes(quantity), quantity.half_day)
        return Form("number", text, value, quantity=quantity)
    based = parse_based(text)
    if based is not None:
        return Form("based", text, based)
    time = _TIME.fullmatch(text)
    if time is not None:
        return Form("time", text, (int(time[1]), int(time[2]), int(time[3] or 0), (time[4] or "").lower()))
    compound = parse_compound(text)
    if compound is not None:
        return Form("compound", text, compound)
    if _DATE.fullmatch(text) or not text:
        return Form("text", text, text)
    if text.lstrip("+-").strip() == "\\infty":
        return Form("infinity", text, text.startswith("-"))
    choice = _CHOICE.fullmatch(_OPTION.sub("", text))
    if choice is not None:
        return Form("choice", text, choice[1] or choice[2] or choice[3] or choice[4])
    if _WORDS.fullmatch(text) and all(is_plain_word(word) for word in re.split("[ -]", text)):
        return Form("words", text, text.casefold())
    exact = exact_value(text)
    if exact is not None:
        return Form("number", text, (exact, ""), quantity=Quantity(exact, None, "", False))
    return None


def _formula(text: str) -> Form:
    text = without_unit(text)
    simple = _simple(text)
    if simple is not None:
        return simple
    if _NUMBER_WITH_BASE.search(text):
        # Algebra would leave the base out.
        return Form("text", text, text)
    words = [word for word in _LONG_WORD.findall(text) if word.lower() not in _FUNCTIONS]
    if words and "\\" not in text and not re.search(r"[=^<>_]", text):
        return Form("text", text, re.sub(r"[.\s]+", " ", text).casefold().strip())
    return Form("formula", text)


def _bracketed(text: str, depth: int) -> Form | None:
    text = re.sub(r"^(?:\\langle ?|<)([^<>]*?)(?: ?\\rangle|>)$", r"(\1)", text)
    if text == "\\emptyset":
        return Form("set", text)
    builder = _BUILDER.fullmatch(text)
    if builder is not None:
        return _relation(builder[2], depth + 1)
    rows = _ROWS.fullmatch(text)
    if rows is not None and "\\begin" not in rows[2]:
        cells = [row.split("&") for row in re.split(r"\\\\", rows[2].strip()) if row.strip()]
        if cells and len({len(row) for row in cells}) == 1 and len(cells) * len(cells[0]) <= _MOST_PARTS:
            parts = tuple(_form(cell, depth + 1) for row in cells for cell in row)
            return Form("matrix", text, (len(cells), len(cells[0])), parts)
    if text.startswith("\\{") and text.endswith("\\}"):
        members = _split(text[2:-2])
        if len(members) <= _MOST_PARTS:
            return Form("set", text, None, _members(members, depth))
        return None
    if text.startswith("{") and text.endswith("}") and _encloses(text) and len(members := _split(text[1:-1])) > 1:
        return Form("set", text, None, _members(members[:_MOST_PARTS], depth))
    unions = text.split("\\cup")
    if len(unions) > 1 and len(unions) <= _MOST_PARTS:
        parts = tuple(_form(part, depth + 1) for part in unions)
        known = all(part.kind in ("tuple", "interval", "set") for part in parts)
        return Form("union", text, None, parts) if known else None
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or not _encloses(text):
        return None
    inside = _split(text[1:-1])
    if len(inside) > _MOST_PARTS or not all(inside):
        return None
    if len(inside) == 1:
        return _form(text[1:-1], depth + 1) if text[0] == "(" and text[-1] == ")" else None
    parts = tuple(_form(part, depth + 1) for part in inside)
    if text[0] == "(" and text[-1] == ")":
        return Form("tuple", text, None, parts)
    return Form("interval", text, text[0] + text[-1], parts)


def _relation(text: str, depth: int) -> Form | None:
    """Return the interval that a bound on one variable describes, "x > 2" or "1 < x <= 2"."""
    if "<" not in text and ">" not in text and "eq" not in text:
        return None
    between = _BETWEEN.fullmatch(text)
    if between is not None:
        low, high = _bound(between[1], depth), _bound(between[5], depth)
        return low and high and _interval(text, low, between[2] != "<", high, between[4] != "<")
    after, before = _BOUND.fullmatch(text), _BOUND_BEFORE.fullmatch(text)
    if after is not None:
        sign, bound = after[2], _bound(after[3], depth)
    elif before is not None:
        sign = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}[before[2]]
        bound = _bound(before[1], depth)
    else:
        return None
    if bound is None:
        return None
    if sign in (">", "\\geq"):
        return _interval(text, bound, sign != ">", Form("infinity", "\\infty", False), closed_above=False)
    return _interval(text, Form("infinity", "-\\infty", True), False, bound, sign != "<")


def _interval(text: str, low: Form, closed_below: bool, high: Form, closed_above: bool) -> Form:
    if not closed_below and not closed_above:
        return Form("tuple", text, None, (low, high))
    return Form("interval", text, ("[" if closed_below else "(") + ("]" if closed_above else ")"), (low, high))


def _bound(text: str, depth: int) -> Form | None:
    """Return the form of a bound, None if it has variables."""
    if re.search(r"(?<![\\A-Za-z])[a-df-zA-Z](?![A-Za-z])", re.sub(r"\\[A-Za-z]+", "", text)):
        return None
    bound = _form(text, depth + 1)
    return bound if bound.kind in ("number", "formula", "infinity") else None


def _listed(text: str, depth: int) -> Form | None:
    """Return the form of several values without brackets, or of one with a sign of both."""
    members = _split(text)
    if 1 < len(members) <= _MOST_PARTS and all(members):
        variables = {match[1] if (match := _ASSIGNED.fullmatch(each)) else "" for each in members}
        if len(variables - {""}) > 1 or any(_LONG_WORD.search(each) and "\\" not in each for each in members[1:]):
            # "x = 2, y = 3" is a system; words in several parts are a text.
            parts = tuple(_form(each, depth + 1) for each in members)
            return Form("list", text, None, tuple(_with_variable(part) for part in parts))
        return Form("list", text, None, _members(members, depth), variable=next(iter(variables - {""}), ""))
    if text.count("\\pm") == 1:
        return Form("list", text, None, _members([text], depth))
    return None


def _with_variable(form: Form) -> Form:
    return form if not form.variable else Form("tuple", form.text, form.variable, (form,))


def _members(texts: list[str], depth: int) -> tuple[Form, ...]:
    r"""Return the forms of the members of a set; one with `\pm` is two."""
    found = list[Form]()
    for text in texts:
        if text.count("\\pm") == 1:
            before, _, after = text.partition("\\pm")
            signs = ("+", "-") if before.strip() else ("", "-")
            found.extend(_form(f"{before.strip()}{sign}{after.strip()}", depth + 1) for sign in signs)
        else:
            found.append(_form(text, depth + 1))
    return tuple(found)


def _split(text: str) -> list[str]:
    """Return the parts of a text at the commas and the words "and" and "or" outside of brackets."""
    parts, level, start, position = list[str](), 0, 0, 0
    while position < len(text):
        character = text[position]
        if character in _OPENING:
            level += 1
        elif character in _CLOSING:
            level -= 1
        elif level == 0 and character in ",; ":
            word = _SEPARATOR.match(text, position)
            if word is not None:
                parts.append(text[start:position].strip())
                start = position = word.end()
                continue
        position += 1
    parts.append(text[start:].strip())
    return parts


def _encloses(text: str) -> bool:
    """Return whether the first bracket of a text is closed by its last character."""
    level = 0
    for position, character in enumerate(text):
        level += (character in _OPENING) - (character in _CLOSING)
        if level == 0:
            return position == len(text) - 1
    return False
