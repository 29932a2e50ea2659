"""Readers of JSON and TOML that come from outside, and the writer of JSON for readers outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, cast

from .errors import MalformedText

DEEPEST = 100
"""Levels of lists and objects inside each other that a text may have."""
MOST_DIGITS = 300
"""Digits of a whole number; longer ones do not fit a float."""

_STRIDE = 30
_SAMPLED_DIGITS = re.compile(rf"\d{{{MOST_DIGITS // _STRIDE}}}")
_LARGE_POWER = re.compile(r"[eE]\+?\d{3}")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(text: str | bytes, *, lenient: bool = False) -> Any:
    """Return the value of a JSON text, in UTF-8 if it is bytes; a byte order mark is left out.

    `lenient` keeps numbers that are not finite and halves of surrogate pairs, for readers that look at each value.

    Raises:
        MalformedText: if it is no JSON, or exceeds the limits of most readers: more than DEEPEST levels, a number of
            more than MOST_DIGITS digits; without `lenient`, also for a number that is not finite, or half a character.
    """
    if not isinstance(text, str):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedText("it is not UTF-8 text", "save it as UTF-8") from error
    text = text.removeprefix("\ufeff")
    try:
        value: Any = json.loads(
            text,
            parse_int=_integer if _may_hold_long_number(text) else None,
            parse_float=_finite if not lenient and _LARGE_POWER.search(text) else None,
            parse_constant=float if lenient else _refuse_constant,
        )
    except json.JSONDecodeError as error:
        raise MalformedText(f"it is not JSON ({error})") from None
    except RecursionError:
        raise _too_deep() from None
    if text.count("[") + text.count("{") > DEEPEST and _is_too_deep(value):
        raise _too_deep()
    if not lenient and _HALF.search(text) and not _is_unicode(value):
        raise MalformedText("it holds half a character")
    return value


_WRITTEN = json.JSONDecoder(strict=False)


def read_json_at(text: str, start: int = 0) -> tuple[Any, int]:
    """Return the JSON value that begins at a place of a text, and the place after it, for texts that models write.

    Line breaks may stand in strings, and numbers may be not finite.

    Raises:
        MalformedText: if none begins there, or one of more than DEEPEST levels or with a number of too many digits.
    """
    try:
        value, end = _WRITTEN.raw_decode(text, start)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise MalformedText(f"it is not JSON ({error})") from None
    if type(value) in (dict, list) and _is_too_deep(value):
        raise _too_deep()
    return value, end


def json_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of JSON lines that are not blank, each with its number from 1.

    A line ends with a line feed, perhaps after a carriage return. Other characters that end lines elsewhere, such as
    U+2028, may stand inside of the texts of JSON.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def read_toml(text: str) -> dict[str, Any]:
    """Return the value of a TOML text.

    Raises:
        MalformedText: if it is no TOML, or has more than DEEPEST levels.
    """
    import tomllib

    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise MalformedText(f"it is not TOML: {message[:1].lower()}{message[1:]}", "correct this place") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        # A number with too many digits.
        raise MalformedText(f"it is not TOML: {str(error).partition(';')[0]}", "correct this place") from None
    if _is_too_deep(value):
        raise _too_deep()
    return value


def ascii_json(value: Any) -> str:
    """Return JSON in ASCII, which also carries halves of characters; numbers that are not finite become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_with_nulls(value), separators=(",", ":"))


def _with_nulls(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _with_nulls(each) for name, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(each) for each in cast("Sequence[Any]", value)]
    return value


def _may_hold_long_number(text: str) -> bool:
    """Tell whether more than MOST_DIGITS digits stand in a row somewhere, be it in a string."""
    # So many digits show in a sample, and a reader of each number in Python would take longer than all the rest.
    return _SAMPLED_DIGITS.search(text[::_STRIDE]) is not None


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise MalformedText(f"it holds a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    return value if isfinite(value) else _refuse_constant(digits[:20])


def _refuse_constant(name: str) -> Any:
    raise MalformedText(f"it holds the number {name}, which is not JSON")


def _too_deep() -> MalformedText:
    return MalformedText(f"it is nested more than {DEEPEST} levels deep")


def _is_too_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        # Types by identity: most of a large value is numbers and texts.
        level = [
            child
            for each in level
            for child in cast("list[Any]", each.values() if type(each) is dict else each)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _is_unicode(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
