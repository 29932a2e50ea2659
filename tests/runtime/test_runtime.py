"""The whole runtime on real llama.cpp: worker process and thread, both event loops, cancellation and errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.processes import Isolation
from ramify.engine.runtime.serve.token_tree import TokenTree
from ramify.errors import EngineClosed, ModelLoadError, QuestionTooLong, UsageError
from ramify.reward.protocol import ReadRequest
from ramify.sampling_params import StepFormat, TokenSampling

from .driving import PROMPT, config_of, expand, loaded_model, step_request, until
from .tiny_gguf import write_tiny

pytestmark = pytest.mark.asyncio

ANY_A = StepFormat(name="a", pattern="[a-m]")


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_a_tree_grows_and_each_token_is_evaluated_once(tiny: Path, isolation: Isolation) -> None:
    async with loaded_model(tiny, isolation) as loaded:
        run = await loaded.open_run(PROMPT)
        first = await expand(run, *(step_request(child) for child in range(1, 5)))
        assert {len(each.tokens) for each in first.values()} == {12}
        second = await expand(run, *(step_request(child, 1 + child % 2) for child in range(5, 11)))
        results = [*first.values(), *second.values()]
        assert sum(each.prompt_tokens for each in results) == len(PROMPT)
        assert sum(each.reevaluated_tokens for each in results) == 0
        assert all(each.finish_reason == "length" and each.logprob < 0 for each in results)
        statistics = await loaded.statistics()
        # All but the last of every step, and the last ones of the two parents.
        assert statistics.tokens == len(PROMPT) + 10 * 11 + 2
        text = loaded.tokenizer.encode("abc", special=False)
        assert b"".join(loaded.tokenizer.piece(each) for each in text) == b"abc"
        run.close()


async def test_draws_do_not_depend_on_what_else_is_decoded(tiny: Path) -> None:
    async with loaded_model(tiny, "thread") as loaded:
        alone = await loaded.open_run(PROMPT)
        expected = (await expand(alone, step_request(1, max_tokens=6)))[1]
        alone.close()
        busy = [await loaded.open_run(tuple(range(30 + index, 80 + index))) for index in range(3)]
        run = await loaded.open_run(PROMPT)
        async with anyio.create_task_group() as tasks:
            for each in busy:
                tasks.start_soon(
                    lambda each=each: expand(each, *(step_request(child, max_tokens=30) for child in range(2, 8)))
                )
            results = await expand(run, step_request(1, max_tokens=6), *(step_request(child) for child in range(2, 9)))
        assert results[1].tokens == expected.tokens
        assert results[1].logprob == pytest.approx(expected.logprob, abs=0.05)


async def test_steps_end_where_they_should(tiny: Path, ending: Path) -> None:
    async with loaded_model(tiny, "thread") as loaded:
        run = await loaded.open_run(PROMPT)
        results = await expand(run, *(step_request(child, max_tokens=200) for child in range(1, 9)), step=ANY_A)
        for each in results.values():
            assert each.finish_reason == "step"
            pieces = [loaded.tokenizer.piece(token, special=False) for token in each.tokens]
            letters = [any(byte in b"abcdefghijklm" for byte in piece) for piece in pieces]
            assert letters.index(True) == len(pieces) - 1
    async with loaded_model(ending, "thread") as loaded:
        run = await loaded.open_run(PROMPT)
        results = await expand(run, *(step_request(child, max_tokens=60) for child in range(1, 9)))
        ended = [each for each in results.values() if each.finish_reason == "eos"]
        assert ended
        for each in ended:
            assert each.tokens[-1] == loaded.info.eos
            assert loaded.info.eos not in each.tokens[:-1]
            assert "<|end|>" not in each.text


async def test_an_allowance_is_spent_to_the_token(tiny: Path) -> None:
    async with loaded_model(tiny, "thread") as loaded:
        run = await loaded.open_run(PROMPT)
        results = await expand(run, *(step_request(child, max_tokens=50) for child in range(1, 8)), allowance=100)
        assert sum(len(each.tokens) for each in results.values()) == 100
        assert {each.finish_reason for each in results.values()} == {"budget"}


async def test_greedy_takes_the_best_logit(tiny: Path) -> None:
    async with loaded_model(tiny, "thread") as loaded:
        run = await loaded.open_run(PROMPT)
        greedy = TokenSampling(temperature=0.0)
        result = (await expand(run, step_request(1, sampling=greedy, max_tokens=1)))[1]
        ids = tuple(range(loaded.info.vocabulary_size))
        row = (await run.read([ReadRequest(node=9, parent=None, tokens=PROMPT, read=(29,), ids=ids)]))[0]
        logits = row.logits[0]
        assert result.tokens == (logits.index(max(logits)),)


async def test_reads_share_what_is_cached(tiny: Path) -> None:
    async with loaded_model(tiny, "thread") as loaded:
        run = await loaded.open_run(PROMPT)
        child, grandchild = (*PROMPT, 33, 34, 35), (*PROMPT, 33, 34, 35, 36, 37)
        first = await run.read([ReadRequest(node=1, parent=None, tokens=child, read=(32,), ids=(1, 2))])
        assert (first[0].evaluated_tokens, first[0].reevaluated_tokens) == (33, 0)
        second = await run.read([ReadRequest(node=2, parent=1, tokens=grandchild, read=(34,), ids=(1, 2))])
        assert (second[0].evaluated_tokens, second[0].cached_tokens) == (2, 33)
        fresh = await loaded.open_run(PROMPT)
        whole = await fresh.read([ReadRequest(node=2, parent=None, tokens=grandchild, read=(32, 34), ids=(1, 2))])
        assert whole[0].logits[0] == pytest.approx(first[0].logits[0], abs=5e-3)
        assert whole[0].logits[1] == pytest.approx(second[0].logits[0], abs=5e-3)


async def test_a_small_cache_changes_the_cost_and_nothing_else(tiny: Path) -> None:
    async def tree(cells: int) -> tuple[list[tuple[int, ...]], int]:
        async with loaded_model(tiny, "thread", context_tokens=cells) as loaded:
            run = await loaded.open_run(PROMPT)
            results = await expand(run, *(step_request(child, max_tokens=40) for child in range(1, 9)))
            results |= await expand(run, *(step_request(child + 8, child, max_tokens=4) for child in range(1, 9)))
            return [results[child].tokens for child in sorted(results)], sum(
                each.reevaluated_tokens for each in results.values()
            )

    wide, nothing = await tree(2048)
    narrow, again = await tree(256)
    assert (nothing, again > 0) == (0, True)
    assert [len(each) for each in wide] == [len(each) for each in narrow]
    # Logits differ in their last digits with the shape of the batch, so a draw at an edge may fall to the other side,
    # and a random model goes another way from there. That the counts are right, test_decoder.py shows.
    same = sum(left[:4] == right[:4] for left, right in zip(wide[:8], narrow[:8], strict=True))
    assert same >= 6


async def test_cancelled_sequences_end_at_once_and_leave_no_cells(slow: Path) -> None:
    async with loaded_model(slow, "thread", context_tokens=4096) as loaded:
        run = await loaded.open_run(PROMPT)
        delivered: list[StepResult] = []

        def take(result: StepResult) -> None:
            delivered.append(result)
            scope.cancel()

        with anyio.CancelScope() as scope:
            requests = [step_request(1, max_tokens=3), *(step_request(child, max_tokens=200) for child in range(2, 17))]
            await run.expand(requests, allowance=None, on_result=take)
        assert scope.cancelled_caught
        assert [each.child for each in delivered] == [1]
        before = await loaded.statistics()
        await anyio.sleep(0.2)
        assert (await loaded.statistics()).decode_calls == before.decode_calls
        assert len(delivered) == 1
        run.close()
        assert (await loaded.statistics()).sequences_used == 0


async def test_interrupted_sequences_give_what_they_have(slow: Path) -> None:
    async with loaded_model(slow, "thread", context_tokens=4096) as loaded:
        run = await loaded.open_run(PROMPT)
        others = (step_request(child, max_tokens=200) for child in range(2, 9))
        results = await expand(run, step_request(1, max_tokens=3), *others, on_first=run.interrupt)
        assert {results[child].finish_reason for child in range(2, 9)} == {"cancelled"}
        assert len(results) == 8


async def test_progress_is_reported(slow: Path) -> None:
    async with loaded_model(slow, "thread", context_tokens=4096) as loaded:
        run = await loaded.open_run(PROMPT)
        reports: list[tuple[int, int, str]] = []
        await run.expand(
            [step_request(child, max_tokens=60) for child in range(1, 9)],
            allowance=None,
            on_result=lambda _: None,
            on_progress=lambda *report: reports.append(report),
        )
        assert reports
        assert all(1 <= child <= 8 and 0 <= tokens <= 60 for child, tokens, _ in reports)


async def test_logits_that_are_no_numbers_are_an_error_of_the_model(tmp_path: Path, tiny: Path) -> None:
    broken = write_tiny(tmp_path / "nan.gguf", damage="nan")
    async with Runtime() as runtime:
        bad, good = await runtime.load(config_of(broken)), await runtime.load(config_of(tiny))
        run = await bad.open_run(PROMPT)
        with pytest.raises(ModelLoadError, match="not numbers"):
            await expand(run, step_request(1), step_request(2))
        with pytest.raises(ModelLoadError):
            await expand(run, step_request(3))
        assert len(await expand(await good.open_run(PROMPT), step_request(1))) == 1


async def test_two_models_of_one_file_work_side_by_side(tiny: Path) -> None:
    async with Runtime() as runtime:
        left, right = await runtime.load(config_of(tiny)), await runtime.load(config_of(tiny))
        runs = [await left.open_run(PROMPT), await right.open_run(PROMPT)]
        found: list[dict[int, StepResult]] = []

        async def work(run: TokenTree) -> None:
            found.append(await expand(run, *(step_request(child, max_tokens=5) for child in range(1, 5))))

        async with anyio.create_task_group() as tasks:
            for run in runs:
                tasks.start_soon(work, run)
        assert {child: each.tokens for child, each in found[0].items()} == {
            child: each.tokens for child, each in found[1].items()
        }


async def test_wrong_requests_are_refused_and_harm_nobody(tiny: Path) -> None:
    async with loaded_model(tiny, "thread") as loaded:
        with pytest.raises(UsageError, match="empty"):
            await loaded.open_run(())
        with pytest.raises(UsageError, match="vocabulary"):
            await loaded.open_run((1, 262))
        with pytest.raises(QuestionTooLong):
            await loaded.open_run([1] * 257)
        run = await loaded.open_run(PROMPT)
        wrong = [
            (step_request(1, 7), "not in this run"),
            (step_request(0), "taken"),
            (step_request(1, max_tokens=0), "max_tokens"),
            (step_request(1, sampling=TokenSampling(temperature=-1)), "temperature"),
        ]
        for request, message in wrong:
            with pytest.raises(UsageError, match=message):
                await expand(run, request)
        with pytest.raises(UsageError, match="beyond"):
            await run.read([ReadRequest(node=1, parent=None, tokens=PROMPT, read=(30,), ids=(1,))])
        with pytest.raises(UsageError, match="ids"):
            await run.read([ReadRequest(node=1, parent=None, tokens=PROMPT, read=(3,), ids=(262,))])
        odd = StepRequest(parent=0, child=1, seed=-(2**70), max_tokens=3)
        assert len((await expand(run, odd))[1].tokens) == 3
        run.close()
        run.close()
        with pytest.raises(EngineClosed):
            await expand(run, step_request(2))


async def test_an_error_of_the_listener_comes_out_where_it_waits(tiny: Path) -> None:
    def fail(result: StepResult) -> None:
        raise ZeroDivisionError(result.child)

    async with loaded_model(tiny, "thread") as loaded:
        run = await loaded.open_run(PROMPT)
        with pytest.raises(ZeroDivisionError):
            await run.expand([step_request(child) for child in range(1, 5)], allowance=None, on_result=fail)
        assert len(await expand(run, step_request(5))) == 1


async def test_closing_ends_those_who_wait(slow: Path) -> None:
    async with anyio.create_task_group() as tasks:
        async with loaded_model(slow, "thread", context_tokens=4096) as loaded:
            run = await loaded.open_run(PROMPT)
            ended = anyio.Event()

            async def work() -> None:
                with pytest.raises(EngineClosed):
                    await expand(run, *(step_request(child, max_tokens=220) for child in range(1, 30)))
                ended.set()

            tasks.start_soon(work)
            await anyio.sleep(0.1)
        with anyio.fail_after(5):
            await ended.wait()
        with pytest.raises(EngineClosed):
            await loaded.open_run(PROMPT)


async def test_a_bad_file_is_an_error_and_the_runtime_goes_on(tmp_path: Path, tiny: Path) -> None:
    unknown = write_tiny(tmp_path / "unknown.gguf", architecture="nosuch")
    async with Runtime() as runtime:
        with pytest.raises(ModelLoadError, match="there is no file"):
            await runtime.load(config_of(tmp_path / "none.gguf"))
        with pytest.raises(ModelLoadError, match="unknown model architecture"):
            await runtime.load(config_of(unknown))
        loaded = await runtime.load(config_of(tiny))
        assert len(await expand(await loaded.open_run(PROMPT), step_request(1))) == 1


def _on_trio(work: Callable[[], Any]) -> None:
    anyio.run(work, backend="trio")


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_trio_works_the_same(tiny: Path, isolation: Isolation) -> None:
    async def work() -> None:
        async with loaded_model(tiny, isolation) as loaded:
            run = await loaded.open_run(PROMPT)
            assert len(await expand(run, step_request(1), step_request(2))) == 2
            with anyio.move_on_after(0.02):
                await expand(run, *(step_request(child, max_tokens=200) for child in range(3, 40)))
            assert len(await expand(run, step_request(50))) == 1
            run.close()

    # A loop of its own, in a thread: trio does not run inside asyncio.
    await anyio.to_thread.run_sync(_on_trio, work)


async def test_a_script_without_a_guard_works_and_its_output_is_its_own(tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong queue')\n")
    script.write_text(
        "import sys; sys.path.pop(0)\n"
        "import anyio\n"
        "from ramify.engine.runtime.serve.client import Runtime\n"
        "from ramify.engine.runtime.messages import StepRequest\n"
        "from ramify.engine.runtime.llama.config import ModelConfig\n"
        "async def main():\n"
        "    async with Runtime() as runtime:\n"
        f"        loaded = await runtime.load(ModelConfig(path={str(tiny)!r}, threads=1))\n"
        "        run = await loaded.open_run((5, 6))\n"
        "        request = StepRequest(parent=0, child=1, seed=1, max_tokens=3)\n"
        "        await run.expand([request], allowance=None, on_result=lambda r: print(len(r.tokens)))\n"
        "anyio.run(main)\n"
    )
    done = await anyio.run_process([sys.executable, str(script)], cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"3\n", b"")


async def test_the_worker_ends_with_its_parent(tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import anyio\n"
        "from ramify.engine.runtime.serve.client import Runtime\n"
        "from ramify.engine.runtime.llama.config import ModelConfig\n"
        "async def main():\n"
        "    async with Runtime() as runtime:\n"
        f"        await runtime.load(ModelConfig(path={str(tiny)!r}, threads=1))\n"
        "        print(runtime.worker.process.pid, flush=True)\n"
        "        await anyio.sleep(60)\n"
        "anyio.run(main)\n"
    )
    async with await anyio.open_process([sys.executable, str(script)], stderr=None) as parent:
        assert parent.stdout is not None
        pid = int(await parent.stdout.receive())
        parent.kill()
    await until(lambda: not _alive(pid))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False
