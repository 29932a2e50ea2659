"""Exit codes of errors, and their messages on stderr."""

from __future__ import annotations

import traceback

import click

from ..errors import ExitCode, RamifyError
from . import terminal


class Finished(click.exceptions.Exit):
    """Raised to end a command with an exit code when all of its output is written."""

    def __init__(self, code: ExitCode) -> None:
        super().__init__(int(code))


def exit_code_for(error: BaseException) -> ExitCode:
    """Return the exit code of an error: that of its class, 130 for an interrupt, 2 for wrong options, 1 for a bug."""
    if isinstance(error, RamifyError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED
    return ExitCode.USAGE if isinstance(error, click.ClickException) else ExitCode.INTERNAL


def explain(error: BaseException) -> None:
    """Write one line about an error to stderr; a bug's traceback comes before it.

    A group of commands that is called without one gets its help instead.
    """
    if exit_code_for(error) is ExitCode.INTERNAL:
        terminal.say("".join(traceback.format_exception(error)).rstrip())
        terminal.error(f"this is a bug in ramify ({type(error).__name__}); please report it with the lines above")
    elif isinstance(error, click.exceptions.NoArgsIsHelpError):
        # A group of commands without one of them: its message is its help.
        terminal.say(error.format_message())
    elif isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "ramify"
        terminal.error(f"{_sentence(error.format_message())}; {_question_hint(error)}see `{command} --help`")
    elif isinstance(error, click.ClickException):
        terminal.error(_sentence(error.format_message()))
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        terminal.error("interrupted")
    else:
        terminal.error(str(error))


def _question_hint(error: click.UsageError) -> str:
    """Return how a question is written that was taken for a short option, "" for other errors."""
    short = isinstance(error, click.NoSuchOption) and not error.option_name.startswith("--")
    takes_question = error.ctx is not None and any(each.name == "question" for each in error.ctx.command.params)
    return (
        "a question that begins with - comes after --, as in `ramify -- '-5 + 3'`; " if short and takes_question else ""
    )


def _sentence(text: str) -> str:
    """Return click's message in the form of the others: one line, no capital, no full stop."""
    line = " ".join(text.split()).removesuffix(".")
    return line[:1].lower() + line[1:]
