"""Root command `ramify`, and the routing of its arguments to a command."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from ..text import nearest_word
from .config import default_map
from .help import HELP_ALL
from .terminal import is_terminal

COMMANDS = {
    "solve": "Answer one question; the command by default.",
    "tui": "Watch and steer a search in the terminal; also: ramify alone.",
    "serve": "Serve searches to clients of the OpenAI API.",
    "mcp": "Offer searches as a tool to programs that speak MCP.",
    "runs": "Show, replay, export and delete past searches.",
    "batch": "Solve a file of problems; report on the results.",
    "export": "Turn searches into data sets for training.",
    "grade": "Grade predictions against gold answers.",
    "calibrate": "Measure strategies for --strategy auto.",
    "bench": "Measure how accuracy grows with compute.",
    "problems": "Write problems of a bundled task.",
    "prompts": "Show and check prompts.",
    "models": "List, fetch, inspect and quantize models.",
    "reward": "Check, convert, train and evaluate rewards.",
    "store": "Show and prune stored steps.",
    "config": "Show the defaults and their sources.",
    "doctor": "Check the installation; show the plan for a model.",
}
"""The commands in the order of the help, with their lines there; each is made by the module of its name when used."""
DEFAULT_COMMAND = "solve"
HELP_OPTIONS = {"--help", "-h", HELP_ALL}
OWN_OPTIONS = (*HELP_OPTIONS, "--version")

ARGUMENTS = "ramify.arguments"
"""Name of the arguments of the command line in the `meta` of click's context."""

EXAMPLE = 'ramify -m FILE.gguf --max-seconds 30s "What is 3 + 4?"'
EXIT_CODES = "Exit: 0 done, 1 bug, 2 usage, 3 model, 4 no answer, 5 failed, 6 unsure, 130 ^C"


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

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help, which fits 24 lines; no command is imported for it."""
        formatter.write_usage(ctx.command_path, "[COMMAND] [OPTIONS] [QUESTION]")
        formatter.write_dl(
            [("Example:", EXAMPLE), ("Options:", "-h, --help, --version; of a command: ramify COMMAND --help")]
        )
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        formatter.write_text(EXIT_CODES)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Route the arguments to their command, with the settings as defaults of its options, and parse them."""
        if ctx.resilient_parsing:
            # A shell completes the words typed so far; without a command they are those of `solve`.
            alone = bool(args) and args[0] not in COMMANDS and args[0] not in OWN_OPTIONS
            return super().parse_args(ctx, [DEFAULT_COMMAND, *args] if alone else args)
        arguments = route(args, COMMANDS)
        ctx.meta[ARGUMENTS] = arguments
        if not HELP_OPTIONS & {*arguments}:
            ctx.default_map = default_map(arguments[0], self.get_command(ctx, arguments[0]))
        return super().parse_args(ctx, arguments)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with `incomplete`; options of `solve` are among them."""
        found = super().shell_complete(ctx, incomplete)
        solve = self.get_command(ctx, DEFAULT_COMMAND) if incomplete.startswith("-") else None
        if solve is None:
            return found
        known = {each.value for each in found}
        context = click.Context(solve, parent=ctx, info_name=DEFAULT_COMMAND, resilient_parsing=True)
        return found + [each for each in solve.shell_complete(context, incomplete) if each.value not in known]


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
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="ramify", message="%(prog)s %(version)s")
def app() -> None:
    """Solve problems with GGUF models: tree search guided by a reward, under a compute budget."""
