"""Ends of a worker: native aborts, kill -9, a hang, the end of its parent. Nothing is left behind."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

import ramify
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.messages import StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.loaded_model import LoadedModel
from ramify.engine.runtime.serve.processes import ProcessWorker
from ramify.errors import ExitCode, ModelCrashed
from ramify.events import NodeAdded

from .driving import PROMPT, config_of, expand, given_up, loaded_model, step_request, until, worker_pid

PROBLEM = ramify.generate_problems(steps=(3, 5), count=1, seed=31)[0]

ABORTING = """
import os
from pathlib import Path

marks = Path(os.environ["RAMIFY_TEST_MARKS"])

def install():
    from ramify.engine.runtime.llama import native

    decode, count = native.Context.decode, 0

    def decode_or_abort(self, *batch):
        nonlocal count
        count += 1
        mark = next(iter(marks.iterdir()), None)
        if mark is not None and count == 20:
            mark.unlink()
            # A sequence that no context has: GGML_ASSERT in llama.cpp itself.
            self._lib.llama_memory_seq_rm(self.memory, 4096, 0, -1)
        return decode(self, *batch)

    native.Context.decode = decode_or_abort

import sys
if sys.argv[:1] == ["-m"]:
    install()
"""


def workers_of(pid: int) -> list[int]:
    """Return the worker processes below a process, zombies left out."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        try:
            state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
            words = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if int(parent) == pid and state != "Z" and b"runtime.serve.worker" in words:
            found.append(int(folder.name))
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Check that no worker, shared memory or open file of a test outlives it."""
    shared, files = shared_memory(), open_files()
    yield
    assert workers_of(os.getpid()) == []
    assert shared_memory() <= shared
    # A test's event loop is still open here.
    assert open_files() <= files + 4


@pytest.fixture
def aborts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let as many workers as asked for abort at their twentieth decode."""
    folder, marks = tmp_path / "site", tmp_path / "marks"
    folder.mkdir()
    marks.mkdir()
    (folder / "sitecustomize.py").write_text(ABORTING)
    monkeypatch.setenv("RAMIFY_TEST_MARKS", str(marks))
    # Workers get this process's path.
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])

    def ask(times: int) -> None:
        for number in range(times):
            (marks / str(number)).touch()

    return ask


async def test_an_assert_in_native_code_costs_a_worker_and_no_result(
    tiny: Path, aborts: Callable[[int], None], caplog: pytest.LogCaptureFixture
) -> None:
    async def tree() -> dict[int, StepResult]:
        async with loaded_model(tiny) as loaded:
            run = await loaded.open_run(PROMPT)
            first = await expand(run, *(step_request(child, max_tokens=8) for child in range(1, 5)))
            return first | await expand(
                run, *(step_request(child, 1 + child % 4, max_tokens=40) for child in range(5, 13))
            )

    expected = await tree()
    aborts(1)
    with caplog.at_level(logging.WARNING, logger="ramify"):
        found = await tree()
    assert "SIGABRT" in caplog.text
    assert "GGML_ASSERT" in caplog.text
    assert sorted(found) == sorted(expected)
    assert [len(found[child].tokens) for child in sorted(found)] == [8] * 4 + [40] * 8
    # The paths that the dead worker had are evaluated again, and nothing else is.
    assert sum(each.prompt_tokens for each in found.values()) == sum(each.prompt_tokens for each in expected.values())
    assert sum(each.reevaluated_tokens for each in found.values()) > 0


async def test_asserts_without_end_are_a_typed_error_with_the_cause(tiny: Path, aborts: Callable[[int], None]) -> None:
    async with loaded_model(tiny) as loaded:
        run = await loaded.open_run(PROMPT)
    aborts(2)
    async with loaded_model(tiny) as loaded:
        run = await loaded.open_run(PROMPT)
        with pytest.raises(ModelCrashed, match=r"died twice .*SIGABRT.*GGML_ASSERT") as caught:
            await expand(run, *(step_request(child, max_tokens=100) for child in range(1, 5)))
        assert caught.value.exit_code == ExitCode.MODEL
        assert "\n" not in str(caught.value)
        # Whoever asks again gets a new worker.
        assert len((await expand(run, step_request(9, max_tokens=30)))[9].tokens) == 30


