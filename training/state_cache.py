"""Hidden states at the ends of labelled steps, kept on disk: a training that was cut reads the rest alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from ramify.errors import LockHeld, RunFolderError, UsageError
from ramify.files import lock, open_guarded
from ramify.journals import Journal, read_journal

from .preflight import digest, file_identity

VERSION = 1
States = npt.NDArray[np.float32]
"""Hidden states [steps, width] of one solution."""


def states_key(model: Path, layout: Mapping[str, Any], context_tokens: int) -> str:
    """Return the key of the states of a model file whose paths are laid out in one way; an exchanged file has another.

    `layout` is the format in plain JSON types; `context_tokens` is the longest path that is read.
    """
    return digest([VERSION, file_identity(model), layout, context_tokens])


def solution_key(question: str, steps: Sequence[str]) -> str:
    """Return the key of a solution."""
    return digest([question, *steps])


class StateCache:
    """The states of one model file and one layout in a folder, for one process; open in a `with` block.

    `KEY.f32` holds the states one after the other and `KEY.jsonl` their places, written after them: what a crash cut
    is read again. `folder` None keeps them in memory alone.

    Raises:
        UsageError: on entering, if another process holds the files, or they cannot be written or are damaged.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self._folder = folder
        self._path = None if folder is None else folder / f"{key}.f32"
        self._stack = ExitStack()
        self._places: dict[str, tuple[int, int, int]] = {}
        self._memory: dict[str, States] = {}
        self._journal: Journal | None = None
        self._end = 0

    def __enter__(self) -> StateCache:
        if self._path is None or self._folder is None:
            return self
        try:
            with ExitStack() as stack:
                self._folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock(self._path.with_suffix(".lock")))
                self._journal = stack.enter_context(Journal(self._path.with_suffix(".jsonl")))
                self._path.touch()
                size = self._path.stat().st_size
                for row, _ in read_journal(self._journal.path):
                    place = int(row["at"]), int(row["steps"]), int(row["width"])
                    if place[0] + 4 * place[1] * place[2] <= size:
                        self._places[str(row["solution"])] = place
                self._end = size - size % 4
                self._stack = stack.pop_all()
        except LockHeld as error:
            raise UsageError(f"another training reads states into {self._folder} ({error.holder})", "wait") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"the states in {self._folder} cannot be gone on with ({error})", "remove this folder"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __contains__(self, solution: str) -> bool:
        return solution in self._places or solution in self._memory

    def get(self, solution: str) -> States:
        """Return the states of a solution, those of a solution that was too long have no rows.

        Raises:
            KeyError: if they are not there.
        """
        if self._path is None:
            return self._memory[solution]
        at, steps, width = self._places[solution]
        return np.fromfile(self._path, np.float32, steps * width, offset=at).reshape(steps, width)

    def add(self, states: Mapping[str, States]) -> None:
        """Keep the states of solutions; they are on the disk when this returns.

        Raises:
            RunFolderError: if there is no room.
        """
        if self._path is None or self._journal is None:
            self._memory.update(states)
            return
        rows = list[dict[str, Any]]()
        try:
            with open(open_guarded(self._path, os.O_RDWR), "r+b") as file:
                file.truncate(self._end)
                file.seek(self._end)
                for solution, each in states.items():
                    rows.append({"solution": solution, "at": file.tell(), "steps": len(each), "width": each.shape[1]})
                    file.write(np.ascontiguousarray(each, np.float32).tobytes())
                end = file.tell()
                file.flush()
                os.fsync(file.fileno())
            self._journal.append(*rows)
        except OSError as error:
            raise RunFolderError.not_written(self._path, error) from error
        self._end = end
        self._places.update({row["solution"]: (row["at"], row["steps"], row["width"]) for row in rows})
