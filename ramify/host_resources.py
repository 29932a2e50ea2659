"""Processors and memory that this process may use: affinity, physical cores, limits of control groups."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_CONTROL_GROUPS = Path("sys/fs/cgroup")
_UNLIMITED_BYTES = 1 << 60
"""Limits of memory from here on are none: version 1 writes the largest number of pages instead of a word."""


def processors(root: Path = _ROOT, allowed: Collection[int] | None = None) -> int:
    """Return how many threads of this process can compute at full speed side by side, at least 1.

    Processors that share a physical core count once, and a quota of a control group bounds them. `allowed` are the
    numbers of the processors that the process may run on, None to ask the system. System files are read below `root`.
    """
    if allowed is None:
        allowed = allowed_processors()
    cores = {_siblings(root, each) for each in allowed}
    quotas = [quota for folder in _groups(root, "cpu") if (quota := _quota(folder)) is not None]
    return max(1, int(min([len(cores), *quotas])))


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes: `total_bytes` that this process may have, and `free_bytes` of it that are not in use."""

    total_bytes: int
    free_bytes: int


def memory(root: Path = _ROOT) -> Memory | None:
    """Return the memory that this process may use, None where the system does not tell.

    Pages of files that can be dropped count as free. System files are read below `root`.
    """
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        facts = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines) if rest}
        found = [Memory(facts["MemTotal"], facts["MemAvailable"])]
    except (OSError, ValueError, KeyError, IndexError):
        return None
    found += [limit for folder in _groups(root, "memory") if (limit := _memory_limit(folder)) is not None]
    return Memory(min(each.total_bytes for each in found), min(each.free_bytes for each in found))


def allowed_processors() -> Collection[int]:
    """Return the numbers of the processors that this process may run on: all where the system does not tell."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _siblings(root: Path, processor: int) -> str:
    """Return the processors of the core that a processor belongs to, as the system writes them."""
    folder = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    return _text(folder / "core_cpus_list") or _text(folder / "thread_siblings_list") or str(processor)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups that bound this process by a controller, up to the outermost one."""
    base = root / _CONTROL_GROUPS
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        number, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if number == "0" and not names:
            top = base
        elif controller in names.split(","):
            top = next((each for each in (base / names, base / controller) if each.is_dir()), base / controller)
        else:
            continue
        # Inside a container the path may be that of the host, of which only the group's own folder is there.
        group = top / path.strip("/")
        while ".." not in group.parts and group.is_relative_to(top):
            yield group
            if group == top:
                break
            group = group.parent


def _quota(folder: Path) -> float | None:
    """Return the processors that a control group may keep busy, None without a limit."""
    quota, _, period = (_text(folder / "cpu.max") or "").partition(" ")
    if not period:
        quota, period = _text(folder / "cpu.cfs_quota_us") or "", _text(folder / "cpu.cfs_period_us") or ""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return share if share > 0 else None


def _memory_limit(folder: Path) -> Memory | None:
    """Return the memory of a control group, None without a limit."""
    for limit_name, usage_name, dropped in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = int(_text(folder / limit_name) or "")
            usage = int(_text(folder / usage_name) or "")
        except ValueError:
            continue
        if limit >= _UNLIMITED_BYTES:
            return None
        lines = (line.split() for line in (_text(folder / "memory.stat") or "").splitlines())
        droppable = next((int(words[1]) for words in lines if len(words) == 2 and words[0] == dropped), 0)
        return Memory(limit, max(0, limit - max(0, usage - droppable)))
    return None


def _text(file: Path) -> str | None:
    """Return the text of a system file, None if it cannot be read."""
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
