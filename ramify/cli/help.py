"""Help texts: the commands on one screen, and of commands with many options the common ones, or all in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..config import SETTINGS
from ..settings import Group
from . import terminal

COMMON = (
    "model",
    "reward",
    "strategy",
    "width",
    "answer",
    "max_generated_tokens",
    "max_seconds",
    "temperature",
    "seed",
)
"""Settings of a search that `--help` shows; `--help-all` shows all of them."""
TITLES: Mapping[Group | None, str] = {
    "search": "Search",
    "limits": "Limits",
    "sampling": "Sampling and prompts",
    "machine": "Machine",
    None: "Other options",
}
HELP_ALL = "--help-all"

_EVERYTHING = "ramify.help_all"
"""Key in the `meta` of click's context: all options are to be shown."""
_SEARCH_OPTIONS = ("strategy_extras", "fallback", "fallback_confidence", "risk")
"""Options of a search that are no settings."""


def _show_everything(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta[_EVERYTHING] = True
        terminal.write(ctx.get_help(), styled=True)
        ctx.exit()


class GroupedCommand(click.Command):
    """Command with the settings of a search among its options.

    `example` is a line of a shell with the command. Help shows the common settings and the command's own options
    except those in `rare`, by their names in Python; `--help-all` shows all options by group, and `details`.
    """

    def __init__(
        self, *args: Any, example: str = "", details: str = "", rare: Sequence[str] = (), **attributes: Any
    ) -> None:
        super().__init__(*args, **attributes)
        self.example = example
        self.details = details
        self.rare = frozenset(rare)
        self.params.append(
            click.Option(
                [HELP_ALL],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_show_everything,
                help="Show all options by group.",
            )
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example and the options."""
        if self.example:
            with formatter.section("Example"):
                formatter.write_text(self.example)
        everything = bool(ctx.meta.get(_EVERYTHING))
        common, groups = list[tuple[str, str]](), dict[Group | None, list[tuple[str, str]]]()
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None or not record[1]:
                continue
            if self._is_common(param.name or ""):
                common.append(record)
            else:
                groups.setdefault(_group(param.name or ""), []).append(record)
        with formatter.section("Common options" if groups else "Options"):
            formatter.write_dl(common)
        if not everything:
            return
        for group, title in TITLES.items():
            if group in groups:
                with formatter.section(title):
                    formatter.write_dl(groups[group])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the epilog, and with `--help-all` the details."""
        super().format_epilog(ctx, formatter)
        if self.details and ctx.meta.get(_EVERYTHING):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(self.details)

    def _is_common(self, name: str) -> bool:
        return name in COMMON or not (name in SETTINGS or name in _SEARCH_OPTIONS or name in self.rare)


def _group(name: str) -> Group | None:
    if name in _SEARCH_OPTIONS:
        return "search"
    return SETTINGS[name].group if name in SETTINGS else None
