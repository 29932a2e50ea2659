"""KV states of long prefixes: written by one process, read by the next one, and left alone where they do not fit."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.serve import stored_results
from ramify.engine.runtime.serve.client import Runtime
from ramify.engine.runtime.serve.processes import Isolation
from ramify.engine.store.rows import RowStore
from ramify.engine.store.states import LEAST_TOKENS, read_state, state_file, state_files, write_state

from .driving import config_of, expand, step_request

PREFIX = tuple(5 + number * 7 % 240 for number in range(LEAST_TOKENS + 10))
FIRST, SECOND = (6, 7, 8), (9, 8, 7, 6)


@dataclass(frozen=True)
class Written:
    """Tokens of the steps below a prompt, with what was read for them and what was taken from others."""

    steps: tuple[tuple[int, ...], ...]
    prompt_tokens: int
    reused_tokens: int
    evaluated_tokens: int


async def written(
    folder: Path | None,
    rest: tuple[int, ...],
    *,
    prefix: tuple[int, ...] = PREFIX,
    isolation: Isolation = "thread",
    **settings: Any,
) -> Written:
    """Write two steps in a new engine below a prompt that begins with the prefix."""
    store = None if folder is None else RowStore(folder)
    async with Runtime(isolation, store=store) as runtime:
        loaded = await runtime.load(config_of(resolve_model("demo-m").path, pools=1, **settings))
        run = await loaded.open_run((*prefix, *rest), shared=len(prefix))
        found = await expand(run, step_request(1), step_request(2))
        evaluated = (await loaded.statistics()).tokens
    if store is not None:
        store.close()
    assert not any(each.reevaluated_tokens for each in found.values())
    return Written(
        tuple(found[child].tokens for child in sorted(found)),
        sum(each.prompt_tokens for each in found.values()),
        sum(each.reused_tokens for each in found.values()),
        evaluated,
    )


def read_anew(result: Written, plain: Written) -> bool:
    """Tell whether a prefix was evaluated, with the same steps as without a store."""
    return result == plain and result.reused_tokens == 0


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """Return the file that a first engine wrote."""
    await written(tmp_path, FIRST)
    (file,) = state_files(tmp_path)
    return file


@pytest.mark.parametrize("isolation", ["process", "thread"])
async def test_the_next_process_reads_the_prefix_from_its_file(tmp_path: Path, isolation: Isolation) -> None:
    plain = await written(None, SECOND)
    first = await written(tmp_path, FIRST, isolation=isolation)
    assert (first.prompt_tokens, first.reused_tokens) == (len(PREFIX) + len(FIRST), 0)
    (file,) = state_files(tmp_path)
    content = file.read_bytes()
    later = await written(tmp_path, SECOND, isolation=isolation)
    assert later.steps == plain.steps
    assert (later.prompt_tokens, later.reused_tokens) == (len(SECOND), len(PREFIX))
    assert later.evaluated_tokens == plain.evaluated_tokens - len(PREFIX)
    # It is not written again.
    assert file.read_bytes() == content


async def test_a_short_prefix_has_no_file(tmp_path: Path) -> None:
    await written(tmp_path, FIRST, prefix=PREFIX[: LEAST_TOKENS - 1])
    assert not state_files(tmp_path)
    await written(tmp_path, FIRST, prefix=PREFIX[:LEAST_TOKENS])
    assert len(state_files(tmp_path)) == 1


def damaged(content: bytes) -> Iterable[bytes]:
    """Yield contents of a file that were changed: a bit anywhere, its end cut off or continued, nothing at all."""
    for place in (0, 20, 40, len(content) // 2, len(content) - 1):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    yield from (b"", content[:10], content[: len(content) // 2], content[:-1], content + b"\0")


async def test_a_damaged_file_is_not_read_and_is_written_anew(tmp_path: Path, state: Path) -> None:
    content = state.read_bytes()
    assert read_state(state) is not None
    for changed in damaged(content):
        state.write_bytes(changed)
        assert read_state(state) is None
    # Nor is the state of another prefix under this one's name.
    other = state_file(tmp_path, bytes(20))
    os.replace(state, other)
    assert read_state(other) is None
    plain = await written(None, SECOND)
    state.write_bytes(content[: len(content) // 2])
    assert read_anew(await written(tmp_path, SECOND), plain)
    assert read_state(state) is not None


async def test_a_state_of_another_length_is_not_used(tmp_path: Path, state: Path) -> None:
    whole = read_state(state)
    assert whole is not None
    plain = await written(None, SECOND)
    # The state of a longer prefix, whole, in the place of this one's; and one that is too short for llama.cpp.
    await written(tmp_path, FIRST, prefix=(*PREFIX, 30, 31))
    (longer,) = {read_state(each) for each in state_files(tmp_path)} - {whole}
    assert longer is not None
    for wrong in (longer, whole[: len(whole) // 2]):
        with RowStore(tmp_path) as rows:
            rows.prune(older_than_s=-1)
        assert not state_files(tmp_path)
        assert write_state(state, wrong)
        assert read_anew(await written(tmp_path, SECOND), plain)


@pytest.mark.parametrize("settings", [{"kv_type": "q8_0"}, {"flash_attention": "on"}], ids=str)
async def test_a_state_of_another_arrangement_is_not_used(
    tmp_path: Path, state: Path, settings: dict[str, Any]
) -> None:
    assert read_anew(await written(tmp_path, SECOND, **settings), await written(None, SECOND, **settings))
    assert len(state_files(tmp_path)) == 2
    again = await written(tmp_path, FIRST, **settings)
    assert again.reused_tokens == len(PREFIX)
    assert state.exists()


@pytest.mark.parametrize("name", ["library_hash", "processor", "model_hash"])
async def test_a_state_of_another_build_processor_or_file_is_not_used(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def another(*_: object) -> str:
        return "another"

    monkeypatch.setattr(stored_results, name, another)
    assert read_anew(await written(tmp_path, SECOND), await written(None, SECOND))
    assert len(state_files(tmp_path)) == 2
    assert state.exists()
