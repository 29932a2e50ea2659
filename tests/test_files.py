from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from platformdirs.macos import MacOS

from ramify.errors import DamagedJournal, LockHeld, UsageError
from ramify.files import (
    cache_folder,
    config_path,
    data_folder,
    export_text,
    is_temporary,
    lock,
    make_folder,
    make_subfolder,
    models_folder,
    open_guarded,
    remove_abandoned,
    replacing,
    write_text,
)
from ramify.journals import Journal, read_journal


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


@pytest.fixture
def victim(tmp_path):
    """A file outside of the folder, which must stay as it is."""
    path = tmp_path / "victim"
    path.write_text("precious")
    yield path
    assert path.read_text() == "precious"


@pytest.fixture
def received(tmp_path):
    folder = tmp_path / "received"
    folder.mkdir()
    return folder


def make_symlink(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def make_hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def make_pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def make_folder_there(path: Path, victim: Path) -> None:
    path.mkdir()


ODD = [
    (make_symlink, "it is a symbolic link, which is not followed"),
    (make_hard_link, "it has further names"),
    (make_pipe, "it is no regular file"),
    (make_folder_there, "s a directory"),
]


@pytest.mark.parametrize(("make", "reason"), ODD)
def test_nothing_but_a_file_of_ones_own_is_opened(victim, received, make, reason):
    path = received / "odd"
    make(path, victim)
    with pytest.raises(OSError, match=reason):
        open_guarded(path, os.O_WRONLY)
    with pytest.raises(OSError, match=reason), lock(path):
        pass
    with pytest.raises(OSError, match=reason), Journal(path):
        pass


def test_a_dangling_link_makes_no_file(tmp_path, received):
    (received / "odd").symlink_to(tmp_path / "new")
    with pytest.raises(OSError, match="symbolic link"):
        open_guarded(received / "odd", os.O_WRONLY)
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_is_refused_unless_the_folder_is_theirs(received):
    path = received / "odd"
    path.touch()
    os.chown(path, 12345, -1)
    with pytest.raises(OSError, match="it belongs to another user"):
        open_guarded(path, os.O_WRONLY)
    os.chown(received, 12345, -1)
    os.close(open_guarded(path, os.O_WRONLY))


def test_a_link_is_replaced_and_not_followed(victim, received):
    path = received / "report.json"
    path.symlink_to(victim)
    write_text(path, "new")
    assert not path.is_symlink() and path.read_text() == "new"
    path.unlink()
    path.symlink_to(victim)
    export_text(path, "export")
    assert not path.is_symlink() and path.read_text() == "export"
    (received / "trees").symlink_to(victim.parent)
    with pytest.raises(OSError, match="symbolic link"):
        make_subfolder(received / "trees")


def test_new_files_and_folders_are_private_unless_the_umask_is_asked_for(tmp_path, monkeypatch):
    def modes() -> list[int]:
        folder = tmp_path / os.urandom(4).hex()
        make_folder(folder)
        write_text(folder / "a", "a")
        export_text(folder / "b", "b")
        with Journal(folder / "c") as journal, lock(folder / "d"):
            journal.append({})
        with replacing(folder / "model", private=False) as part:
            part.write_bytes(b"GGUF")
        return [each.stat().st_mode & 0o777 for each in [folder, *sorted(folder.iterdir())]]

    before = os.umask(0o022)
    try:
        monkeypatch.delenv("RAMIFY_FILE_ACCESS", raising=False)
        assert modes() == [0o700, 0o600, 0o600, 0o600, 0o600, 0o644]
        monkeypatch.setenv("RAMIFY_FILE_ACCESS", "umask")
        assert modes() == [0o755, 0o644, 0o644, 0o644, 0o644, 0o644]
        os.umask(0o007)
        assert modes() == [0o770, 0o660, 0o660, 0o660, 0o660, 0o660]
        monkeypatch.setenv("RAMIFY_FILE_ACCESS", "all")
        with pytest.raises(UsageError, match="RAMIFY_FILE_ACCESS is 'all'; set it to private or umask"):
            modes()
    finally:
        os.umask(before)


def test_exports_reach_devices_and_pipes(tmp_path):
    export_text(Path("/dev/null"), "text")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    export_text(pipe, "text")
    assert reader.communicate(timeout=30)[0] == b"text"


def test_a_row_that_is_too_long_counts_as_damaged_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("ramify.journals.LONGEST_ROW", 100)
    path = tmp_path / "a.jsonl"
    text = '{"n": 1}\n{"n": "' + "x" * 200 + '"}\n{"n": 3}\n'
    path.write_text(text)
    with pytest.raises(DamagedJournal, match="line 2"):
        list(read_journal(path))
    with pytest.raises(DamagedJournal, match="line 2"), Journal(path):
        pass
    assert path.read_text() == text


@pytest.mark.parametrize("row", ["[" * 60_000, '{"n": ' * 60_000, '{"n": ' + "1" * 5_000 + "}"])
def test_a_row_that_no_reader_can_hold_is_damaged(tmp_path, row):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{row}\n{{"n": 1}}\n')
    with pytest.raises(DamagedJournal, match="line 1"):
        list(read_journal(path))


def test_a_file_in_memory_is_replaced_and_a_descriptor_written_to(tmp_path):
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        pytest.skip("there is no /dev/shm here")
    file = memory / f"ramify-test-{os.getpid()}.json"
    try:
        for text in ("a longer text", "short"):
            export_text(file, text)
            assert file.read_text("utf-8") == text
    finally:
        file.unlink(missing_ok=True)
    with (tmp_path / "open").open("wb") as kept:
        export_text(Path(f"/proc/self/fd/{kept.fileno()}"), "one ")
        export_text(Path(f"/proc/self/fd/{kept.fileno()}"), "two")
    assert (tmp_path / "open").read_text("utf-8") == "one two"
