"""Batch commands that the terminal UI starts again, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ramify.errors import ExitCode, RunFolderError
from ramify.text import one_line

_EXPECTED = {ExitCode.OK, ExitCode.ITEMS_FAILED, ExitCode.INTERRUPTED}
_LONGEST_ERROR = 64 << 10
"""Characters of the process's messages that are kept."""


@dataclass(frozen=True, slots=True)
class BatchCommand:
    """The command line that made a run folder, after the word `ramify`, and the folder in which it was given."""

    arguments: tuple[str, ...]
    folder: Path

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> BatchCommand | None:
        """Return the command that a manifest notes, None if it notes none of `ramify batch run`."""
        found = manifest.get("command")
        noted: Mapping[str, Any] = cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
        words, folder = noted.get("arguments"), noted.get("folder")
        if not isinstance(words, list) or not isinstance(folder, str):
            return None
        arguments = tuple(map(str, cast("list[Any]", words)))
        return cls(arguments, Path(folder)) if arguments[:2] == ("batch", "run") else None

    def retry_cut(self, out: Path, *, parallel: int | None = None) -> tuple[str, ...]:
        """Return the arguments that do the cut items of `out` again, `parallel` at a time, None for as many as before.

        Items that were not begun yet are done too.
        """
        more = () if parallel is None else ("--parallel", str(parallel))
        return (*self.arguments, "--out", str(out), *more, "--retry", "cut")


class BatchProcess:
    """A `ramify` command in a process of its own; `error` says why it failed, None while it runs or where it did not.

    Make it in the thread of the event loop. `task` ends when the process has ended.
    """

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.error: RunFolderError | None = None
        self.stopping = False
        self._arguments = arguments
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.task = asyncio.create_task(self._drive(), name="ramify-batch")

    @property
    def running(self) -> bool:
        """True until the process has ended."""
        return not self.task.done()

    def stop(self) -> None:
        """Have the items in flight finished and the process end; the second call ends it at once."""
        self.stopping = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)

    async def close(self, grace_s: float) -> None:
        """End the process at once; items in flight are lost, all others are in the folder."""
        for _ in range(2):
            self.stop()
            if (await asyncio.wait([self.task], timeout=grace_s / 2))[0]:
                return
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await asyncio.wait([self.task], timeout=grace_s)

    async def _drive(self) -> None:
        try:
            # In a session of its own, so that ctrl+c on the terminal does not reach it; -P keeps modules of the folder
            # out.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "ramify",
                *self._arguments,
                cwd=self._folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self.error = RunFolderError(f"the batch cannot be started: {error}", "start it on the command line")
            return
        assert self._process.stderr is not None
        said = ""
        while some := await self._process.stderr.read(1 << 12):
            said = (said + some.decode("utf-8", "replace"))[-_LONGEST_ERROR:]
        code = await self._process.wait()
        if code not in _EXPECTED and not self.stopping:
            lines = [line for line in said.splitlines() if line.strip()]
            reason = next((each for each in reversed(lines) if each.startswith("error: ")), lines[-1] if lines else "")
            self.error = RunFolderError(
                one_line(reason.removeprefix("error: ")) or f"it ended with code {code}",
                "start it on the command line to see more",
            )
