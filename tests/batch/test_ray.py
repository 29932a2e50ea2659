"""Batches on a Ray cluster of this machine: the same answers, and nothing lost when an engine is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from ramify import Budget, MajorityVote, ModelLoadError, generate_problems
from ramify.batch import BatchConfig, run_batch
from ramify.batch.executors import ray_executor
from ramify.cli import main
from ramify.config import EngineConfig, RunConfig
from ramify.engine.library.catalog import list_bundled, resolve_model
from ramify.problem import Problem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.skipif(
        "demo-s" not in {each.name for each in list_bundled()}, reason="the bundled models are not here"
    ),
]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = importlib.import_module("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return generate_problems(steps=(2, 3), count=12, seed=3)


def config(**options: Any) -> BatchConfig:
    budget = Budget(generated_tokens=400)
    settings = {"strategy": MajorityVote(width=4), "parallel": 2, "run": RunConfig(seed=5, budget=budget)}
    return BatchConfig(**{"model": "demo-s", "reward": None, **settings, **options})


def engine_processes() -> list[int]:
    """Processes that hold an engine; Ray names them after the class."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and (each / "cmdline").read_bytes().startswith(b"ray::SearchActor"):
                found.append(int(each.name))
        except OSError:
            continue
    return found


async def test_two_engines_give_the_answers_of_one(ray, problems, rows, tmp_path):
    # One path at a time in each engine, because what is decoded beside a path changes the last bits of its arithmetic.
    single = {"strategy": MajorityVote(width=1), "parallel": 1, "engine": EngineConfig(threads=1)}
    await run_batch(problems, tmp_path / "local", config(**single))
    seen = []
    report = await run_batch(problems, tmp_path / "ray", config(executor="ray", actors=2, **single), watch=seen.append)
    assert (report.done, report.failed) == (12, 0)
    here, there = (
        sorted((row["id"], row["answer"], row["text"], row["seed"]) for row in rows(tmp_path / name))
        for name in ("local", "ray")
    )
    assert here == there
    assert max(each.in_flight for each in seen) >= 1
    while engine_processes():
        await anyio.sleep(0.05)


async def test_the_items_of_an_engine_that_is_killed_are_done_once_all_the_same(ray, problems, rows, tmp_path):
    lost = tmp_path / "attempts.jsonl"
    killed = []

    def watch(progress):
        if progress.done >= 2 and not lost.read_bytes() and (found := engine_processes()):
            killed.append(found[0])
            os.kill(found[0], signal.SIGKILL)

    report = await run_batch(problems, tmp_path, config(executor="ray", actors=2), watch=watch)
    assert killed
    assert (report.done, report.failed, len(rows(tmp_path))) == (12, 0, 12)
    attempts = [json.loads(line) for line in lost.read_text().splitlines()]
    assert {each["error"]["type"] for each in attempts} == {"EngineDied"}
    found = {row["id"]: row["attempt"] for row in rows(tmp_path)}
    assert len(found) == 12
    assert all(found[each["id"]] > each["attempt"] for each in attempts)


async def test_an_item_that_kills_every_engine_fails_in_the_end(ray, problems, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("ramify.batch.batch_run.MOST_DEATHS", 1)

    class Deadly:
        def __reduce__(self):
            return os._exit, (1,)

    bad = replace(problems[0], metadata={"read by an engine": Deadly()})
    report = await run_batch([bad, problems[1]], tmp_path, config(executor="ray", actors=1, parallel=1))
    assert (report.done, report.failed, report.errors) == (2, 1, {"EngineDied": 1})
    assert {row["id"]: row["attempt"] for row in rows(tmp_path)} == {bad.id: 2, problems[1].id: 1}


def marked_processes(mark: str) -> list[str]:
    """Command lines of the processes that have `mark` in their environment."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            if each.name.isdigit() and mark.encode() in (each / "environ").read_bytes():
                found.append((each / "cmdline").read_bytes().decode())
        except OSError:
            continue
    return found


def test_two_interrupts_leave_no_process_and_the_local_executor_goes_on(ray, problems, tmp_path):
    source, out, mark = tmp_path / "in.jsonl", tmp_path / "out", f"batch-{os.getpid()}-{tmp_path.name}"
    many = generate_problems(steps=(4, 5), count=600, seed=3)
    source.write_text("".join(json.dumps({"id": each.id, "question": each.question}) + "\n" for each in many))
    code = "import sys; from ramify.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "batch", "run", source, "--out", out, "-m", "demo-s", "-s", "majority"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"MARK": mark}
    child = subprocess.Popen(
        [*map(str, command), "-w", "4", "--executor", "ray", "--actors", "2"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    with child:
        items = out / "items.jsonl"
        while child.poll() is None and (not items.exists() or items.read_bytes().count(b"\n") < 2):
            time.sleep(0.02)
        assert "raylet" in " ".join(marked_processes(mark))
        os.killpg(child.pid, signal.SIGINT)
        os.killpg(child.pid, signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Traceback" not in err and "Ray" not in err
    while marked_processes(mark):
        time.sleep(0.05)
    done = items.read_bytes().count(b"\n")
    assert 2 <= done < 600
    assert main([*map(str, command[3:]), "-w", "4", "-q", "--limit", str(done + 5)]) == 0
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) > done


async def test_a_shared_budget_is_spent_on_a_cluster_too(ray, problems, rows, tmp_path):
    adaptive = {"allocation": "adaptive", "budget_generated_tokens": 2000, "run": RunConfig(seed=5)}
    report = await run_batch(problems[:4], tmp_path, config(executor="ray", actors=2, **adaptive))
    assert (report.done, report.failed) == (4, 0)
    assert report.usage.policy.generated_tokens <= 2000


async def test_a_model_that_a_node_lacks_is_named(ray, problems, tmp_path, monkeypatch):
    copy = tmp_path / "own.gguf"
    copy.write_bytes(resolve_model("demo-s").path.read_bytes())
    plan = ray_executor.EnginePlan

    def lose(**options: Any) -> Any:
        copy.unlink()
        return plan(**options)

    monkeypatch.setattr(ray_executor, "EnginePlan", lose)
    with pytest.raises(ModelLoadError, match=f"does not have the model {copy}; put it at the same place"):
        await run_batch(problems, tmp_path / "out", config(model=copy, executor="ray", actors=1))


LISTENERS = """
import os, sys
from pathlib import Path
from ramify.batch.executors.ray_executor import _connected, _load_ray

def family(process):
    yield process
    for each in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        if parent == process:
            yield from family(int(each.name))

async def main():
    ray = _load_ray()
    with _connected(ray):
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        sockets = set()
        for process in family(os.getpid()):
            for each in Path(f"/proc/{process}/fd").iterdir():
                try:
                    sockets.add(os.readlink(each).removeprefix("socket:[").rstrip("]"))
                except OSError:
                    pass
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and words[9] in sockets:
                    print("listens", words[1].partition(":")[0])

import asyncio
asyncio.run(main())
"""


@pytest.mark.timeout(240)
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are looked up in /proc")
def test_a_cluster_that_is_started_here_listens_on_this_machine_alone():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", LISTENERS], capture_output=True, text=True, timeout=220, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    addresses = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("listens")}
    assert addresses and addresses <= {"0100007F", "0000000000000000FFFF00000100007F", "0" * 24 + "01000000"}
