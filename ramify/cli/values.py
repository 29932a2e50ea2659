"""Kinds of option values: numbers with units, ranges, file names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..text import SCALES, TIMES, read_quantity

TREE_SUFFIXES = (".json", ".graphml", ".dot", ".mmd", ".svg")

_WHOLE_NUMBERS = re.compile(r"\d+(\s*,\s*\d+)+")


class Positive(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A number above 0 with an optional unit: `20k`, `1e12`, `90s`. `whole` numbers become int."""

    def __init__(self, name: str, units: Mapping[str, float], *, whole: bool = False) -> None:
        self.name = name
        self._units = units
        self._whole = whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | int:
        """Return the number in units of 1."""
        if isinstance(value, int | float):
            return value
        number = read_quantity(str(value), self._units)
        if number is None:
            self.fail(f"{value!r} is not a {self.name} (write it like {self._example()})", param, ctx)
        if self._whole:
            number = round(number, 6)
        if number <= 0 or not math.isfinite(number):
            self.fail(f"{value!r} is not above 0", param, ctx)
        if self._whole and number != int(number):
            self.fail(f"{value!r} is not a whole number", param, ctx)
        return int(number) if self._whole else number

    def _example(self) -> str:
        return "90s or 2m" if "min" in self._units else "20000 or 20k" if self._whole else "1e12 or 2T"


COUNT = Positive("count", SCALES, whole=True)
FLOPS = Positive("number", SCALES)
DURATION = Positive("duration", TIMES)


class Share(click.FloatRange):
    """A number within bounds that is not NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class ModelSetting(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """Text that is checked by the settings of a model, among which it is `setting`."""

    def __init__(self, name: str, setting: str) -> None:
        self.name = name
        self._setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text without spaces."""
        from ramify.engine.runtime.llama.config import ModelConfig

        from ..errors import UsageError

        text = str(value).replace(" ", "")
        settings: dict[str, Any] = {self._setting: text}
        try:
            ModelConfig(path="", **settings)
        except UsageError as error:
            self.fail(f"{value!r} cannot be used: {error.next_step}", param, ctx)
        return text


GPU_SHARES = ModelSetting("shares", "tensor_split")
KV_TYPE = ModelSetting("type", "kv_type")


class StepRange(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A range of step counts: `2-8`, or `4` for exactly four."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return the lowest and the highest number."""
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a range (write it like 2-8)", param, ctx)
        low = int(match[1])
        return low, int(match[2] or low)


class TreeFile(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A file to be written, in a folder that exists, whose ending says the format."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = Path(str(value)).expanduser()
        if path.suffix.lower() not in TREE_SUFFIXES:
            self.fail(f"{str(value)!r} does not end in {', '.join(TREE_SUFFIXES)}", param, ctx)
        if path.is_dir():
            self.fail(f"{str(value)!r} is a folder", param, ctx)
        if not path.parent.is_dir():
            self.fail(f"there is no folder {str(path.parent)!r}", param, ctx)
        return path


class FieldMap(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A field and the column that holds it: `question=prompt`."""

    name = "field=column"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return the field and the column."""
        field, sign, column = str(value).partition("=")
        if not (sign and field.strip() and column.strip()):
            self.fail(f"{value!r} is not of the form field=column (write it like question=prompt)", param, ctx)
        return field.strip(), column.strip()


class Assignment(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """An option's name and value: `children=4`; numbers, lists of them (8,4) and true or false are read as such."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return the name and the value."""
        name, sign, text = str(value).partition("=")
        if not (sign and name.strip() and text.strip()):
            self.fail(f"{value!r} is not of the form name=value (write it like children=4)", param, ctx)
        return name.strip().replace("-", "_"), _plain(text.strip())


def _plain(text: str) -> bool | int | float | str | tuple[int, ...]:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _WHOLE_NUMBERS.fullmatch(text):
        return tuple(int(each) for each in text.split(","))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
