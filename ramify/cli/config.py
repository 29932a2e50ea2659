"""`ramify config`: the user's own defaults."""

from __future__ import annotations

from typing import Any, cast

import click

from . import output


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
    from .settings import KEYS, all_settings, given_keys

    settings = all_settings() | {f"{KEYS}.{action}": keys for action, keys in given_keys().items()}
    with output.owned_stdout():
        if as_json:
            values = {key: {"value": each.value, "source": each.source} for key, each in settings.items()}
            output.write_json(values, indent=2)
            return
        rows = [(key, _plain(each.value), each.source) for key, each in settings.items()]
        output.write_table(("SETTING", "VALUE", "FROM"), rows)


@config.command()
def path() -> None:
    """Show the path of the file, which need not exist."""
    from ..files import config_path

    with output.owned_stdout():
        output.write(str(config_path()))


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[Any]", value)))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value is None else str(value)
