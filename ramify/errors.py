"""Everything that can go wrong, grouped by what the caller can do about it.

    RamifyError
    ├── UsageError            2    the call, the question or an input file is wrong
    │   └── QuestionTooLong   2    the question does not fit the model's context
    ├── ModelLoadError        3    a model or reward file cannot be loaded or does not fit its purpose
    ├── ModelCrashed          3    the model's process died, was restarted once, and died again
    ├── ModelUnreachable      3    no server of a remote model answers
    ├── NoAnswer              4    the budget ended the run before any path finished
    └── EngineClosed          1    the engine was used outside its `async with` block

The number is the exit code of the command line. `search` and `reward` stand below the engine and raise errors of
their own (subclasses of ValueError); `exit_code_for` maps these too.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the command line tells the shell."""

    OK = 0
    """Everything asked for was done."""
    INTERNAL = 1
    """A bug in ramify; the traceback is shown."""
    USAGE = 2
    """Wrong arguments, question or input file."""
    MODEL = 3
    """A model or reward could not be loaded, or kept crashing."""
    NO_ANSWER = 4
    """The budget stopped the run with no answer."""
    ITEMS_FAILED = 5
    """A batch finished, but some of its items failed."""
    INTERRUPTED = 130
    """Interrupted by the user; the best answer so far was printed first."""


class RamifyError(Exception):
    """An error with its cause in one sentence and, where there is one, the next step to take.

    `message` names the cause; `next_step` is what the user can do, or "" if nothing is known to help.
    """

    title = "ramify error"
    exit_code = ExitCode.INTERNAL

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message


class UsageError(RamifyError):
    """Raised when an argument, a question or an input file is wrong."""

    title = "Wrong usage"
    exit_code = ExitCode.USAGE


class QuestionTooLong(UsageError):
    """Raised when the prompt leaves no room for an answer in the model's context."""

    title = "Question too long"

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"the question takes {prompt_tokens} tokens and the model's context holds {context_tokens}",
            "shorten the question or use a model with a longer context",
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class ModelLoadError(RamifyError):
    """Raised when a model or reward file cannot be loaded or does not fit its purpose."""

    title = "Model cannot be loaded"
    exit_code = ExitCode.MODEL


class ModelCrashed(RamifyError):
    """Raised when the process that runs the model died, was restarted, and died again."""

    title = "Model crashed"
    exit_code = ExitCode.MODEL


class ModelUnreachable(RamifyError):
    """Raised when no server of a remote model answers, after some patience."""

    title = "Model unreachable"
    exit_code = ExitCode.MODEL


class NoAnswer(RamifyError):
    """Raised when a caller asked for an answer and the run ended without a finished path."""

    title = "No answer"
    exit_code = ExitCode.NO_ANSWER


class EngineClosed(RamifyError):
    """Raised when an engine, model or run is used outside its `async with` block."""

    title = "Engine is closed"
