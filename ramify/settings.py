"""Declaration of settings: name, kind, range, default and help of each, and the one parser of their texts.

A setting is declared once, by `setting` at the field of the dataclass that holds it, or as a `Setting` of its own.
The command line, the settings file, the environment, the terminal UI and docs/reference/options.md read
these declarations.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from .errors import UsageError, check_kind
from .text import ENERGIES, SCALES, SIZES, TIMES, read_quantity

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Group = Literal["search", "limits", "sampling", "machine"]
"""Section of docs/reference/options.md in which a setting is explained."""
GROUPS: tuple[Group, ...] = ("search", "limits", "sampling", "machine")

_METADATA = "setting"


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of a setting's values: its name in the help, and the function that reads a text as such a value."""

    name: str
    read: Callable[[str], Any]


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a valid integer", "write it like 16") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a valid number", "write it like 0.7") from None
    if not math.isfinite(value):
        raise UsageError(f"{text!r} is not a finite number", "write it like 0.7")
    return value


def _switch(text: str) -> bool:
    try:
        return {
            "true": True,
            "on": True,
            "yes": True,
            "1": True,
            "false": False,
            "off": False,
            "no": False,
            "0": False,
        }[text.strip().lower()]
    except KeyError:
        raise UsageError(f"{text!r} is neither on nor off", "write true or false") from None


def _quantity(name: str, units: Mapping[str, float], example: str, *, whole: bool = False) -> Kind:
    """Return the kind of numbers above 0 with one of `units`; `whole` accepts whole numbers alone, as int."""

    def read(text: str) -> float | int:
        value = read_quantity(text, units)
        if value is None:
            article = "an" if name[0] in "aeiou" else "a"
            raise UsageError(f"{text!r} is not {article} {name}", f"write it like {example}")
        if whole:
            value = round(value, 6)
        if value <= 0 or not math.isfinite(value):
            raise UsageError(f"{text!r} is not above 0", f"write it like {example}")
        if whole and value != int(value):
            raise UsageError(f"{text!r} is not a whole number", f"write it like {example}")
        return int(value) if whole else value

    return Kind(name, read)


def _text_or_file(text: str) -> str:
    """Return a text, that of a file for `@FILE`; `@@` stands for a text that begins with @."""
    if not text.startswith("@") or text.startswith("@@"):
        return text.removeprefix("@") if text.startswith("@@") else text
    name = text[1:]
    try:
        return Path(name).expanduser().read_text("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text", "save it as UTF-8") from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "no such path"
        raise UsageError(
            f"{name!r} cannot be read ({reason})", "check the path; a text with @ begins with @@"
        ) from None


