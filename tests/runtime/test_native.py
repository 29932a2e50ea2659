"""llama.cpp behind its guards: forks, vocabularies, and what would abort the process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Context, Model, model_info
from ramify.errors import InternalError, ModelLoadError, UsageError

from .tiny_gguf import write_tiny


@pytest.fixture
def context(model: Model, tiny: Path) -> Iterator[Context]:
    context = Context(model, ModelConfig(path=str(tiny), threads=1, context_tokens=512))
    yield context
    context.close()


def feed(context: Context, sequence: int, start: int, tokens: list[int]) -> np.ndarray:
    count = len(tokens)
    places = list(range(start, start + count))
    assert context.decode(tokens, places, [sequence] * count, [False] * (count - 1) + [True]) == 0
    return context.logits(1)[0].copy()


def test_a_fork_gives_the_logits_of_a_fresh_prefill(context: Context) -> None:
    prompt, tail = [5, 60, 70, 33, 90], [40, 41, 42]
    feed(context, 0, 0, prompt)
    context.copy(0, 1, 4)
    assert context.length(1) == 4
    forked = feed(context, 1, 4, tail)
    fresh = feed(context, 2, 0, prompt[:4] + tail)
    assert forked == pytest.approx(fresh, abs=2e-3)
    # The source goes on as if nothing had happened.
    assert feed(context, 0, 5, [50]) == pytest.approx(feed(context, 3, 0, [*prompt, 50]), abs=2e-3)


def test_a_cut_sequence_goes_on_from_the_cut(context: Context) -> None:
    first = feed(context, 0, 0, [5, 6, 7, 8])
    feed(context, 0, 4, [9, 10])
    context.cut(0, 3)
    assert feed(context, 0, 3, [8]) == pytest.approx(first, abs=2e-3)
    context.cut(0, 0)
    assert context.length(0) == 0


def test_a_full_cache_says_so_and_goes_on(model: Model, tiny: Path) -> None:
    context = Context(model, ModelConfig(path=str(tiny), threads=1, context_tokens=256))
    try:
        feed(context, 0, 0, [3] * 250)
        assert context.decode([3] * 10, list(range(10)), [1] * 10, [True] * 10) == 1
        context.cut(0, 0)
        assert context.decode([3] * 10, list(range(10)), [1] * 10, [True] * 10) == 0
    finally:
        context.close()


def test_what_would_abort_is_an_error(context: Context) -> None:
    for tokens, sequences in (([], []), ([-1], [0]), ([262], [0]), ([1], [-1]), ([1], [context.sequences])):
        with pytest.raises(InternalError):
            context.decode(tokens, [0] * len(tokens), sequences, [True] * len(tokens))
    too_many = context.batch_tokens + 1
    with pytest.raises(InternalError):
        context.decode([1] * too_many, list(range(too_many)), [0] * too_many, [True] * too_many)
    with pytest.raises(InternalError):
        context.copy(0, 256, 0)
    with pytest.raises(InternalError):
        context.cut(-1, 0)


def test_a_model_describes_itself(model: Model, context: Context, tiny: Path) -> None:
    info = model_info(model, context, str(tiny))
    assert (info.name, info.architecture, info.vocabulary_size) == ("tiny", "qwen2", 262)
    assert model.vocabulary.ends == {258}
    assert [each for each in range(262) if model.vocabulary.is_end(each)] == [258]
    assert info.eos == 258
    assert not info.add_bos
    assert info.context_tokens == 256
    assert info.cells == 512
    assert info.parameters == model.summary.parameters > 100_000


def test_special_tokens_in_plain_text_are_plain(model: Model) -> None:
    vocabulary = model.vocabulary
    assert 258 not in vocabulary.encode("a<|end|>b", special=False)
    assert vocabulary.encode("a<|end|>b", special=True).count(258) == 1
    assert vocabulary.piece(258) == b"<|end|>"
    assert vocabulary.piece(258, special=False) == b""
    with pytest.raises(InternalError):
        vocabulary.piece(262)


@settings(max_examples=80, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
def test_text_survives_the_vocabulary(model: Model, text: str) -> None:
    tokens = model.vocabulary.encode(text, special=False)
    assert b"".join(model.vocabulary.piece(token) for token in tokens).decode() == text


def test_odd_texts_do_no_harm(model: Model) -> None:
    encode = model.vocabulary.encode
    assert encode("", special=False) == []
    assert encode("a\udc80b", special=False) == encode("a?b", special=False)
    assert len(encode("x" * 1_000_000, special=False)) == 1_000_000
    assert encode("a\0b", special=False) == [
        encode("a", special=False)[0],
        encode("\0", special=False)[0],
        encode("b", special=False)[0],
    ]


@pytest.mark.parametrize(
    ("architecture", "damage", "message"),
    [
        ("nosuch", "", "unknown model architecture: 'nosuch'"),
        ("qwen2", "bare", "no vocabulary"),
        ("llama", "", "cannot be loaded"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(tmp_path: Path, architecture: str, damage: str, message: str) -> None:
    path = write_tiny(tmp_path / "bad.gguf", architecture=architecture, damage=damage)
    with pytest.raises(ModelLoadError, match=message) as caught:
        Model(ModelConfig(path=str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings_",
    [
        {"context_tokens": 10},
        {"threads": 0},
        {"max_lanes": 0},
        {"max_lanes": 300},
        {"gpu_layers": -1},
        {"batch_tokens": 0},
    ],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        ModelConfig(path="x", **settings_)


def test_native_code_says_nothing_on_the_terminal(tiny: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = ModelConfig(path=str(tiny), threads=1, context_tokens=256)
    model = Model(config)
    Context(model, config).close()
    model.close()
    assert capfd.readouterr() == ("", "")
