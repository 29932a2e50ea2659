"""Every error that ramify raises on purpose, in one tree under RamifyError.

    RamifyError                     1    base of all; also for what no other class says
    ├── UsageError                  2    the call, the question or an input file is wrong
    │   ├── ArgumentError           2    an argument of a function has a value that it cannot have
    │   ├── QuestionTooLong         2    the question does not fit the model's context
    │   ├── BadInput                2    records of a batch's input file cannot be read
    │   ├── RunFolderError          2    a run folder is in use, damaged, full, or of another configuration
    │   ├── MalformedText           2    a text is no JSON or TOML, or too deep
    │   ├── DamagedJournal          2    a line of a journal is no JSON object
    │   └── LockHeld                2    another process holds a lock
    ├── SearchError                 2    the search layer was given something that it cannot use
    │   ├── TreeError               2    the state of a node does not allow an operation; a damaged tree file
    │   ├── StrategyError           2    an unknown strategy, or a wrong option of one
    │   ├── AllocationError         2    no allocation exists for these scores, width and temperature
    │   └── BudgetError             2    a limit is not a positive number, or a reservation is settled wrongly
    ├── RewardError                 3    steps cannot be scored
    │   ├── RewardSpecError         3    a reward spec is malformed, missing, or does not fit the model's vocabulary
    │   └── RewardContextExceeded   2    paths, or the question, are longer than the reward model's context
    ├── ModelLoadError              3    a model or reward file cannot be loaded or does not fit its purpose
    ├── ModelCrashed                3    the model's process died, was restarted once, and died again
    ├── ModelUnreachable            3    no server of a remote model answers
    ├── EngineDied                  3    the engine of a cluster that searched a problem died
    ├── EnginesLost                 3    no engine of a cluster is left
    ├── NoAnswer                    4    the run ended before any path finished with an answer
    ├── NotSure                     6    the answer is not sure at the risk that was asked for
    ├── EngineClosed                1    the engine was used outside its `async with` block
    ├── LoadingCancelled            1    the loading of a model was cancelled
    ├── InternalError               1    something is not as it must be; a bug in ramify or in llama.cpp
    └── UnpicklableError            1    stands for an error that cannot be pickled, raised in another process

The number is `exit_code`, the exit code of the command line. ArgumentError, MalformedText, DamagedJournal, SearchError
and RewardError, and what stands below them, are ValueErrors too. All errors can be
pickled with their attributes and notes.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, Self

BAD_RECORDS_SHOWN = 20
"""Bad records that the message of BadInput lists; the rest are counted."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ExitCode(IntEnum):
    """Exit code of the command line."""

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
    NOT_SURE = 6
    """The search ended with an answer that is not sure at the risk that was asked for."""
    INTERRUPTED = 130
    """Interrupted by the user; the best answer so far was printed first."""


class RamifyError(Exception):
    """Base of every error that ramify raises on purpose.

    `message` names the cause in one sentence; `next_step` is the advice for the user, "" if nothing is known to help.
    `title` is a heading of a few words, `exit_code` the exit code of the command line.
    """

    title: ClassVar[str] = "ramify error"
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message, next_step)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message}; {self.next_step}" if self.next_step else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the constructor with `args`, which subclasses with other parameters do not take.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[RamifyError], args: tuple[Any, ...]) -> RamifyError:
    return kind.__new__(kind, *args)


class UsageError(RamifyError):
    """Raised when an argument, a question or an input file is wrong."""

    title = "Wrong usage"
    exit_code = ExitCode.USAGE


class ArgumentError(UsageError, ValueError):
    """Raised when an argument of a function has a value that it cannot have."""


