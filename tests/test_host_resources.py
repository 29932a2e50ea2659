"""Processors and memory that a process may use, read from system files that the tests write."""

from __future__ import annotations

from pathlib import Path

import pytest

from ramify.host_resources import Memory, memory, processors

GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n")
    return root


def cores(*siblings: str) -> dict[str, str]:
    return {f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": each for n, each in enumerate(siblings)}


def test_processors_of_one_core_count_once(tmp_path: Path) -> None:
    root = write(tmp_path, cores("0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"))
    assert processors(root, range(8)) == 4
    assert processors(root, {0, 4}) == 1
    assert processors(root, {0, 1, 4}) == 2


def test_without_topology_each_processor_counts(tmp_path: Path) -> None:
    assert processors(tmp_path, range(3)) == 3
    assert processors(tmp_path, ()) == 1


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_a_quota_of_version_2_bounds_the_processors(tmp_path: Path, quota: str, expected: int) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/group", "sys/fs/cgroup/group/cpu.max": quota})
    assert processors(root, range(8)) == expected


def test_the_quota_of_an_outer_group_holds_too(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/outer/inner",
        "sys/fs/cgroup/outer/cpu.max": "200000 100000",
        "sys/fs/cgroup/outer/inner/cpu.max": "max 100000",
    }
    assert processors(write(tmp_path, files), range(8)) == 2


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3)])
def test_a_quota_of_version_1_bounds_the_processors(tmp_path: Path, quota: str, expected: int) -> None:
    # As in a container, which sees its own group at the top while its path is that of the host.
    files = {
        "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": quota,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert processors(write(tmp_path, files), range(8)) == expected


def test_a_path_that_leaves_the_groups_is_not_followed(tmp_path: Path) -> None:
    root = write(tmp_path, {"proc/self/cgroup": "0::/../elsewhere", "sys/fs/elsewhere/cpu.max": "100000 100000"})
    assert processors(root, range(8)) == 8


def meminfo(total: int, available: int) -> dict[str, str]:
    return {"proc/meminfo": f"MemTotal: {total >> 10} kB\nMemFree: 1 kB\nMemAvailable: {available >> 10} kB"}


def test_the_memory_of_a_machine_without_limits(tmp_path: Path) -> None:
    assert memory(write(tmp_path, meminfo(16 * GIB, 9 * GIB))) == Memory(16 * GIB, 9 * GIB)
    assert memory(tmp_path / "none") is None


def test_a_limit_of_memory_holds_and_cached_files_count_as_free(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/",
        "sys/fs/cgroup/memory.max": str(4 * GIB),
        "sys/fs/cgroup/memory.current": str(3 * GIB),
        "sys/fs/cgroup/memory.stat": f"anon 5\ninactive_file {GIB}",
    }
    assert memory(write(tmp_path, meminfo(16 * GIB, 9 * GIB) | files)) == Memory(4 * GIB, 2 * GIB)


def test_version_1_writes_a_huge_number_for_no_limit(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/a",
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712",
        "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "1000",
    }
    assert memory(write(tmp_path, meminfo(2 * GIB, GIB) | files)) == Memory(2 * GIB, GIB)
