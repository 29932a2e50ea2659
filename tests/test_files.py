from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs.macos import MacOS

from ramify.errors import DamagedJournal, LockHeld
from ramify.files import (
    Journal,
    cache_folder,
    config_path,
    data_folder,
    is_temporary,
    lock,
    models_folder,
    read_journal,
    remove_abandoned,
    replacing,
    write_text,
)


def rows(path):
    return [row for row, _ in read_journal(path)]


def test_what_was_appended_is_there(tmp_path):
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.append({"n": 1})
        journal.append({"n": "\u00e4\ud800"})
        assert rows(path) == [{"n": 1}, {"n": "\u00e4\ud800"}]
    with Journal(path) as journal:
        journal.append({"n": 3})
    assert [row["n"] for row in rows(path)] == [1, "\u00e4\ud800", 3]


def test_a_line_torn_anywhere_is_as_if_never_written(tmp_path):
    path = tmp_path / "a.jsonl"
    whole, last = b'{"n": 1}\n', b'{"n": 2}\n'
    for cut in range(len(last)):
        path.write_bytes(whole + last[:cut])
        assert rows(path) == [{"n": 1}]
        with Journal(path) as journal:
            journal.append({"n": 3})
        assert path.read_bytes() == whole + b'{"n": 3}\n'


def test_a_last_line_of_rubbish_is_torn_too(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n' + b"\0" * 30 + b"\n")
    assert rows(path) == [{"n": 1}]


def test_a_line_that_is_being_written_is_no_damage(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": ')
    found = read_journal(path)
    assert next(found)[0] == {"n": 1}
    assert next(found, None) is None
    with path.open("ab") as file:
        file.write(b'2}\n{"n": 3}\n')
    assert [row["n"] for row in rows(path)] == [1, 2, 3]


def test_damage_before_the_last_line_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(DamagedJournal, match="line 2 is damaged"):
        rows(path)


def test_a_write_that_fails_half_way_leaves_no_trace(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    real = os.pwrite
    left = [20]

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        count = min(left[0], len(data))
        left[0] -= count
        return real(file, data[:count], offset)

    with Journal(path) as journal:
        monkeypatch.setattr(os, "pwrite", pwrite)
        journal.append({"n": 1})
        with pytest.raises(OSError, match="No space left"):
            journal.append({"n": "longer than what is left"})
        assert path.read_bytes() == b'{"n": 1}\n'
        left[0] = 100
        journal.append({"n": 3})
    assert [row["n"] for row in rows(path)] == [1, 3]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_text(path, "old")

    def fsync(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "old")]


def test_a_block_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(path) as part:
        part.write_bytes(b"half")
        assert is_temporary(part.name) and part.parent == tmp_path
        raise RuntimeError
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("a.bin", b"old")]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_private_file_is_its_owners_alone(tmp_path):
    write_text(tmp_path / "a", "secret")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_abandoned_files_are_removed_when_they_are_old(tmp_path):
    old, new, other = tmp_path / ".a.1.0.part", tmp_path / ".b.1.0.part", tmp_path / "c.part"
    for path in (old, new, other):
        path.touch()
    os.utime(old, (0, 0))
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, other]
    remove_abandoned(tmp_path, older_than_s=0)
    assert list(tmp_path.iterdir()) == [other]


def test_rows_appended_together_are_all_there_or_none(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal(path) as journal:
        journal.append({"n": 1}, {"n": 2})
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                journal.append({"n": 3}, {"n": 4})
        journal.append()
    assert [row["n"] for row in rows(path)] == [1, 2]


def test_a_strict_reader_takes_only_a_line_without_its_end_for_torn(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n"')
    assert [row for row, _ in read_journal(path, strict=True)] == [{"n": 1}]
    path.write_bytes(b'{"n": 1}\n{"n"\n')
    with pytest.raises(DamagedJournal, match="line 2"):
        list(read_journal(path, strict=True))


def test_a_lock_is_held_by_one(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys\nfrom pathlib import Path\nfrom ramify.files import lock\n"
        "with lock(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(LockHeld) as refused, lock(path):
            pass
        assert refused.value.holder == f"{os.uname().nodename} process {other.pid}"
        other.kill()
    with lock(path):
        assert path.read_text().endswith(f" process {os.getpid()}\n")
        with pytest.raises(LockHeld), lock(path):
            pass
    with lock(path):
        pass


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"RAMIFY_DATA": "/data/mine", "XDG_DATA_HOME": "/xdg"}, "/data/mine"),
        ({"RAMIFY_DATA": "~/mine"}, "/home/me/mine"),
        ({"XDG_DATA_HOME": "/xdg"}, "/xdg/ramify"),
        ({"XDG_DATA_HOME": "relative"}, "/home/me/.local/share/ramify"),
        ({"RAMIFY_DATA": "", "XDG_DATA_HOME": ""}, "/home/me/.local/share/ramify"),
    ],
)
def test_where_the_data_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str) -> None:
    for name in ("RAMIFY_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (variables | {"HOME": "/home/me"}).items():
        monkeypatch.setenv(name, value)
    assert data_folder() == Path(folder)


def test_where_the_data_is_on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAMIFY_DATA", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/Users/me")
    monkeypatch.setattr("platformdirs.PlatformDirs", MacOS)
    assert data_folder() == Path("/Users/me/Library/Application Support/ramify")


@pytest.mark.parametrize(
    ("variables", "config", "cache", "models"),
    [
        ({}, ".config/ramify/config.toml", ".cache/ramify", ".local/share/ramify/models"),
        (
            {"XDG_CONFIG_HOME": "/c", "XDG_CACHE_HOME": "/k", "XDG_DATA_HOME": "/d"},
            "/c/ramify/config.toml", "/k/ramify", "/d/ramify/models",
        ),
        (
            {"RAMIFY_CONFIG": "~/c.toml", "RAMIFY_CACHE_DIR": "/k", "RAMIFY_MODELS_DIR": "~/m", "RAMIFY_DATA": "/d"},
            "c.toml", "/k", "m",
        ),
    ],
)  # fmt: skip
def test_the_other_folders(monkeypatch, variables, config, cache, models):
    for name in os.environ:
        if name.startswith(("RAMIFY_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in (variables | {"HOME": "/home/me"}).items():
        monkeypatch.setenv(name, value)
    home = Path("/home/me")
    assert (config_path(), cache_folder(), models_folder()) == (home / config, home / cache, home / models)
