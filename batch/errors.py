"""What can go wrong with input files and run folders.

    UsageError
    ├── BadInput         records of an input file cannot be read
    └── RunFolderError   a run folder is in use, damaged, full, or belongs to another configuration

All of that is for the user to mend, so the exit code is 2. EngineDied and EnginesLost say that engines of a cluster
died; the exit code is 3.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ramify.errors import ExitCode, RamifyError, UsageError

if TYPE_CHECKING:
    from .store.formats import BadRecord

SHOWN = 20
"""Bad records that a message lists; the rest are counted."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BadInput(UsageError):
    """Raised when records cannot be read; `records` says which and why."""

    title = "Bad input"

    def __init__(self, source: str, records: Sequence[BadRecord]) -> None:
        lines = [f"\n  line {each.line}: {each.reason}" for each in records[:SHOWN]]
        more = f"\n  and {len(records) - SHOWN} more" if len(records) > SHOWN else ""
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


def cannot_write(path: Path, error: OSError) -> RunFolderError:
    """Return the error for a file that could not be written; what was written before stays whole."""
    if error.errno in _FULL:
        return RunFolderError(
            f"no room to write {path} ({error.strerror}); everything before this is kept",
            "make room and give the same command again",
        )
    return RunFolderError(
        f"{path} cannot be written ({error.strerror})", "give the same command again when that is mended"
    )


class EngineDied(RamifyError):
    """Raised when the engine of a cluster that searched a problem died; the problem can be given to another one."""

    title = "Engine died"
    exit_code = ExitCode.MODEL


class EnginesLost(RamifyError):
    """Raised when no engine of a cluster is left; what was written down is kept."""

    title = "Engines lost"
    exit_code = ExitCode.MODEL
