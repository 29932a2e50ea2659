"""`ramify tui`: the terminal UI."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from .config import given_keys, given_settings, save_option
from .help import GroupedCommand
from .options import SearchPlan, search_options
from .solve import argument_text, told_files


@click.command(cls=GroupedCommand, example='ramify tui -m FILE.gguf "What is 3 + 4?"', rare=("save",))
@click.argument("question", nargs=-1)
@click.option("--messages", metavar="FILE", help="JSON file of a conversation, as for solve.")
@click.option("--examples", metavar="FILE", help="Worked examples, as for solve.")
@search_options
@click.option("--batch", "batch_folder", type=click.Path(path_type=Path), metavar="DIR", help="Look at a batch.")
@click.option("--run", "saved", metavar="ID", help="Open a saved run; 'last' is the newest.")
@click.option("--theme", metavar="NAME", help="Colours, such as ramify-light or ansi-dark.  [default: ramify-dark]")
@save_option
def tui(
    question: tuple[str, ...],
    messages: str | None,
    examples: str | None,
    batch_folder: Path | None,
    saved: str | None,
    theme: str | None,
    save: bool,
    **options: Any,
) -> None:
    """Open the terminal UI: watch a search think, and steer it.

    With QUESTION it begins to search at once; the options are the first values of its form.
    """
    if not on_terminal():
        raise UsageError("the terminal UI needs a terminal", 'use `ramify solve "QUESTION"` in scripts and pipes')
    told_files(messages, examples)
    keys = {action: setting.value for action, setting in given_keys().items()}
    from ramify.tui.app import RamifyApp
    from ramify.tui.common.logs import own_terminal
    from ramify.tui.state.spec import RunSpec

    spec = RunSpec(argument_text(question), messages=messages or "", examples=examples or "").with_options(
        **options | {"strategy_extras": dict(options["strategy_extras"])}
    )
    store = _store() if save or saved is not None else None
    with own_terminal() as logs:
        app = RamifyApp(
            SearchPlan.from_options,
            spec=spec,
            store=store,
            keep=save,
            ask=bool(question),
            batch=batch_folder,
            saved=saved,
            theme=_theme(theme),
            keys=keys,
            logs=logs,
            given={name: setting.source for name, setting in given_settings().items()},
        )
        app.run()
    if app.return_code:
        sys.exit(app.return_code)


def on_terminal() -> bool:
    """Tell whether stdin and stdout are a terminal."""
    try:
        return sys.stdin.isatty() and sys.stdout.isatty()
    except (AttributeError, ValueError):
        return False


def _store() -> Any:
    from .config import open_store

    return open_store()


def _theme(name: str | None) -> str | None:
    """Return the name of a theme.

    Raises:
        UsageError: if there is none of this name.
    """
    from textual.theme import BUILTIN_THEMES

    known = ["ramify-dark", "ramify-light", *BUILTIN_THEMES]
    if name is not None and name not in known:
        raise UsageError(f"there is no theme {name!r}", f"use one of {', '.join(known)}")
    return name
