"""The file of a store: concurrent writers, killed writers, a full disk, damage; nothing wrong is ever returned."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.store.rows import FORMAT, RowKind, RowStore, digest
from ramify.errors import UsageError


def key(number: int) -> bytes:
    return digest(b"%d" % number)


def value(number: int) -> bytes:
    return b"%d " % number * (number % 97 + 1)


WRITER = """
import sys
from ramify.engine.store.rows import RowKind, RowStore, digest
folder, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with RowStore(folder) as store:
    for number in range(first, first + count):
        store.put(RowKind.STEP, digest(b"%d" % number), b"%d " % number * (number % 97 + 1))
        if number % 50 == 0:
            store.flush()
            print(number, flush=True)
"""


def writer(folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WRITER, str(folder), str(first), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@given(rows=st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=300), max_size=20))
@settings(max_examples=25, deadline=None)
def test_rows_read_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: dict[bytes, bytes]) -> None:
    folder = tmp_path_factory.mktemp("store")
    with RowStore(folder) as store:
        for name, content in rows.items():
            store.put(RowKind.STEP, name, content)
        assert store.get(RowKind.STEP, [*rows, b"missing"]) == rows
        assert store.get(RowKind.READING, list(rows)) == {}
    with RowStore(folder) as again:
        assert again.get(RowKind.STEP, [*rows, b"missing"]) == rows
        assert dict(again.values(RowKind.STEP)) == rows
        assert again.info(check=True).damaged == 0


def test_a_row_can_be_replaced(tmp_path: Path) -> None:
    with RowStore(tmp_path) as store:
        store.put(RowKind.STEP, key(1), b"old")
        store.flush()
        store.put(RowKind.STEP, key(1), b"new")
        assert store.get(RowKind.STEP, [key(1)]) == {key(1): b"new"}
    with RowStore(tmp_path) as again:
        assert again.get(RowKind.STEP, [key(1)]) == {key(1): b"new"}


def test_several_processes_write_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "made by them"
    # They overlap, so that some write the same rows.
    for process in [writer(folder, first, 600) for first in (0, 300, 600)]:
        process.communicate()
        assert process.returncode == 0
    with RowStore(folder) as store:
        found = store.get(RowKind.STEP, [key(number) for number in range(1200)])
        assert found == {key(number): value(number) for number in range(1200)}
        assert store.info().rows["step"] == 1200


def test_what_a_killed_process_had_written_is_whole(tmp_path: Path) -> None:
    process = writer(tmp_path, 0, 1_000_000)
    assert process.stdout is not None
    told = 0
    while told < 500:
        told = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    with RowStore(tmp_path) as store:
        numbers = range(100_000)
        found = store.get(RowKind.STEP, [key(number) for number in numbers])
        assert set(found) >= {key(number) for number in range(told + 1)}
        assert all(found[key(number)] == value(number) for number in numbers if key(number) in found)
        assert store.info(check=True).damaged == 0
        store.put(RowKind.STEP, key(-1), b"goes on")
    with RowStore(tmp_path) as again:
        assert again.get(RowKind.STEP, [key(-1)]) == {key(-1): b"goes on"}


def test_a_full_disk_is_told_once_and_leaves_what_was_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RowStore(tmp_path) as store:
        store.put(RowKind.STEP, key(0), value(0))
        store.flush()
        # SQLite gives the same error as for a disk without room.
        assert store._writer is not None  # pyright: ignore[reportPrivateUsage]
        store._writer.execute("PRAGMA max_page_count = 8")  # pyright: ignore[reportPrivateUsage]
        with caplog.at_level(logging.WARNING, "ramify.store"):
            for number in range(1, 500):
                store.put(RowKind.STEP, key(number), os.urandom(200))
                if number % 100 == 0:
                    store.flush()
        assert not store.writable
        assert store.get(RowKind.STEP, [key(0)]) == {key(0): value(0)}
    assert len(caplog.records) == 1
    assert "full" in caplog.text
    with RowStore(tmp_path) as again:
        assert again.get(RowKind.STEP, [key(0)]) == {key(0): value(0)}


@pytest.mark.parametrize("column", ["value", "sum", "key"])
def test_a_damaged_row_is_left_out(tmp_path: Path, column: str, caplog: pytest.LogCaptureFixture) -> None:
    with RowStore(tmp_path) as store:
        for number in range(20):
            store.put(RowKind.STEP, key(number), value(number))
        path = store.path
    database = sqlite3.connect(path)
    # What one row has there is that of another one, with the last bit of it changed.
    (old,) = database.execute(f"SELECT {column} FROM rows WHERE key = ?", (key(7),)).fetchone()
    new = key(99) if column == "key" else old[:-1] + bytes([old[-1] ^ 1])
    database.execute(f"UPDATE rows SET {column} = ? WHERE key = ?", (new, key(7)))
    database.commit()
    database.close()
    with RowStore(tmp_path) as store:
        wanted = [key(number) for number in (*range(20), 99)]
        assert store.get(RowKind.STEP, wanted) == {key(n): value(n) for n in range(20) if n != 7}
        assert len([each for each in caplog.records if "damaged" in each.message]) == 1
        assert store.info(check=True).damaged == 1
        store.put(RowKind.STEP, key(7), value(7))
        assert store.prune() == (column == "key")
        assert store.info(check=True).damaged == 0
    with RowStore(tmp_path) as again:
        found = again.get(RowKind.STEP, [key(number) for number in range(20)])
        assert all(found[each] == value(number) for number in range(20) if (each := key(number)) in found)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_noise_in_the_file_never_gives_a_wrong_row(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    from random import Random

    random, folder = Random(seed), tmp_path_factory.mktemp("store")
    with RowStore(folder) as store:
        for number in range(100):
            store.put(RowKind.STEP, key(number), value(number))
    content = bytearray(store.path.read_bytes())
    for _ in range(random.choice([1, 20, 400])):
        content[random.randrange(len(content))] = random.randrange(256)
    if random.random() < 0.2:
        del content[random.randrange(len(content)) :]
    store.path.write_bytes(content)
    try:
        damaged = RowStore(folder)
    except UsageError:
        return
    found = damaged.get(RowKind.STEP, [key(number) for number in range(100)])
    assert all(found[each] == value(number) for number in range(100) if (each := key(number)) in found)
    damaged.put(RowKind.STEP, key(1000), value(1000))
    damaged.close()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nodes.sqlite").write_bytes(b"no database " * 1000)
    with pytest.raises(UsageError, match="cannot be used"):
        RowStore(tmp_path)
    (tmp_path / "nodes.sqlite").unlink()
    database = sqlite3.connect(tmp_path / "nodes.sqlite")
    database.execute("CREATE TABLE mine (a)")
    database.close()
    with pytest.raises(UsageError, match="is no store"):
        RowStore(tmp_path)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    RowStore(tmp_path).close()
    database = sqlite3.connect(tmp_path / "nodes.sqlite")
    database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    database.close()
    with pytest.raises(UsageError, match=f"version {FORMAT + 1}"):
        RowStore(tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be used"):
        RowStore(tmp_path / "file")


def test_a_link_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "nodes.sqlite").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="symbolic link"):
        RowStore(tmp_path)


READER = """
import logging, os, sys
from ramify.engine.store.rows import RowKind, RowStore, digest
os.setuid(65534)
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with RowStore(sys.argv[1]) as store:
    print(len(store.get(RowKind.STEP, [digest(b"1")])), store.writable)
    store.put(RowKind.STEP, digest(b"2"), b"new")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_cannot_be_written_is_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        with RowStore(folder / "store") as store:
            store.put(RowKind.STEP, key(1), value(1))
        for each in (folder, folder / "store"):
            each.chmod(0o755)
        for each in (folder / "store").iterdir():
            each.chmod(0o644)
        done = subprocess.run([sys.executable, "-c", READER, str(folder / "store")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "cannot be written" in done.stdout
        assert done.stdout.strip().endswith("1 False")
        empty = folder / "empty"
        empty.mkdir(mode=0o755)
        refused = subprocess.run([sys.executable, "-c", READER, str(empty)], capture_output=True, text=True)
        assert "UsageError" in refused.stderr
    finally:
        shutil.rmtree(folder)


def test_prune_deletes_what_is_old_and_what_is_too_much(tmp_path: Path) -> None:
    with RowStore(tmp_path) as store:
        for number in range(300):
            store.put(RowKind.STEP, key(number), os.urandom(1000))
    database = sqlite3.connect(tmp_path / "nodes.sqlite")
    database.execute("UPDATE rows SET made = ? WHERE id <= 100", (time.time() - 10 * 86400,))
    database.commit()
    database.close()
    with RowStore(tmp_path) as store:
        before = store.info()
        assert before.oldest is not None and time.time() - before.oldest > 9 * 86400
        assert store.prune(older_than_s=5 * 86400) == 100
        assert store.info().rows["step"] == 200
        assert store.info().bytes < before.bytes
        assert store.prune(most_bytes=100_000) > 0
        left = store.info()
        assert 0 < left.rows["step"] < 100 and store.path.stat().st_size <= 100_000
        # The newest rows stay.
        assert store.get(RowKind.STEP, [key(299)])
        assert store.prune(most_bytes=0) == left.rows["step"]
