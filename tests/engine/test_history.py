"""The run history: what is saved comes back, damaged files harm nothing, and listing never reads a tree."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify import Solution, UsageError
from ramify.engine.history import KEPT_RUNS, RunStore
from ramify.stopping import StopReason
from ramify.testing import ScriptedModel
from ramify.usage import RoleUsage, Usage

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Clock:
    """A minute passes with each look."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now


def solution(question: str = "How many?", answer: str | None = "7", **changes: Any) -> Solution:
    fields: dict[str, Any] = {
        "question": question,
        "answer": answer,
        "text": "The answer is 7.",
        "score": 0.5,
        "stop_reason": StopReason.COMPLETED,
        "usage": Usage(policy=RoleUsage(generated_tokens=12), seconds=1.5),
        "candidates": (),
        "seed": 3,
        "strategy": {"name": "rebase", "width": 4},
        "model": {"policy": "demo-m", "reward": "demo-prm"},
    }
    return Solution(**(fields | changes))


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs", now=Clock())


def file_of(store: RunStore, run_id: str) -> Path:
    (path,) = store.folder.glob(f"*-{run_id}.jsonl")
    return path


async def test_a_run_comes_back_with_its_tree_and_options(store: RunStore) -> None:
    async with ramify.Engine(model=ScriptedModel(lambda question, path: "The answer is 7."), reward=None) as engine:
        solved = await engine.solve("How many \ud800?", strategy=ramify.MajorityVote(width=3))
    run_id = store.save(solved, {"width": 3, "model": "demo-m", "strategy": None})
    run = store.load(run_id)
    assert run.id == run_id and run.created == START + timedelta(minutes=1)
    assert run.options == {"width": 3, "model": "demo-m", "strategy": None}
    assert run.solution.to_dict(tree=True) == solved.to_dict(tree=True)
    assert store.list()[0].question == "How many ??"


def test_a_summary_says_what_the_run_was(store: RunStore) -> None:
    store.save(solution(answer=None, model={"policy": "x.gguf", "reward": None}), {})
    store.save(solution(), {})
    newest, oldest = store.list()
    assert (newest.model, newest.strategy, newest.answer) == ("demo-m + demo-prm", "rebase", "7")
    assert (newest.generated_tokens, newest.seconds, newest.stop_reason) == (12, 1.5, "completed")
    assert (oldest.model, oldest.answer) == ("x.gguf", None)
    assert newest.created - oldest.created == timedelta(minutes=1)


def test_the_newest_come_first_and_a_query_needs_all_its_words(store: RunStore) -> None:
    asked = {"How many Apples?": "7", "How many pears?": "8"}
    ids = [store.save(solution(question, answer), {}) for question, answer in asked.items()]
    assert [run.id for run in store.list()] == ids[::-1]
    assert [run.id for run in store.list(limit=1)] == [ids[1]]
    assert store.list(limit=0) == []
    assert [run.id for run in store.list("apples REBASE how")] == [ids[0]]
    assert [run.id for run in store.list("many", limit=1)] == [ids[1]]
    assert [run.id for run in store.list(ids[0])] == [ids[0]]
    assert store.list("apples pears") == []


def test_an_empty_history_needs_no_folder(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "nowhere")
    assert store.list() == []
    with pytest.raises(UsageError, match="there is no run 'last'"):
        store.load("last")


