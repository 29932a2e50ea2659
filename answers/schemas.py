"""Answers with a form: JSON schemas, their grammars, and the values that they describe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, cast

from ramify.errors import MalformedText, UsageError
from ramify.files import user_path
from ramify.json_text import read_json

from .answer_forms import last_json

ANSWER_MARK = "\n\nThe answer as JSON:\n"
"""Text after which the answer stands in a path."""
MOST_NUMBERS = 256
"""Whole numbers between two bounds; llama.cpp's conversion knows none, so all of them stand in the grammar."""
LONGEST_SCHEMA = 64 << 10
"""Characters of a schema."""
_UNKNOWN_TO_GRAMMARS = frozenset(
    "not if then else patternProperties propertyNames uniqueItems contains minContains maxContains dependentRequired "
    "dependentSchemas multipleOf minProperties maxProperties unevaluatedProperties unevaluatedItems $dynamicRef".split()
)
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """A schema as text, and the pydantic model that it was made of, None if it was given as a schema."""

    text: str
    model: Any = None

    def value(self, answer: str | None) -> Any:
        """Return the value of an answer's text; None without an answer, or if the model refuses it."""
        if answer is None:
            return None
        if self.model is None:
            return parsed(answer)
        from pydantic import ValidationError

        try:
            return self.model.model_validate(parsed(answer))
        except ValidationError:
            return None


def read_schema(given: Any) -> AnswerSchema:
    """Return the schema that is given as a pydantic model, a mapping, the text of one, or the path of a file.

    Raises:
        UsageError: if it is none of these, or no grammar can hold answers to it.
    """
    if isinstance(given, AnswerSchema):
        return given
    if hasattr(given, "model_json_schema"):
        return AnswerSchema(_checked(json.dumps(given.model_json_schema())), given)
    if isinstance(given, Mapping):
        return AnswerSchema(_checked(json.dumps(given)))
    text = str(given)
    if not text.lstrip().startswith("{"):
        try:
            text = user_path(text).read_text("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(f"the answer schema {str(given)!r} cannot be read ({reason})", "check the path") from error
    return AnswerSchema(_checked(text))


@lru_cache(maxsize=16)
def _checked(text: str) -> str:
    """Return the text of a schema in its shortest form, after its grammar has been made once."""
    if len(text) > LONGEST_SCHEMA:
        raise UsageError(f"the answer schema has {len(text)} characters", f"use at most {LONGEST_SCHEMA}")
    try:
        schema: object = read_json(text)
    except MalformedText as error:
        raise UsageError(f"the answer schema is not JSON ({error.message})", "check it") from error
    if not isinstance(schema, dict):
        raise UsageError("the answer schema is no JSON object", "give a JSON schema")
    short = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    for reason in _unsuited(cast("dict[str, Any]", schema)):
        raise _no_grammar(reason)
    grammar_of(short)
    return short


def _unsuited(schema: Any) -> Iterator[str]:
    """Yield the reasons why a grammar would not hold a schema: parts that the conversion leaves out or cannot end."""
    if isinstance(schema, list):
        for each in cast("list[Any]", schema):
            yield from _unsuited(each)
    if not isinstance(schema, dict):
        return
    found = cast("dict[str, Any]", schema)
    for key, value in found.items():
        if key in _UNKNOWN_TO_GRAMMARS:
            yield f"it says {key!r}"
        elif key in _BOUNDS and _range(found) is None:
            yield f"it says {key!r}, and not of whole numbers from one to another, at most {MOST_NUMBERS}"
        elif key in ("enum", "anyOf", "oneOf") and not value:
            yield f"its {key!r} is empty"
        elif key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            for each in cast("dict[str, Any]", value).values():
                yield from _unsuited(each)
        elif key not in ("enum", "const", "default", "examples", "description", "title"):
            yield from _unsuited(value)


def _range(schema: dict[str, Any]) -> range | None:
    """Return the whole numbers between the bounds of a schema, None if they are none or too many."""
    low, high = schema.get("minimum"), schema.get("maximum")
    low = schema["exclusiveMinimum"] + 1 if low is None and isinstance(schema.get("exclusiveMinimum"), int) else low
    high = schema["exclusiveMaximum"] - 1 if high is None and isinstance(schema.get("exclusiveMaximum"), int) else high
    if schema.get("type") != "integer" or not isinstance(low, int) or not isinstance(high, int):
        return None
    return range(low, high + 1) if 0 <= high - low < MOST_NUMBERS else None


def _spelled_out(schema: Any) -> Any:
    """Return a schema in which whole numbers between bounds are all named."""
    if isinstance(schema, list):
        return [_spelled_out(each) for each in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    found = cast("dict[str, Any]", schema)
    numbers = _range(found)
    if numbers is not None:
        return {"enum": list(numbers)}
    return {key: _spelled_out(each) for key, each in found.items()}


@lru_cache(maxsize=16)
def grammar_of(schema: str) -> str:
    """Return llama.cpp's grammar for the values that a schema describes.

    Raises:
        UsageError: if there is none.
    """
    converter: Any = import_module("llama_cpp.llama_grammar")
    try:
        grammar = str(converter.json_schema_to_gbnf(json.dumps(_spelled_out(read_json(schema)))))
    except RecursionError as error:
        raise _no_grammar("it goes in a circle") from error
    except Exception as error:
        raise _no_grammar(str(error).partition("\n")[0][:200] or type(error).__name__) from error
    # The conversion forgets that JSON has no control characters in its strings.
    return grammar.replace('char ::= [^"\\\\]', 'char ::= [^"\\\\\\x7F\\x00-\\x1F]')


def _no_grammar(reason: str) -> UsageError:
    return UsageError(f"the answer schema cannot be a grammar ({reason})", "leave that out of the schema")


def canonical(text: str) -> str | None:
    """Return the text that all texts of a JSON value have in common, None if this is no JSON."""
    try:
        value = read_json(text)
    except MalformedText:
        return None
    return json.dumps(_plain(value), ensure_ascii=False, sort_keys=True)


def parsed(text: str) -> Any:
    """Return the value of a JSON text, None if it is none."""
    try:
        return read_json(text)
    except MalformedText:
        return None


def _plain(value: Any) -> Any:
    """Return a value in which whole numbers are integers, as JSON schemas have them."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[str, Any]", value).items()}
    return value


def same_values(left: str, right: str) -> bool:
    """Tell whether two texts are of one JSON value."""
    first = canonical(left)
    return first is not None and first == canonical(right)


def value_in(text: str) -> str | None:
    """Return the JSON value after the last mark of a text in its canonical form, without a mark its last value."""
    _, mark, rest = text.rpartition(ANSWER_MARK.strip())
    if mark:
        return canonical(rest.strip())
    found = last_json(text)
    return None if found is None else json.dumps(_plain(found), ensure_ascii=False, sort_keys=True)
