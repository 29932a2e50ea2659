"""`ramify export`: data sets for training, made of run folders and saved runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import terminal
from .option_types import COUNT_RANGE

if TYPE_CHECKING:
    from ramify.batch.datasets.examples import Kind

_FILTERS = (
    "What a good path is: right (by the gold answer), vote:0.95 (the answer of a vote with such a posterior), "
    "reward:0.7 (such a score), joined with commas."
)


def _options(command: Any) -> Any:
    for decorate in reversed(
        (
            click.argument("sources", metavar="RUN...", nargs=-1, required=True),
            click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the data set."),
            click.option("--filter", "filters", default="right", show_default=True, metavar="FILTERS", help=_FILTERS),
            click.option("--per-problem", type=COUNT_RANGE, default=4, help="Most examples of one run.  [default: 4]"),
        )
    ):
        command = decorate(command)
    return command


def _form(command: Any) -> Any:
    return click.option(
        "--form",
        type=click.Choice(("messages", "text")),
        default="messages",
        show_default=True,
        help="Conversations, or plain texts.",
    )(command)


@click.group(
    epilog="RUN is the --out folder of a `ramify batch run`, or the id of a saved run (`last` for the newest). The "
    "data set is data.jsonl with a card, README.md, as TRL and the library `datasets` read them; "
    "docs/howto/export.md has the forms."
)
def export() -> None:
    """Turn searches into data sets for training."""


@export.command()
@_options
@_form
def sft(sources: tuple[str, ...], out: Path, filters: str, per_problem: int, form: str) -> None:
    """Write good solutions, for supervised fine-tuning."""
    _export("sft", sources, out, filters, per_problem, form)


@export.command()
@_options
@_form
def preference(sources: tuple[str, ...], out: Path, filters: str, per_problem: int, form: str) -> None:
    """Write pairs of a good and a bad solution of one problem, for DPO and reward models."""
    _export("preference", sources, out, filters, per_problem, form)


@export.command()
@_options
def steps(sources: tuple[str, ...], out: Path, filters: str, per_problem: int) -> None:
    """Write solutions with a label for each step, for process reward models; batches need --save-trees."""
    _export("steps", sources, out, filters, per_problem, "text")


def _export(kind: Kind, sources: tuple[str, ...], out: Path, filters: str, per_problem: int, form: Any) -> None:
    from ramify.batch.datasets.examples import ExampleMaker
    from ramify.batch.datasets.filters import read_filters
    from ramify.batch.datasets.sources import Source
    from ramify.batch.datasets.writing import DATA, export

    maker = ExampleMaker(kind=kind, filters=read_filters(filters), form=form, most=per_problem)
    found = [Source(name, trees=kind == "steps") for name in sources]
    counts = export(found, maker, out)
    left_out = f", {counts.left_out} items left out" if counts.left_out else ""
    repeated = f", {counts.repeated} repeated" if counts.repeated else ""
    terminal.say(
        f"{counts.examples:,} examples of {counts.used:,} of {counts.problems:,} problems are in "
        f"{out / DATA}{repeated}{left_out}"
    )