def check_kind(name: str, value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Check that the argument `name` is of one of the kinds; `wanted` tells the user the right argument.

    Raises:
        ArgumentError: if it is not.
    """
    if not isinstance(value, kinds):
        what = f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
        raise ArgumentError(f"{name} is {what}", f"pass {wanted}")


class QuestionTooLong(UsageError):
    """Raised when the prompt leaves no room for an answer in the model's context; both lengths are in tokens."""

    title = "Question too long"

    def __init__(self, prompt_tokens: int, context_tokens: int) -> None:
        super().__init__(
            f"the question takes {prompt_tokens} tokens and the model's context holds {context_tokens}",
            "shorten the question or use a model with a longer context",
        )
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be read: the line it begins on (its number in a Parquet file), and why."""

    line: int
    reason: str


class BadInput(UsageError):
    """Raised when records of an input file cannot be read; `records` lists them all with their reasons."""

    title = "Bad input"

    def __init__(self, source: str, records: Sequence[BadRecord]) -> None:
        lines = [f"\n  line {each.line}: {each.reason}" for each in records[:BAD_RECORDS_SHOWN]]
        more = f"\n  and {len(records) - BAD_RECORDS_SHOWN} more" if len(records) > BAD_RECORDS_SHOWN else ""
        noun = "record" if len(records) == 1 else "records"
        super().__init__(
            f"{source} has {len(records)} bad {noun}{''.join(lines)}{more}\n",
            "correct them, or leave them out with --skip-bad",
        )
        self.records = tuple(records)

    def __str__(self) -> str:
        return f"{self.message}{self.next_step}"


class RunFolderError(UsageError):
    """Raised when a run folder cannot be used or written."""

    title = "Run folder"

    @classmethod
    def not_written(cls, path: Path, error: OSError) -> Self:
        """Return the error for a file that could not be written; the file's earlier content is kept."""
        if error.errno in _DISK_FULL:
            return cls(
                f"no room to write {path} ({error.strerror}); everything before this is kept",
                "make room and give the same command again",
            )
        return cls(f"{path} cannot be written ({error.strerror})", "give the same command again when that is mended")


class MalformedText(UsageError, ValueError):
    """Raised when a text is no JSON or TOML, or cannot be read safely; the message begins with "it"."""

    title = "Malformed text"


class DamagedJournal(UsageError, ValueError):
    """Raised when a line of the journal at `path` is no JSON object; `line` counts from 1."""

    title = "Damaged journal"

    def __init__(self, path: Path, line: int) -> None:
        super().__init__(f"{path} line {line} is damaged")
        self.path = path
        self.line = line


class LockHeld(UsageError):
    """Raised when another process holds the lock file at `path`; `holder` is the text in it."""

    title = "In use"

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by {holder}")
        self.path = path
        self.holder = holder


class SearchError(RamifyError, ValueError):
    """Base of the errors of the search layer."""

    title = "That does not work"
    exit_code = ExitCode.USAGE


class TreeError(SearchError):
    """Raised when a tree operation does not fit the state of its node; the message names the node."""


class StrategyError(SearchError):
    """Raised when a strategy is unknown, wrongly configured or told something it cannot use."""


class AllocationError(SearchError):
    """Raised when no allocation exists for the given scores; the message names the index."""


class BudgetError(SearchError):
    """Raised when a limit is not a positive number, or a reservation is settled twice."""


class RewardError(RamifyError, ValueError):
    """Raised when steps cannot be scored; the message names the node. `node` is its id, None if none is to blame."""

    title = "That does not work"
    exit_code = ExitCode.MODEL

    def __init__(self, message: str, next_step: str = "", *, node: int | None = None) -> None:
        super().__init__(message, next_step)
        self.node = node


class RewardSpecError(RewardError):
    """Raised when a reward spec is malformed, missing, or does not fit the model's vocabulary."""


class RewardContextExceeded(RewardError):
    """Raised, before anything is evaluated, when paths do not fit the reward model's context.

    `nodes` holds the ids of all paths of the request that are too long: prune these and ask again for the others.
    It is empty if the question alone is too long. `tokens` is the length of the first one, `limit` the context's.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, *, nodes: Sequence[int], tokens: int, limit: int) -> None:
        what = f"the path to node {nodes[0]}" if nodes else "the question"
        more = f" (and {len(nodes) - 1} more)" if len(nodes) > 1 else ""
        super().__init__(
            f"{what}{more} takes {tokens} tokens and the reward model reads {limit}",
            "use shorter steps, a shorter question or a reward model with a longer context",
            node=nodes[0] if nodes else None,
        )
        self.nodes = tuple(nodes)
        self.tokens = tokens
        self.limit = limit


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


class EngineDied(RamifyError):
    """Raised when the engine of a cluster that searched a problem died; the problem can be given to another one."""

    title = "Engine died"
    exit_code = ExitCode.MODEL


class EnginesLost(RamifyError):
    """Raised when no engine of a cluster is left; the rows written so far are kept."""

    title = "Engines lost"
    exit_code = ExitCode.MODEL


class NoAnswer(RamifyError):
    """Raised when an answer was asked for and the run ended without a finished path that has one."""

    title = "No answer"
    exit_code = ExitCode.NO_ANSWER


class NotSure(RamifyError):
    """Raised when an answer was asked for and the one that was found is not sure at the risk that was asked for."""

    title = "Not sure"
    exit_code = ExitCode.NOT_SURE


class EngineClosed(RamifyError):
    """Raised when an engine, model or run is used outside its `async with` block."""

    title = "Engine is closed"


class LoadingCancelled(RamifyError):
    """Raised when the loading of a model was cancelled."""

    title = "Loading cancelled"


class InternalError(RamifyError):
    """Raised when something is not as it must be; a bug in ramify or in llama.cpp."""

    title = "Internal error"


class UnpicklableError(RamifyError):
    """Stands for an error that cannot be sent from one process to another; the message names its class."""

    title = "Search failed"