TEXT = Kind("text", str)
TEXT_OR_FILE = Kind("text|@file", _text_or_file)
COMPACT = Kind("text", lambda text: text.replace(" ", ""))
INTEGER = Kind("integer", _integer)
NUMBER = Kind("number", _number)
FLAG = Kind("switch", _switch)
COUNT = _quantity("count", SCALES, "20000 or 20k", whole=True)
FLOPS = _quantity("number", SCALES, "1e12 or 2T")
DURATION = _quantity("duration", TIMES, "90s or 2m")
ENERGY = _quantity("energy", ENERGIES, "500, 2kJ or 1Wh")
MONEY = _quantity("sum of money", {"": 1.0}, "0.05")
POWER = _quantity("power", {"": 1.0, "w": 1.0, "kw": 1e3}, "65 or 65W")
AGE = _quantity("age", {**TIMES, "d": 86400.0}, "12h or 30d")
SIZE = _quantity("size", SIZES, "500M or 2G", whole=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Declaration of one setting.

    `key` is its name in the settings file and in saved runs, and with hyphens its option; in capitals behind RAMIFY_
    it is its environment variable. `attribute` is the field that holds it, "" if it has the same name. `default` None
    leaves the value to the library. `unset` is shown in the help as the default, "" for `default` itself. `unit` is
    the unit of a number for people, "" for none.

    Values lie between `low` and `high`, None for no bound; `low_excluded` refuses `low` itself in texts. `choices` are
    the possible values, () for any. `check` raises UsageError for a text that is wrong in another way. `metavar` stands
    for the value in the help, "" for the name of its kind, and `letter` is its short option and `alias` another name of
    it, "" for none. `help` is one line, `explanation` the Markdown of docs/reference/options.md, "" for `help`
    and the default.

    `option` False leaves a setting to programs: it has no option and no key. `identity` says whether the setting makes
    another item of a batch: "always", "changed" (unless it is at its default, so that older hashes stay) or "never".
    """

    key: str = ""
    attribute: str = ""
    default: Any = None
    kind: Kind = TEXT
    unit: str = ""
    low: float | None = None
    high: float | None = None
    low_excluded: bool = False
    choices: tuple[str, ...] = ()
    check: Callable[[str], object] | None = None
    group: Group = "machine"
    help: str = ""
    unset: str = ""
    explanation: str = ""
    metavar: str = ""
    letter: str = ""
    alias: str = ""
    option: bool = True
    identity: Literal["always", "changed", "never"] = "changed"

    def __post_init__(self) -> None:
        if not self.attribute:
            object.__setattr__(self, "attribute", self.key)

    @property
    def flags(self) -> tuple[str, ...]:
        """The option of the command line, and its short form and its other name if it has them."""
        return (
            "--" + self.key.replace("_", "-"),
            *([f"-{self.letter}"] if self.letter else []),
            *([f"--{self.alias}"] if self.alias else []),
        )

    @property
    def bounds(self) -> str:
        """The bounds of typed values in a few words, "" if there are none."""
        if self.low is None:
            return ""
        if self.high is None:
            return f"above {self.low}" if self.low_excluded else f"{self.low} or more"
        return f"above {self.low}, up to {self.high}" if self.low_excluded else f"{self.low} to {self.high}"

    @property
    def advice(self) -> str:
        """The next step for values out of range."""
        if self.high is not None:
            return f"use a number from {self.low} to {self.high}"
        return f"use a number from {self.low} upwards" if self.kind is NUMBER else f"use {self.low} or more"

    def parse(self, text: str) -> Any:
        """Return the value that a text from the command line, a file, the environment or a form stands for.

        Raises:
            UsageError: if there is no such value.
        """
        value = self.kind.read(text)
        if self.check is not None and value not in self.choices:
            self.check(value)
        elif self.choices and value not in self.choices:
            raise UsageError(f"{text!r} is not one of {', '.join(self.choices)}", f"use {_either(self.choices)}")
        if not self._within(value) or (self.low_excluded and value == self.low):
            raise UsageError(f"{value} is not in the range", self.advice)
        return value

    def verify(self, value: Any) -> None:
        """Check a value that a program gave; None is left to the library.

        Raises:
            UsageError: if it is out of range, none of the choices, or neither text nor a number where it has to be.
        """
        if value is None or callable(value):
            # A rule of the caller's own stands in for its text.
            return
        if self.kind is FLAG:
            check_kind(self.attribute, value, bool, "True or False")
            return
        is_text = self.kind in (TEXT, COMPACT, TEXT_OR_FILE)
        check_kind(self.attribute, value, (str, PathLike) if is_text else Real, "a text" if is_text else "a number")
        if self.choices and self.check is not None and value not in self.choices:
            self.check(str(value))
        elif self.choices and value not in self.choices:
            raise UsageError(f"{self.attribute} is {value!r}", f"use {_either(self.choices)}")
        if not self._within(value):
            raise UsageError(f"{self.attribute} is {value}", self.advice)

    def _within(self, value: Any) -> bool:
        if self.low is None:
            return True
        finite = isinstance(value, int) or math.isfinite(value)
        return finite and self.low <= value and (self.high is None or value <= self.high)


def setting(value: T, kind: Kind = TEXT, **declaration: Any) -> T:
    """Declare a setting as a field of a dataclass, whose default is `value`.

    `declaration` are further fields of `Setting`. The setting has the same default as the field, unless `default`
    leaves it to the field.
    """
    if "default" not in declaration:
        declaration["default"] = value
    elif declaration["default"] is None:
        declaration.setdefault("unset", f"{value}")
    return field(default=value, metadata={_METADATA: Setting(kind=kind, **declaration)})


@cache
def declared(holder: type[DataclassInstance]) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares, those of its base classes first."""
    found = list[Setting]()
    for each in fields(holder):
        declaration: Setting | None = each.metadata.get(_METADATA)
        if declaration is not None:
            found.append(replace(declaration, attribute=each.name, key=declaration.key or each.name))
    return tuple(found)


def values_of(holder: DataclassInstance) -> dict[str, Any]:
    """Return the fields of an instance of a dataclass by name, without copying the values."""
    return {each.name: getattr(holder, each.name) for each in fields(holder)}


def identity_of(holder: DataclassInstance) -> dict[str, Any]:
    """Return the settings of an instance of a dataclass that make another item of a batch, by field.

    Settings that only change the speed are left out, and those declared as "changed" at their default.
    """
    counted = dict[str, Any]()
    for each in declared(type(holder)):
        value = getattr(holder, each.attribute)
        if each.identity == "always" or (each.identity == "changed" and value != each.default):
            counted[each.attribute] = value
    return counted


def verify(holder: DataclassInstance) -> None:
    """Check all settings that an instance of a dataclass holds.

    Raises:
        UsageError: if one is out of range or none of the choices.
    """
    for each in declared(type(holder)):
        each.verify(getattr(holder, each.attribute))


def _either(words: tuple[str, ...]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for each difference of two configurations."""
    found = list[str]()
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif before != after:
            found.append(f"{prefix}{name} was {_short(before)} and is now {_short(after)}")
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{text[:12]}…" if len(text) == 64 else text
