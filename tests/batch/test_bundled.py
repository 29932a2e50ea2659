"""Runs on the bundled models as processes of their own: killed, interrupted, and out of room."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ramify import generate_problems
from ramify.engine.library.catalog import list_bundled

OPTIONS = ("-w", "2", "--parallel", "3")

if {"demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
    pytest.skip("the bundled models are not in this checkout", allow_module_level=True)

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def make_input(tmp_path) -> Callable[[int], Path]:
    def make(count: int) -> Path:
        path = tmp_path / "in.jsonl"
        problems = generate_problems(steps=(2, 3), count=count, seed=11)
        lines = ({"id": each.id, "question": each.question, "answer": each.answer} for each in problems)
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        return path

    return make


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start `ramify` in a process group of its own; `limit_bytes` bounds the files it may write."""
    children: list[subprocess.Popen[str]] = []

    def start(*arguments: object, limit_bytes: int | None = None) -> subprocess.Popen[str]:
        code = "import sys; from ramify.cli import main; sys.exit(main())"
        if limit_bytes is not None:
            code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes},) * 2); {code}"
        child = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        with child:
            child.kill()


def lines(folder: Path) -> int:
    path = folder / "items.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(child: subprocess.Popen[str], folder: Path, count: int) -> None:
    """Wait until the folder has so many items, or the process has ended."""
    while child.poll() is None and lines(folder) < count:
        time.sleep(0.005)


def read(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]


def finish(begin: Begin, source: Path, out: Path) -> dict[str, object]:
    """Run to the end, and check that every item is there once and the usage is the sum of the items."""
    child = begin("batch", "run", source, "--out", out, *OPTIONS)
    _, err = child.communicate(timeout=100)
    assert child.returncode == 0, err
    rows, report = read(out), json.loads((out / "report.json").read_text())
    wanted = [json.loads(line)["id"] for line in source.read_text().splitlines()]
    assert sorted(row["id"] for row in rows) == sorted(wanted)
    assert len({row["key"] for row in rows}) == len(rows)
    for role in ("policy", "reward"):
        for name in ("prompt_tokens", "cached_tokens", "generated_tokens", "reevaluated_tokens"):
            assert report["usage"][role][name] == sum(row["usage"][role][name] for row in rows)
        assert report["usage"][role]["flops"] == pytest.approx(sum(row["usage"][role]["flops"] for row in rows))
    assert (report["done"], report["pending"], report["stop_reason"]) == (len(rows), 0, "completed")
    return report


def test_a_run_from_file_to_report(begin, make_input, tmp_path):
    source, out = make_input(6), tmp_path / "out"
    report = finish(begin, source, out)
    assert report["graded"] == 6 and report["failed"] == 0
    row = read(out)[0]
    assert (row["strategy"]["name"], row["model"]["policy"]) == ("rebase", "demo-m")
    shown = begin("batch", "report", out, "--format", "json")
    text, _ = shown.communicate(timeout=60)
    assert json.loads(text)["correct"] == report["correct"]


@pytest.mark.slow
def test_killed_at_any_moment_every_item_is_there_once(begin, make_input, tmp_path):
    source, out = make_input(60), tmp_path / "out"
    moments = random.Random(5)
    for round_number in range(4):
        child = begin("batch", "run", source, "--out", out, *OPTIONS)
        if round_number:
            wait_for(child, out, lines(out) + moments.randint(1, 5))
        time.sleep(moments.random() * 0.1)
        child.kill()
        child.wait()
        # The first one is killed while it starts.
        assert child.returncode == -signal.SIGKILL or round_number > 1
    assert lines(out)
    finish(begin, source, out)
    before = {each.name: each.read_bytes() for each in out.iterdir() if each.name != "lock"}
    finish(begin, source, out)
    assert {each.name: each.read_bytes() for each in out.iterdir() if each.name != "lock"} == before


@pytest.mark.slow
def test_without_room_the_run_stops_and_nothing_is_torn(begin, make_input, tmp_path):
    source, out = make_input(12), tmp_path / "out"
    child = begin("batch", "run", source, "--out", out, *OPTIONS, limit_bytes=12_000)
    _, err = child.communicate(timeout=100)
    assert child.returncode == 2
    assert err.splitlines()[-1].startswith(f"error: no room to write {out / 'items.jsonl'} (File too large)")
    assert "Traceback" not in err
    kept = read(out)
    assert 0 < len(kept) < 12
    finish(begin, source, out)
    assert read(out)[: len(kept)] == kept


@pytest.mark.slow
def test_one_interrupt_drains_and_two_abort(begin, make_input, tmp_path):
    source, out = make_input(60), tmp_path / "out"
    child = begin("batch", "run", source, "--out", out, *OPTIONS)
    wait_for(child, out, 2)
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "note: finishing the items in flight; Ctrl-C again stops at once\n" in err
    assert "interrupted, the same command goes on" in err.splitlines()[-1]
    drained = lines(out)
    assert drained < 60
    child = begin("batch", "run", source, "--out", out, *OPTIONS)
    wait_for(child, out, drained + 2)
    os.killpg(child.pid, signal.SIGINT)
    os.killpg(child.pid, signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err
    finish(begin, source, out)


def test_a_second_process_is_refused(begin, make_input, tmp_path):
    source, out = make_input(400), tmp_path / "out"
    first = begin("batch", "run", source, "--out", out, *OPTIONS)
    wait_for(first, out, 1)
    second = begin("batch", "run", source, "--out", out, *OPTIONS)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"is being written by another process ({os.uname().nodename} process {first.pid})" in err