def test_runs_are_found_by_the_beginning_of_their_ids(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter(["aa000001", "aa000001", "aa000002", "bb000003"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(ids))
    assert [store.save(solution(), {}) for _ in range(3)] == ["aa000001", "aa000002", "bb000003"]
    assert store.load("b").id == store.load(" LAST ").id == store.load("BB000003").id == "bb000003"
    with pytest.raises(UsageError, match="2 runs begin with 'aa': aa000002, aa000001; give more of the id"):
        store.load("aa")
    for wrong in ("cc", "", "aa000001x", "*"):
        with pytest.raises(UsageError, match="there is no run"):
            store.load(wrong)


def test_deleting(store: RunStore) -> None:
    first, second = (store.save(solution(), {}) for _ in range(2))
    assert store.delete(first[:7]) == first
    assert [run.id for run in store.list()] == [second]
    with pytest.raises(UsageError, match="there is no run"):
        store.delete(first)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path, keep=3, now=Clock())
    ids = [store.save(solution(), {}) for _ in range(5)]
    assert [run.id for run in store.list()] == ids[:1:-1]
    everything = RunStore(tmp_path, keep=None, now=Clock())
    assert len({everything.save(solution(), {}) for _ in range(3)} | {run.id for run in store.list()}) == 6
    assert KEPT_RUNS == 500
    with pytest.raises(UsageError, match="cannot keep 0 runs"):
        RunStore(tmp_path, keep=0)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: b"", "cut off or was not written by ramify"),
        (lambda lines: lines[0][:40], "cut off or was not written by ramify"),
        (lambda lines: b"[1]\n[2]\n", "not written by ramify"),
        (lambda lines: b"\xff\xfe\n", "not written by ramify"),
        (lambda lines: changed(lines[0], version=2) + lines[1], "a newer ramify wrote it .format 2; this one"),
        (lambda lines: changed(lines[0], seconds=-1) + lines[1], "seconds: input should be greater than"),
        (lambda lines: changed(lines[0], created="2026-03-01") + lines[1], "created: "),
        (lambda lines: changed(lines[0], id="../../x") + lines[1], "id: "),
    ],
)
def test_a_file_that_cannot_be_read_is_reported_and_the_others_are_listed(
    store: RunStore, caplog: pytest.LogCaptureFixture, damage: Any, reason: str
) -> None:
    good, bad = (store.save(solution(), {}) for _ in range(2))
    path = file_of(store, bad)
    path.write_bytes(damage(path.read_bytes().splitlines(keepends=True)))
    listing = store.scan()
    assert [run.id for run in listing.runs] == [good]
    (unreadable,) = listing.unreadable
    assert (unreadable.id, unreadable.path) == (bad, path)
    with caplog.at_level(logging.WARNING):
        assert [run.id for run in store.list()] == [good]
    assert f"run {bad} cannot be read: {unreadable.reason}" in caplog.text
    with pytest.raises(UsageError, match=f"run {bad} cannot be read: .*{reason}.*`ramify runs delete {bad}` removes"):
        store.load(bad)
    store.delete(bad)
    assert store.scan().unreadable == []


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps(json.loads(line) | values).encode() + b"\n"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body["solution"].update(version=99), "solution version 99 is newer"),
        (lambda body: body["solution"].pop("usage"), "its solution has no 'usage'"),
        (lambda body: body["solution"].update(stop_reason="bored"), "'bored' is not a valid StopReason"),
        (lambda body: body["solution"].update(tree={"version": 1, "nodes": []}), "no list of nodes"),
        (lambda body: body["solution"].update(usage=3), "its solution is damaged"),
        (lambda body: body.pop("options"), "options: field required"),
    ],
)
def test_a_damaged_solution_is_found_when_it_is_loaded(store: RunStore, change: Any, reason: str) -> None:
    run_id = store.save(solution(), {})
    path = file_of(store, run_id)
    head, line = path.read_text().splitlines()
    body = json.loads(line)
    change(body)
    path.write_text(f"{head}\n{json.dumps(body)}\n")
    assert [run.id for run in store.list()] == [run_id]
    with pytest.raises(UsageError, match=reason):
        store.load(run_id)


def test_listing_reads_no_second_line(store: RunStore) -> None:
    run_id = store.save(solution(), {})
    path = file_of(store, run_id)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0] + b"not JSON")
    assert [run.id for run in store.scan().runs] == [run_id]


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    store = RunStore(tmp_path, keep=1, now=Clock())
    for name in ("notes.txt", "20260301T120000000000-zzzzzzzz.jsonl", ".20260301T120000000000-aaaaaaaa.jsonl.part"):
        (tmp_path / name).write_text("mine")
    old = tmp_path / ".20200301T120000000000-aaaaaaaa.jsonl.part"
    old.write_text("of a process that was killed")
    os.utime(old, (0, 0))
    for _ in range(2):
        store.save(solution(), {})
    assert len(store.scan().runs) == 1 and store.scan().unreadable == []
    assert sorted(path.name[-12:] for path in tmp_path.iterdir() if path.read_text() == "mine") == [
        "aaaaaa.jsonl.part"[-12:],
        "notes.txt",
        "zzzzzz.jsonl"[-12:],
    ]
    assert not old.exists()


def test_only_the_owner_can_read_a_run(store: RunStore) -> None:
    path = file_of(store, store.save(solution(), {}))
    assert (path.stat().st_mode & 0o777, store.folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_save_that_fails_leaves_nothing_behind(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="cannot be written: No space left on device; set RAMIFY_DATA"):
        store.save(solution(), {})
    assert list(store.folder.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = RunStore(tmp_path / "file")
    for action in (lambda: store.save(solution(), {}), store.list):
        with pytest.raises(UsageError, match="file cannot be"):
            action()


def test_processes_that_save_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from ramify.engine.history import RunStore\nfrom ramify.solution import Solution\n"
        "from ramify.usage import Usage\n"
        "made = Solution(question='q', answer=None, text='', score=None, stop_reason='user', usage=Usage(), "
        "candidates=(), seed=0, strategy={'name': 'greedy'})\n"
        "for _ in range(20): RunStore(sys.argv[1], keep=30).save(made, {})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), "."]) for _ in range(2)]
    assert [each.wait(60) for each in running] == [0, 0]
    store = RunStore(tmp_path)
    assert len(store.scan().runs) == 30 and store.scan().unreadable == []
