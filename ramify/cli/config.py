"""`ramify config` and the user's defaults of the settings: a TOML file and environment variables.

An option on the command line comes first, then the variable RAMIFY_…, then the file, then the built-in default. A key
is the name of the option with underscores, such as `max_generated_tokens`. The table `[keys]` of the file has keys of
the terminal UI, and `[presets.NAME]` settings that a client of `ramify serve` chooses by their name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..config import SETTINGS, STRATEGY_KEYS
from ..errors import MalformedText, UsageError
from ..files import CONFIG_VARIABLE, config_path
from ..json_text import read_toml
from ..settings import TEXT_OR_FILE
from ..text import did_you_mean
from . import terminal
from .option_types import COUNT, SettingType
from .options import DEFAULTED, search_options

if TYPE_CHECKING:
    from ramify.engine.history import RunStore
    from ramify.server.config import Preset


@click.group()
def config() -> None:
    """Look at your own defaults.

    RAMIFY_… variables and a file set defaults of the options of commands that search; the file's table [keys] gives
    actions of the terminal UI other keys.
    """


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def show(as_json: bool) -> None:
    """Show each setting's value and where it comes from.

    Options on the command line come before environment variables, these before the file.
    """
    settings = all_settings() | {f"{KEYS}.{action}": keys for action, keys in given_keys().items()}
    with terminal.owned_stdout():
        if as_json:
            values = {key: {"value": each.value, "source": each.source} for key, each in settings.items()}
            terminal.write_json(values, indent=2)
            return
        rows = [(key, _plain(each.value), each.source) for key, each in settings.items()]
        terminal.write_table(("SETTING", "VALUE", "FROM"), rows)


@config.command()
def path() -> None:
    """Show the path of the file, which need not exist."""
    with terminal.owned_stdout():
        terminal.write(str(config_path()))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[Any]", value)))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)


KEYS = "keys"
"""Table of the file that gives actions of the terminal UI other keys."""
PRESETS = "presets"
"""Table of the file whose tables are presets of the server."""
_SEARCH_OPTION = "strategy"
"""Option of the commands that search, whose defaults the settings are."""

_KEY = 'stop = "s"'

save_option = click.option(
    "--save/--no-save", default=True, help="Keep the run in the history.  [default: yes; see ramify runs]"
)


@dataclass(frozen=True, slots=True)
class SettingValue:
    """Value of a setting and where it comes from, in words. The value None is left to the program."""

    value: Any
    source: str


@cache
def known_settings() -> Mapping[str, click.Parameter]:
    """Return the options that have a key: those of a search with one value, and the number of runs that are kept."""

    @search_options
    @save_option
    @click.option("--keep-runs", type=COUNT, default=500)
    def options() -> None: ...

    declared = cast("list[click.Parameter]", getattr(options, "__click_params__"))  # noqa: B009
    return {str(each.name): each for each in reversed(declared) if not each.multiple}


def given_settings() -> dict[str, SettingValue]:
    """Return the settings of the environment and the file, in the order of the options.

    Raises:
        UsageError: if the file cannot be read, or a key or value is wrong; the message says where.
    """
    path = config_path()
    found = _from_file(path) | _from_environment()
    return {key: found[key] for key in known_settings() if key in found}


def all_settings() -> dict[str, SettingValue]:
    """Return every setting with its source.

    Raises:
        UsageError: as `given_settings`.
    """
    given = given_settings()
    return {key: given.get(key, SettingValue(_built_in(each), "built-in")) for key, each in known_settings().items()}


def given_keys() -> dict[str, SettingValue]:
    """Return the keys of the terminal UI that the file sets, by action; values are a key or a list of them.

    Raises:
        UsageError: if the file cannot be read, or an action or key is wrong; the message says where.
    """
    path = config_path()
    values, text = _parsed(path)
    table: Any = values.get(KEYS, {})
    if not isinstance(table, dict):
        raise UsageError(
            f"{path}:{_line_of(KEYS, text)}: {KEYS} has to be a table", f"write [{KEYS}] and below it {_KEY}"
        )
    if not table:
        return {}
    from ramify.tui.common.keymap import remapped

    found, body = dict[str, SettingValue](), _line_of(KEYS, text)
    for action, keys in cast("dict[str, Any]", table).items():
        place = f"{path}:{_line_of(action, text, body)}"
        listed = cast("list[Any]", keys) if isinstance(keys, list) else [keys]
        if not all(isinstance(each, str) for each in listed):
            raise UsageError(f"{place}: {action} has to be a key or a list of keys", f"write it like {_KEY}")
        found[action] = SettingValue(keys, place)
        try:
            remapped({name: setting.value for name, setting in found.items()})
        except UsageError as error:
            raise UsageError(f"{place}: {error.message}", error.next_step) from None
    return found


def given_presets() -> dict[str, Preset]:
    """Return the presets of the server that the file has, by name.

    Raises:
        UsageError: if the file cannot be read, or a preset is wrong; the message says where.
    """
    from ramify.server.search_settings import read_preset

    path = config_path()
    values, text = _parsed(path)
    tables: Any = values.get(PRESETS, {})
    if not isinstance(tables, dict):
        raise UsageError(
            f"{path}:{_line_of(PRESETS, text)}: {PRESETS} has to be a table",
            "write [presets.NAME] and below it width = 16",
        )
    return {
        name: read_preset(name, table, f"{path}:{_line_of(f'{PRESETS}.{name}', text)}: {PRESETS}.{name}")
        for name, table in cast("dict[str, Any]", tables).items()
    }


def default_map(name: str, command: click.Command | None) -> dict[str, Any]:
    """Return the settings as defaults of the named command, in click's form; {} if it does not search."""
    if command is None or not _searches(command):
        return {}
    return {name: _defaults(command, {key: setting.value for key, setting in given_settings().items()})}