async def test_hanging_twice_is_a_typed_error(slow: Path) -> None:
    async with Runtime(hang_s=0.5) as runtime:
        loaded = await runtime.load(config_of(slow, context_tokens=4096))
        run = await loaded.open_run(PROMPT)

        async def stop_them() -> None:
            for _ in range(2):
                await until(lambda: loaded.waits)
                pid = worker_pid(loaded)
                os.kill(pid, signal.SIGSTOP)
                await until(lambda pid=pid: worker_pid(loaded) != pid or given_up(loaded))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_them)
            with pytest.raises(ModelCrashed, match=r"no sign of life for 0.5 s"):
                await expand(run, *(step_request(child, max_tokens=200) for child in range(1, 30)))
        # The new worker may take long to start.
        runtime._hang_s = 100.0  # pyright: ignore[reportPrivateUsage]
        assert len((await expand(run, step_request(100, max_tokens=2)))[100].tokens) == 2


async def test_a_search_survives_kill_9_in_mid_decode_with_the_same_answers() -> None:
    async with ramify.Engine(threads=1) as engine:
        policy = engine.policy
        assert isinstance(policy, LlamaPolicy)

        async def search(*, kill_after: int | None) -> ramify.Solution:
            added = 0
            async with engine.run(PROBLEM, strategy=ramify.MajorityVote(width=12), seed=3) as run:
                async for event in run:
                    added += isinstance(event, NodeAdded)
                    worker = policy.model.runtime.worker
                    if added == kill_after and isinstance(worker, ProcessWorker):
                        os.kill(worker.process.pid, signal.SIGKILL)
                        kill_after = None
                return await run.result()

        calm = await search(kill_after=None)
        hit = await search(kill_after=14)
        other = await search(kill_after=None)

    def answers(solution: ramify.Solution) -> list[str]:
        return sorted(str(each.answer) for each in solution.candidates)

    assert answers(calm) == answers(other)
    # Logits differ in their last digits with the shape of a batch, so one draw at an edge may fall to the other side.
    differing = len(answers(calm)) - sum(map(str.__eq__, answers(calm), answers(hit)))
    assert len(hit.candidates) == 12 and differing <= 2
    assert hit.answer == calm.answer
    assert hit.usage.policy.reevaluated_tokens > 0 == calm.usage.policy.reevaluated_tokens


async def test_a_worker_in_mid_decode_ends_when_its_parent_is_killed(slow: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import anyio\n"
        "from ramify.engine.runtime.serve.client import Runtime\n"
        "from ramify.engine.runtime.messages import StepRequest\n"
        "from ramify.engine.runtime.llama.config import ModelConfig\n"
        "async def main():\n"
        "    async with Runtime() as runtime:\n"
        f"        loaded = await runtime.load(ModelConfig(path={str(slow)!r}, threads=1, context_tokens=8192))\n"
        "        run = await loaded.open_run((5, 6, 7))\n"
        "        lengths = [1] + [240] * 300\n"
        "        requests = [StepRequest(parent=0, child=n, seed=n, max_tokens=m) for n, m in enumerate(lengths, 1)]\n"
        "        say = lambda result: print(runtime.worker.process.pid, flush=True)\n"
        "        await run.expand(requests, allowance=None, on_result=say)\n"
        "anyio.run(main)\n"
    )
    async with await anyio.open_process([sys.executable, str(script)], stderr=None) as parent:
        assert parent.stdout is not None
        with anyio.fail_after(60):
            pid = int((await parent.stdout.receive()).split()[0])
        assert workers_of(parent.pid) == [pid]
        parent.kill()
    await until(lambda: not Path(f"/proc/{pid}").exists() or _state(pid) == "Z")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return "Z"


async def test_many_crashes_leave_no_file_or_process_behind(tiny: Path) -> None:
    async with loaded_model(tiny) as loaded:
        run = await loaded.open_run(PROMPT)
        await expand(run, step_request(1, max_tokens=2))
        files = open_files()
        for number in range(2, 6):
            await crash(loaded)
            assert len((await expand(run, step_request(number, max_tokens=2)))[number].tokens) == 2
            assert workers_of(os.getpid()) == [worker_pid(loaded)]
        assert open_files() <= files


async def crash(loaded: LoadedModel) -> None:
    pid = worker_pid(loaded)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: worker_pid(loaded) != pid)
