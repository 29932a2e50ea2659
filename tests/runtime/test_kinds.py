"""Kinds of models: with a sliding window trees branch anywhere; what cannot branch is refused when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ramify.engine.runtime.llama import native
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Context, Model
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import ModelLoadError
from ramify.reward.protocol import ReadRequest
from ramify.sampling_params import TokenSampling

from .driving import config_of, expand, step_request
from .tiny_gguf import write_tiny
from .tiny_kinds import KINDS, WINDOW, write_kind

PROMPT = tuple((7 * place) % 150 + 40 for place in range(3 * WINDOW))
"""Several windows long."""


@pytest.fixture(scope="module")
def kind_file(folder: Path) -> Callable[[str], Path]:
    """Return the file of a kind, written at the first use."""

    def file(architecture: str) -> Path:
        path = folder / f"{architecture}.gguf"
        return path if path.exists() else write_kind(path, architecture)

    return file


@pytest.mark.parametrize("architecture", [name for name, kind in KINDS.items() if kind == "window"])
def test_a_model_with_a_window_forks_behind_it_exactly(kind_file: Callable[[str], Path], architecture: str) -> None:
    config = ModelConfig(path=str(kind_file(architecture)), threads=1, context_tokens=512)
    model = Model(config)
    context = Context(model, config)

    def feed(sequence: int, start: int, tokens: tuple[int, ...]) -> np.ndarray:
        count = len(tokens)
        places = list(range(start, start + count))
        assert context.decode(list(tokens), places, [sequence] * count, [False] * (count - 1) + [True]) == 0
        return context.logits(1)[0].copy()

    assert model.window_tokens == WINDOW
    feed(0, 0, PROMPT)
    for number, kept in enumerate((len(PROMPT) - 1, len(PROMPT) - WINDOW - 3, 2), start=1):
        # Cells that the window has left long ago are needed again by a branch that starts before it.
        context.copy(0, number, kept)
        branch = (*PROMPT[:kept], *range(60, 60 + WINDOW + 5))
        forked = feed(number, kept, branch[kept:])
        fresh = feed(10 + number, 0, branch)
        assert forked == pytest.approx(fresh, abs=5e-3)
    context.close()
    model.close()


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3"])
async def test_a_tree_over_several_windows_evaluates_each_token_once(
    kind_file: Callable[[str], Path], architecture: str
) -> None:
    async with Runtime("thread") as runtime:
        loaded = await runtime.load(config_of(kind_file(architecture)))
        assert loaded.info.window_tokens == WINDOW
        run = await loaded.open_run(PROMPT)
        greedy = TokenSampling(temperature=0.0)
        first = await expand(run, *(step_request(child, max_tokens=2 * WINDOW) for child in range(1, 5)))
        second = await expand(run, *(step_request(child, child % 4 + 1, max_tokens=WINDOW) for child in range(5, 13)))
        last = (await expand(run, step_request(20, 5, max_tokens=1, sampling=greedy)))[20]
        results: list[StepResult] = [*first.values(), *second.values(), last]
        assert sum(each.reevaluated_tokens for each in results) == 0
        assert sum(each.prompt_tokens for each in results) == len(PROMPT)
        # The greedy token below two steps is that of a fresh reading of the whole path.
        path = (*PROMPT, *first[2].tokens, *second[5].tokens)
        fresh = await loaded.open_run(PROMPT[:1])
        ids = tuple(range(loaded.info.vocabulary_size))
        row = (await fresh.read([ReadRequest(node=1, parent=None, tokens=path, read=(len(path) - 1,), ids=ids)]))[0]
        best = max(row.logits[0])
        assert row.logits[0][last.tokens[0]] == pytest.approx(best, abs=5e-3)


@pytest.mark.parametrize("architecture", [name for name, kind in KINDS.items() if kind in ("recurrent", "mixed")])
async def test_what_cannot_branch_is_refused_with_one_line(
    kind_file: Callable[[str], Path], architecture: str, tiny: Path
) -> None:
    async with Runtime("thread") as runtime:
        pid = runtime.worker
        with pytest.raises(ModelLoadError, match=f"recurrent model \\({architecture}\\), which trees cannot") as caught:
            await runtime.load(config_of(kind_file(architecture)))
        assert "\n" not in str(caught.value)
        loaded = await runtime.load(config_of(tiny))
        assert runtime.worker is pid
        run = await loaded.open_run(PROMPT)
        await run.expand(
            [StepRequest(parent=0, child=1, seed=1, max_tokens=2)], allowance=None, on_result=lambda _: None
        )


@pytest.mark.parametrize("architecture", [name for name, kind in KINDS.items() if kind in ("recurrent", "mixed")])
def test_a_kind_that_nobody_knows_to_be_recurrent_is_found_out_by_trying(
    kind_file: Callable[[str], Path], architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "refuse_unfit", lambda *rest: None)
    config = ModelConfig(path=str(kind_file(architecture)), threads=1, context_tokens=256)
    model = Model(config)
    with pytest.raises(ModelLoadError, match="trees cannot branch") as caught:
        Context(model, config)
    assert "\n" not in str(caught.value)
    model.close()


@pytest.mark.parametrize(("architecture", "words"), [("dream", "is a diffusion model"), ("bert", "keeps no KV cache")])
async def test_what_does_not_write_from_left_to_right_is_refused(tmp_path: Path, architecture: str, words: str) -> None:
    file = tmp_path / "model.gguf"
    if architecture in KINDS:
        write_kind(file, architecture)
    else:
        write_tiny(file, architecture=architecture)
    async with Runtime("thread") as runtime:
        with pytest.raises(ModelLoadError, match=words) as caught:
            await runtime.load(config_of(file))
    assert "\n" not in str(caught.value)
