"""`ramify store`, and what `--remember` says without a store."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from ramify.engine.store.rows import FILE_NAME, RowKind, RowStore
from ramify.engine.store.states import state_file, write_state

STATE_BYTES = 20_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a store of ten steps, four of them ten days old, two readings, one solved problem and one state."""
    folder = tmp_path / "nodes"
    with RowStore(folder) as rows:
        for number in range(10):
            rows.put(RowKind.STEP, bytes([number]) * 20, bytes(range(256)) * 4)
        for number in range(2):
            rows.put(RowKind.READING, bytes([number]) * 20, b"reading")
        rows.put(RowKind.SOLVED, bytes(20), b"solved")
    change(folder, "UPDATE rows SET made = ? WHERE kind = 1 AND id <= 4", time.time() - 10 * 86400)
    assert write_state(state_file(folder, bytes(20)), bytes(STATE_BYTES))
    return folder


def change(folder: Path, query: str, *values: float) -> None:
    database = sqlite3.connect(folder / FILE_NAME)
    database.execute(query, values)
    database.commit()
    database.close()


def rows_of(folder: Path) -> dict[str, int]:
    with RowStore(folder, make=False) as rows:
        return rows.info().rows


def test_info_tells_rows_size_and_age(ramify, folder):
    data = json.loads(ramify("store", "info", str(folder), "--json").out)
    assert data["rows"] == {"step": 10, "reading": 2, "solved": 1, "file": 0}
    assert data["bytes"] > STATE_BYTES
    assert data["oldest"] < data["newest"] and "damaged" not in data
    result = ramify("store", "info", str(folder))
    assert (result.code, result.err) == (0, "")
    said = {line[:18].strip(): line[18:].strip() for line in result.out.splitlines()}
    assert (said["steps"], said["readings"], said["solved problems"], said["model files"]) == ("10", "2", "1", "0")
    assert said["oldest row"] == "10.0 days" and "damaged rows" not in said


def test_info_counts_damaged_rows_where_they_are_checked(ramify, folder):
    assert json.loads(ramify("store", "info", str(folder), "--json", "--check").out)["damaged"] == 0
    change(folder, "UPDATE rows SET value = x'00' WHERE kind = 1 AND id > 7")
    assert json.loads(ramify("store", "info", str(folder), "--json", "--check").out)["damaged"] == 3
    assert "damaged rows" in ramify("store", "info", str(folder), "--check").out


def test_prune_deletes_what_is_damaged_old_or_too_much(ramify, folder):
    change(folder, "UPDATE rows SET value = x'00' WHERE kind = 1 AND id = 10")
    result = ramify("store", "prune", str(folder))
    assert (result.code, result.out) == (0, "") and result.err.startswith("1 rows deleted, 12 left, ")
    assert ramify("store", "prune", str(folder), "--older-than", "5d").err.startswith("4 rows deleted, 8 left, ")
    assert rows_of(folder) == {"step": 5, "reading": 2, "solved": 1, "file": 0}
    assert state_file(folder, bytes(20)).exists()
    # States go before rows.
    assert ramify("store", "prune", str(folder), "--max-size", "30K").err.startswith("0 rows deleted, 8 left, ")
    assert not state_file(folder, bytes(20)).exists()
    assert ramify("store", "prune", str(folder), "--max-size", "1").err.startswith("8 rows deleted, 0 left, ")
    said = ramify("store", "info", str(folder)).out
    assert "oldest row" not in said


@pytest.mark.parametrize("command", ["info", "prune"])
def test_a_folder_without_a_store_is_bad_input(ramify, tmp_path, command):
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE_NAME).write_text("no database " * 100)
    (tmp_path / "file").write_text("")
    for name in ("missing", "empty", "other", "file"):
        result = ramify("store", command, str(tmp_path / name))
        assert (result.code, result.out) == (2, ""), name
        assert name in result.error and "Traceback" not in result.err
    assert not (tmp_path / "missing").exists() and not any((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("option", ["--older-than=soon", "--older-than=-1d", "--max-size=much", "--max-size=-5M"])
def test_bounds_that_cannot_be_read_delete_nothing(ramify, folder, option):
    result = ramify("store", "prune", str(folder), option)
    assert result.code == 2 and option.split("=")[0] in result.err
    assert sum(rows_of(folder).values()) == 13


@pytest.mark.parametrize("command", ["solve What", "batch run problems.jsonl --out run"])
def test_examples_are_not_remembered_without_a_store(ramify, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("problems.jsonl").write_text('{"id": "a", "question": "What is 3 + 4?", "answer": "7"}\n')
    result = ramify(*command.split(), "--remember", "2")
    assert (result.code, result.out) == (2, "")
    assert "--remember" in result.error and "--store" in result.error
    assert not Path("run").exists()
