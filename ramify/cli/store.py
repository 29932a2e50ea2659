"""`ramify store`: size and age of a store of searched nodes, and its pruning."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from .. import settings
from ..errors import UsageError
from ..files import user_path
from ..settings import Setting
from . import terminal
from .option_types import SettingType

DAY_S = 86400.0

_folder = click.argument("folder", metavar="DIR")
_AGE = SettingType(Setting(kind=settings.AGE))
_SIZE = SettingType(Setting(kind=settings.SIZE))


@click.group(epilog="DIR is the folder that searches are given with --store.")
def store() -> None:
    """Look at a store of steps and scores, and prune it."""


@store.command()
@_folder
@click.option("--check", is_flag=True, help="Read every row, and count those that are damaged.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def info(folder: str, check: bool, as_json: bool) -> None:
    """Write the number of rows of each kind, the size and the age."""
    from ramify.engine.store.rows import RowStore

    with RowStore(_existing(folder), make=False) as rows:
        found = rows.info(check=check)
    with terminal.owned_stdout():
        if as_json:
            damaged = {} if found.damaged is None else {"damaged": found.damaged}
            ages = {"oldest": _iso(found.oldest), "newest": _iso(found.newest)}
            terminal.write_json({"rows": found.rows, "bytes": found.bytes, **ages, **damaged})
            return
        for kind, count in found.rows.items():
            terminal.write(f"{_NAMES[kind]:<18}{count:>12,}")
        terminal.write(f"{'size':<18}{_size_text(found.bytes):>12}")
        if found.oldest is not None and found.newest is not None:
            terminal.write(f"{'oldest row':<18}{_age_text(found.oldest):>12}")
            terminal.write(f"{'newest row':<18}{_age_text(found.newest):>12}")
        if found.damaged is not None:
            terminal.write(f"{'damaged rows':<18}{found.damaged:>12,}")


@store.command()
@_folder
@click.option("--older-than", type=_AGE, metavar="AGE", help="Delete rows that were written before, such as 30d.")
@click.option("--max-size", type=_SIZE, metavar="SIZE", help="Delete the oldest rows beyond this size, such as 500M.")
def prune(folder: str, older_than: float | None, max_size: int | None) -> None:
    """Delete damaged rows, and those that are too old or too many."""
    from ramify.engine.store.rows import RowStore

    with RowStore(_existing(folder), make=False) as rows:
        deleted = rows.prune(older_than_s=older_than, most_bytes=max_size)
        found = rows.info()
    terminal.say(f"{deleted:,} rows deleted, {sum(found.rows.values()):,} left, {_size_text(found.bytes)}")


_NAMES = {
    "step": "steps",
    "reading": "readings",
    "solved": "solved problems",
    "file": "model files",
}


def _existing(folder: str) -> Path:
    path = user_path(folder)
    if not path.is_dir():
        raise UsageError(f"there is no folder {folder}", "name the folder that was given with --store")
    return path


def _size_text(size_bytes: int) -> str:
    from ..text import size_text

    return size_text(size_bytes)


def _age_text(written: float) -> str:
    from ..text import duration_text

    age_s = max(0.0, time.time() - written)
    return f"{age_s / DAY_S:.1f} days" if age_s >= DAY_S else duration_text(age_s)


def _iso(written: float | None) -> str | None:
    return None if written is None else datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
