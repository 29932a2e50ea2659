"""Launcher of a sandbox: limits this process, takes the system out of its sight, and starts the interpreter.

Its source is run as `python -I -c SOURCE CONFIG`, never imported by the program that it starts; only the standard
library is used. CONFIG is the JSON object {python, program, namespaces, folder, shown, cpu_s, memory, file, files,
disk, processes}.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from typing import Any, NoReturn

NOBODY = 65534
WORK = "/sandbox"
"""The working folder in a file system of its own."""
_NEW_NAMESPACES = 0x00020000 | 0x40000000 | 0x20000000 | 0x08000000 | 0x04000000
"""Mounts, network, processes, shared memory, host name."""
_NEW_USER = 0x10000000
_BIND, _REC, _PRIVATE, _MOVE, _REMOUNT = 4096, 16384, 1 << 18, 8192, 32
_READ_ONLY, _NO_SUID, _NO_DEV, _NO_EXEC = 1, 2, 4, 8
_KEPT_FLAGS = {2: 2, 4: 4, 8: 8, 1024: 1024, 2048: 2048, 4096: 1 << 21}
"""Flags of a file system that a new mount of it must keep: as statvfs and as mount have them."""
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
_KILL = 9
_DEVICES = ("null", "zero", "random", "urandom")


def main() -> NoReturn:
    """Enter the sandbox and become the interpreter."""
    config = json.loads(sys.argv[1])
    end_with_parent()
    if config["namespaces"]:
        enter(config)
    limit(config)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": os.getcwd(),
        "TMPDIR": os.getcwd(),
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
    }
    # -I would leave the seed of hashes out too: the environment holds nothing of the user's.
    os.execve(config["python"], [config["python"], "-s", "-P", "-B", "-c", config["program"]], environment)


def limit(config: dict[str, Any]) -> None:
    """Set the limits of this process and of the processes that it starts."""
    wanted = {
        "RLIMIT_CPU": config["cpu_s"],
        "RLIMIT_AS": config["memory"],
        "RLIMIT_FSIZE": config["file"],
        "RLIMIT_NOFILE": config["files"],
        "RLIMIT_NPROC": config["processes"],
        "RLIMIT_CORE": 0,
    }
    for name, value in wanted.items():
        kind: int | None = getattr(resource, name, None)
        if kind is None:
            continue
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, value))
        except (OSError, ValueError):
            # Not every system knows every limit.
            continue
    if os.geteuid() == 0:
        # Limits do not bind root.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        if not os.access(config["python"], os.X_OK):
            raise SystemExit(f"{config['python']} cannot be reached by the user nobody")
    control(_NO_NEW_PRIVILEGES, 1)


def enter(config: dict[str, Any]) -> None:
    """Move this process into namespaces of its own, whose file system shows only files that the interpreter needs."""
    root, uid, gid = os.geteuid() == 0, os.getuid(), os.getgid()
    check(_libc().unshare(_NEW_NAMESPACES | (0 if root else _NEW_USER)), "unshare")
    if not root:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{uid} {uid} 1")
        write("/proc/self/gid_map", f"{gid} {gid} 1")
    follow(os.fork())
    end_with_parent()
    mount("none", "/", None, _REC | _PRIVATE)
    new = config["folder"]
    mount("tmpfs", new, "tmpfs", _NO_SUID | _NO_DEV, "size=1m,mode=755")
    for path in config["shown"]:
        show(path, new)
    os.makedirs(f"{new}/proc", exist_ok=True)
    try:
        mount("proc", f"{new}/proc", "proc", _NO_SUID | _NO_DEV | _NO_EXEC)
    except OSError:
        # In some containers it is refused; the interpreter does without.
        pass
    os.makedirs(f"{new}/dev", exist_ok=True)
    for name in _DEVICES:
        write(f"{new}/dev/{name}", "")
        mount(f"/dev/{name}", f"{new}/dev/{name}", None, _BIND)
    os.mkdir(new + WORK)
    mount("tmpfs", new + WORK, "tmpfs", _NO_SUID | _NO_DEV, f"size={config['disk']},mode=1777")
    if not os.path.lexists(f"{new}/tmp"):
        os.symlink(WORK, f"{new}/tmp")
    mount("none", new, None, _REMOUNT | _READ_ONLY | _NO_SUID | _NO_DEV, "size=1m,mode=755")
    os.chdir(new)
    mount(".", "/", None, _MOVE)
    os.chroot(".")
    os.chdir(WORK)
    # The first process of a namespace, whose end ends all others, is this one: no program can change it.
    follow(os.fork())


def follow(child: int) -> None:
    """In the parent of a new process, end as it ends; in the child, whose number is 0, go on."""
    if not child:
        return
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def show(path: str, new: str) -> None:
    """Show a path of the system below the new root, read only."""
    target = new + path
    if os.path.lexists(target) or not os.path.lexists(path):
        return
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.islink(path):
        os.symlink(os.readlink(path), target)
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        write(target, "")
    mount(path, target, None, _BIND | _REC)
    has = os.statvfs(target).f_flag
    kept = sum(flag for known, flag in _KEPT_FLAGS.items() if has & known)
    mount("none", target, None, _BIND | _REMOUNT | _READ_ONLY | _NO_SUID | kept)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system."""
    encoded = (None if each is None else each.encode() for each in (source, target, kind))
    check(_libc().mount(*encoded, ctypes.c_ulong(flags), None if data is None else data.encode()), f"mount {target}")


def end_with_parent() -> None:
    """Have the system kill this process when its parent ends, where it can."""
    control(_DEATH_SIGNAL, _KILL)


def control(option: int, value: int) -> None:
    """Call prctl(2), where there is one."""
    if sys.platform == "linux":
        _libc().prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def check(code: int, what: str) -> None:
    """Raise OSError for the code -1 of a system call."""
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def write(path: str, text: str) -> None:
    """Write a file."""
    with open(path, "w") as file:
        file.write(text)


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    main()
