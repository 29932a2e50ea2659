"""Root command `ramify`, and the routing of its arguments to a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

import click

from ..text import nearest_word
from .config import default_map
from .terminal import is_terminal

COMMANDS = (
    "solve",
    "tui",
    "serve",
    "mcp",
    "runs",
    "batch",
    "grade",
    "calibrate",
    "bench",
    "problems",
    "prompts",
    "models",
    "reward",
    "config",
    "doctor",
)
"""The commands, in the order of the help; each is made by the module of its name, which is imported when it is used."""
DEFAULT_COMMAND = "solve"
HELP_OPTIONS = {"--help", "-h"}
OWN_OPTIONS = (*HELP_OPTIONS, "--version")

ARGUMENTS = "ramify.arguments"
"""Name of the arguments of the command line in the `meta` of click's context."""

HELP = """Solve problems with GGUF models: tree search guided by a process reward model, under a compute budget.

Without arguments, on a terminal, it opens the terminal UI.

\b
ramify "QUESTION"              the same as ramify solve "QUESTION"
cat file | ramify "QUESTION"   both texts together are the question
"""


class RootGroup(click.Group):
    """Group of commands; arguments without a command are a question for `solve`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, None if there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(import_module(f".{cmd_name}", __package__), cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Route the arguments to their command, with the settings as defaults of its options, and parse them."""
        arguments = route(args, COMMANDS)
        ctx.meta[ARGUMENTS] = arguments
        if not HELP_OPTIONS & {*arguments}:
            ctx.default_map = default_map(arguments[0], self.get_command(ctx, arguments[0]))
        return super().parse_args(ctx, arguments)


def route(arguments: Sequence[str], commands: Collection[str]) -> list[str]:
    """Return the arguments with their command in front.

    A single word that is nearly a command counts as a mistyped command, not as a question.

    Raises:
        click.UsageError: for such a word.
    """
    if not arguments:
        if not is_terminal(sys.stdin):
            return [DEFAULT_COMMAND]
        return ["tui"] if is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb" else ["--help"]
    first = arguments[0]
    if first in commands or first in OWN_OPTIONS:
        return list(arguments)
    if first == "help":
        return [*arguments[1:2], "--help"]
    near = nearest_word(first, commands, cutoff=0.7) if first.isalpha() else None
    if near:
        raise click.UsageError(f"there is no command {first!r}; did you mean {near!r}?")
    return [DEFAULT_COMMAND, *arguments]


@click.group(
    cls=RootGroup,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 bug, 2 usage, 3 model, 4 no answer, 5 some items failed, 130 interrupted.",
)
@click.version_option(package_name="ramify", message="%(prog)s %(version)s")
def app() -> None:
    """Root command; HELP is its help."""
