"""Types of option values: declared settings, counts, ranges, files, fields and assignments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ramify.search.budget import MOST_PATHS

from .. import settings
from ..config import SETTINGS
from ..errors import UsageError
from ..files import is_folder, user_path
from ..settings import Setting

TREE_SUFFIXES = (".json", ".graphml", ".dot", ".mmd", ".svg", ".html")

_MOST_STEP_DIGITS = 3
_WHOLE_NUMBERS = re.compile(r"\d+(\s*,\s*\d+)+")


class SettingType(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """Values of a declared setting, read by its parser."""

    def __init__(self, setting: Setting) -> None:
        self.name = setting.kind.name
        self.setting = setting

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value of a text; another value is returned as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self.setting.parse(value)
        except UsageError as error:
            self.fail(f"{error.message} ({error.next_step})", param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the choices, None for the name of the kind."""
        return f"[{'|'.join(self.setting.choices)}]" if self.setting.choices else None

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the choices, strategies or models that begin with `incomplete`; for models, files too."""
        key, names = self.setting.key, self.setting.choices
        if key == "strategy":
            from ramify.search.registry import strategy_names

            names = (*strategy_names(), "auto")
        elif key == "model":
            from ramify.engine.library.catalog import list_bundled, list_user_models

            names = [each.name for each in (*list_bundled(), *list_user_models()) if each.role != "reward"]
        found = [CompletionItem(each) for each in names if each.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")] if key in ("model", "reward") else found


class ListType(SettingType):
    """Values of a declared setting joined with commas, each counted once; the result is a tuple."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the values in the order of the text."""
        if not isinstance(value, str):
            return value
        parts = (part.strip() for part in value.split(","))
        return tuple(dict.fromkeys(super(ListType, self).convert(part, param, ctx) for part in parts if part))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Return the choices, or the kind of the values."""
        return super().get_metavar(param, ctx) or f"{self.name.upper()},..."


COUNT = SettingType(Setting(kind=settings.COUNT))
COUNT_RANGE = click.IntRange(1, MOST_PATHS)
"""Numbers of paths, problems, seeds and the like, bounded like the counts of a strategy."""
WORDS = ListType(Setting(kind=settings.TEXT))
WIDTHS = ListType(SETTINGS["width"])


class StepRange(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A range of step counts: `2-8`, or `4` for exactly four."""

    name = "range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return the lowest and the highest number."""
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", str(value))
        if match is None:
            self.fail(f"{value!r} is not a range (write it like 2-8)", param, ctx)
        if max(map(len, filter(None, match.groups()))) > _MOST_STEP_DIGITS:
            self.fail(f"{value!r} has more steps than a problem can have", param, ctx)
        low = int(match[1])
        return low, int(match[2] or low)


class TreeFile(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]
    """A file to be written in a folder that exists, with the ending of a tree format."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        path = user_path(str(value))
        if path.suffix.lower() not in TREE_SUFFIXES:
            self.fail(f"{str(value)!r} does not end in {', '.join(TREE_SUFFIXES)}", param, ctx)
        if is_folder(path):
            self.fail(f"{str(value)!r} is a folder", param, ctx)
        if not is_folder(path.parent):
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
    """Name and value of an option: `children=4`; numbers, lists of them (8,4), true and false are read as such."""

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
