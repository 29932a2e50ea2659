"""Sandbox: programs of Python in an interpreter of their own, apart from network, files and processes of the user."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum, auto
from functools import cache
from pathlib import Path

import anyio
import anyio.abc

from ramify.errors import UsageError

from .sandbox_program import NOBODY, WORK

_LAUNCHER = Path(__file__).with_name("sandbox_program.py")
_SYSTEM_PATHS = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/ld.so.conf.d")
_PROBE_S = 120.0
_RUNNER = """
import ast, sys
source = sys.stdin.read()
names = {"__name__": "__main__"}
try:
    tree = ast.parse(source, "<code>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<code>", "exec"), names)
    if last is not None:
        value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)
        if value is not None:
            print(repr(value))
except Exception as error:
    import traceback
    sys.stdout.flush()
    frames = traceback.TracebackException.from_exception(error)
    frames.stack[:] = [each for each in frames.stack if each.filename == "<code>"]
    print("".join(frames.format()), end="", file=sys.stderr)
    sys.exit(1)
"""
_log = logging.getLogger(__name__)


class Wall(StrEnum):
    """Means that separate a sandbox from the system."""

    NAMESPACES = auto()
    """Namespaces of Linux, entered by ramify itself: no network, no other processes, a file system that shows the
    interpreter alone."""
    BUBBLEWRAP = auto()
    """The same, entered by the program bwrap."""
    LIMITS = auto()
    """Limits of time, memory, files and processes alone: network and files of the user can be reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxLimits:
    """Limits of one program.

    `cpu_s` is processor time of each process, `memory_bytes` the address space of each, `file_bytes` the size of each
    file and `disk_bytes` of all together where the wall has one, `processes` the number of processes and threads.
    `output_bytes` may be written before the program is ended.
    """

    cpu_s: int = 10
    memory_bytes: int = 1 << 30
    file_bytes: int = 16 << 20
    disk_bytes: int = 64 << 20
    processes: int = 32
    output_bytes: int = 256 << 10


DEFAULT_LIMITS = SandboxLimits()


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of a program: its output, errors included, and its exit code; below 0 the signal that ended it.

    `flooded` says that it was ended because it wrote too much.
    """

    output: str
    code: int
    flooded: bool = False

    @property
    def passed(self) -> bool:
        """True if the program ended by itself and without an error."""
        return self.code == 0 and not self.flooded


async def run_python(
    code: str, limits: SandboxLimits = DEFAULT_LIMITS, wall: Wall | None = None, *, program: str | None = None
) -> Outcome:
    """Run a program, and print the value of an expression that it ends with; cancelling kills it and all it started.

    `program` is the source of another program that reads `code` from its input. `wall` None means the best one that
    this machine has. The program has an empty working folder, no input and an environment without any variable of the
    user.
    """
    chosen = await anyio.to_thread.run_sync(best_wall) if wall is None else wall
    with tempfile.TemporaryDirectory(prefix="ramify-", ignore_cleanup_errors=True) as folder:
        if os.geteuid() == 0:
            os.chmod(folder, 0o777)
        process = await anyio.open_process(
            _command(chosen, folder, limits, program),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin"},
            start_new_session=True,
        )
        try:
            return await _outcome(process, code, limits)
        finally:
            _kill(process)
            with anyio.CancelScope(shield=True):
                await process.aclose()


async def _outcome(process: anyio.abc.Process, code: str, limits: SandboxLimits) -> Outcome:
    assert process.stdin is not None and process.stdout is not None
    parts, size = list[bytes](), 0
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(code.encode("utf-8", errors="replace"))
        await process.stdin.aclose()
    async for part in process.stdout:
        parts.append(part)
        size += len(part)
        if size > limits.output_bytes:
            break
    flooded = size > limits.output_bytes
    if flooded:
        _kill(process)
    returncode = await process.wait()
    output = b"".join(parts)[: limits.output_bytes].decode("utf-8", errors="replace")
    return Outcome(output, 128 - returncode if returncode > 128 else returncode, flooded)


def _kill(process: anyio.abc.Process) -> None:
    """Kill the program's process group; a namespace of processes ends with its first one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _command(wall: Wall, folder: str, limits: SandboxLimits, program: str | None = None) -> list[str]:
    config = {
        "python": sys.executable,
        "program": program or _RUNNER,
        "namespaces": wall is Wall.NAMESPACES,
        "folder": folder,
        "shown": _shown(),
        "cpu_s": limits.cpu_s,
        "memory": limits.memory_bytes,
        "file": limits.file_bytes,
        "files": 64,
        "disk": limits.disk_bytes,
        "processes": limits.processes + (_own_tasks() if wall is Wall.LIMITS else 0),
    }
    launched = [sys.executable, "-I", "-c", _launcher(), json.dumps(config)]
    return launched if wall is not Wall.BUBBLEWRAP else [*_bubblewrap(limits), *launched]


def _bubblewrap(limits: SandboxLimits) -> list[str]:
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    for path in _shown():
        link = os.readlink(path) if os.path.islink(path) else None
        command += ["--ro-bind-try", path, path] if link is None else ["--symlink", link, path]
    size = ["--size", str(limits.disk_bytes)]
    read_only = ["--remount-ro", "/dev", "--remount-ro", "/"]
    return [*command, "--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", WORK, *read_only, "--chdir", WORK, "--"]


@cache
def _launcher() -> str:
    return _LAUNCHER.read_text(encoding="utf-8")


@cache
def _shown() -> tuple[str, ...]:
    """Return the paths that the interpreter needs, those of the system first."""
    own = {sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    extra = sorted(path for path in own if path != "/" and not path.startswith("/usr/"))
    found = [path for path in (*_SYSTEM_PATHS, *extra) if os.path.lexists(path)]
    return tuple(path for path in found if not any(path.startswith(f"{each}/") for each in found if each != path))


def _own_tasks() -> int:
    """Return the number of processes and threads that count against a limit without a namespace.

    They are those of the user that the program runs as: this one, or nobody where this one is root.
    """
    count, uid = 0, os.getuid() or NOBODY
    with suppress(OSError):
        for each in os.scandir("/proc"):
            with suppress(OSError):
                if each.name.isdigit() and each.stat().st_uid == uid:
                    count += len(os.listdir(f"/proc/{each.name}/task"))
    return count


@cache
def best_wall() -> Wall:
    """Return the best wall that this machine has, tried once in each process.

    Raises:
        UsageError: if it has none.
    """
    walls = [Wall.NAMESPACES, *([Wall.BUBBLEWRAP] if shutil.which("bwrap") else [])]
    for wall in walls if sys.platform == "linux" else []:
        if _works(wall):
            return wall
    if not _works(Wall.LIMITS):
        raise UsageError(
            "programs cannot be run in a sandbox here, so there is no tool python",
            "allow namespaces of users, install bubblewrap, or do not run as root",
        )
    _log.warning(
        "programs of the tool python run under limits alone: they can reach the network and the files of this user"
    )
    return Wall.LIMITS


def _works(wall: Wall) -> bool:
    with tempfile.TemporaryDirectory(prefix="ramify-", ignore_cleanup_errors=True) as folder:
        command: Sequence[str] = _command(wall, folder, DEFAULT_LIMITS)
        try:
            done = subprocess.run(
                command, input=b"print(40 + 2)", capture_output=True, timeout=_PROBE_S, cwd=folder, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.stdout == b"42\n"