def without_unfit_defaults(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the running command without the user's defaults that its strategy does not have.

    With a width in the file, `--strategy greedy` is accepted; with `--width` on the command line it is refused. Where
    no strategy is named, DEFAULTED has the keys that the plan may leave out once it has chosen one.
    """
    from ramify.search.registry import strategy_names, strategy_option_names

    name = options["strategy"]
    context = click.get_current_context(silent=True)
    if context is None:
        return options
    source = click.core.ParameterSource.DEFAULT_MAP
    defaults = [key for key in STRATEGY_KEYS if context.get_parameter_source(key) is source]
    if name is None:
        return options | {DEFAULTED: tuple(defaults)}
    known = strategy_option_names(name) if name in strategy_names() else []
    return options | {key: None for key in defaults if SETTINGS[key].attribute not in known}


def open_store() -> RunStore:
    """Return the run history with the size that is set."""
    from ramify.engine.history import RunStore

    return RunStore(keep=all_settings()["keep_runs"].value)


def _searches(command: click.Command) -> bool:
    if isinstance(command, click.Group):
        return any(map(_searches, command.commands.values()))
    return any(each.name == _SEARCH_OPTION for each in command.params)


def _defaults(command: click.Command, values: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(command, click.Group):
        return {name: _defaults(each, values) for name, each in command.commands.items() if _searches(each)}
    types: dict[str, Any] = {str(each.name): each.type for each in command.params}
    return {key: _as_written(types[key], value) for key, value in values.items() if key in types}


def _as_written(kind: Any, value: Any) -> Any:
    """Return a value so that click, which reads all texts of defaults, finds the same one again."""
    text_or_file = isinstance(kind, SettingType) and kind.setting.kind is TEXT_OR_FILE
    return f"@{value}" if text_or_file and isinstance(value, str) and value.startswith("@") else value


def _built_in(option: click.Parameter) -> Any:
    value = option.get_default(click.Context(click.Command("ramify")))
    return value if isinstance(value, str | int | float) else None


def _from_environment() -> dict[str, SettingValue]:
    found = dict[str, SettingValue]()
    for key, option in known_settings().items():
        variable = f"RAMIFY_{key.upper()}"
        text = os.environ.get(variable)
        if text:
            found[key] = SettingValue(
                _converted(option, text, f"the environment variable {variable}"), f"env {variable}"
            )
    return found


def _parsed(path: Path) -> tuple[dict[str, Any], str]:
    text = _read(path)
    try:
        return read_toml(text), text
    except MalformedText as error:
        raise UsageError(f"{path} {error.message.removeprefix('it ')}", "correct the file") from error


def _from_file(path: Path) -> dict[str, SettingValue]:
    values, text = _parsed(path)
    found = dict[str, SettingValue]()
    for key, value in values.items():
        if key in (KEYS, PRESETS):
            continue
        place = f"{path}:{_line_of(key, text)}"
        option = known_settings().get(key)
        if option is None:
            raise UsageError(f"{place}: there is no setting {key!r}", _nearest(key, list(known_settings())))
        if not isinstance(value, str | int | float):
            raise UsageError(f"{place}: {key} has to be one value", f"write it like {key} = …")
        found[key] = SettingValue(_converted(option, str(value), f"{place}: {key}"), place)
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        if os.environ.get(CONFIG_VARIABLE):
            raise UsageError(f"{CONFIG_VARIABLE} names {path}, which does not exist", "make it or unset it") from None
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}", "correct or remove the file") from error


def _converted(option: click.Parameter, text: str, place: str) -> Any:
    try:
        # From text, so that a value of the wrong kind is refused as it would be on the command line.
        return option.type.convert(text, option, None)
    except click.BadParameter as error:
        raise UsageError(f"{place}: {' '.join(error.message.split()).removesuffix('.')}", "correct the value") from None


def _line_of(key: str, text: str, after: int = 0) -> int:
    """Return the number of the line that sets a key after line `after`; that number if no line is found."""
    pattern = re.compile(rf"""\s*\[?\s*["']?{re.escape(key)}["']?\s*[=.\]]""")
    lines = list(enumerate(text.split("\n"), start=1))[after:]
    return next((number for number, line in lines if pattern.match(line)), max(1, after))


def _nearest(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word.lower().replace("-", "_"), known, "`ramify config show` lists them", cutoff=0.6)
