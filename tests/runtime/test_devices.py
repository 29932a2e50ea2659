"""Settings of GPUs, flash attention and the KV cache: they reach llama.cpp, and wrong ones are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify.engine.runtime.llama import devices, native
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.library import library, native_lines
from ramify.engine.runtime.llama.native import Context, Model
from ramify.errors import ModelLoadError, UsageError
from ramify.model_settings import KV_TYPES

from .tiny_gguf import Shape, write_tiny

PROMPT = [(7 * place) % 150 + 40 for place in range(100)]


class Recorder:
    """The real library, with as many GPUs as it is told; keeps what models and contexts were made with."""

    def __init__(self, lib: Any, gpus: int) -> None:
        self._real = lib
        self._gpus = gpus
        self.model: Any = None
        self.context: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def llama_supports_gpu_offload(self) -> bool:
        return self._gpus > 0

    def llama_model_load_from_file(self, path: bytes, params: Any) -> Any:
        self.model = params
        return self._real.llama_model_load_from_file(path, params)

    def llama_init_from_model(self, model: Any, params: Any) -> Any:
        self.context = params
        return self._real.llama_init_from_model(model, params)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(gpus: int) -> Recorder:
        lib = Recorder(library(), gpus)
        monkeypatch.setattr(native, "library", lambda: lib)
        monkeypatch.setattr(devices, "gpu_count", lambda lib: gpus)
        return lib

    return install


def load(path: Path, **settings: Any) -> None:
    config = ModelConfig(path=str(path), threads=1, context_tokens=256, **settings)
    model = Model(config)
    try:
        Context(model, config).close()
    finally:
        model.close()


@pytest.mark.parametrize(
    ("gpus", "settings", "expected"),
    [
        (0, {}, {"n_gpu_layers": 0, "split_mode": 1}),
        (2, {}, {"n_gpu_layers": 999, "split_mode": 1}),
        (2, {"gpu_layers": 0}, {"n_gpu_layers": 0}),
        (2, {"gpu_layers": 7}, {"n_gpu_layers": 7}),
        (2, {"main_gpu": 1}, {"n_gpu_layers": 999, "split_mode": 0, "main_gpu": 1}),
        (2, {"gpu_turn": 3}, {"split_mode": 0, "main_gpu": 1}),
        (0, {"gpu_turn": 3}, {"n_gpu_layers": 0, "split_mode": 1}),
    ],
)
def test_gpu_settings_reach_the_loader(
    recorder: Any, tiny: Path, gpus: int, settings: dict[str, Any], expected: dict[str, int]
) -> None:
    lib = recorder(gpus)
    load(tiny, **settings)
    assert {name: getattr(lib.model, name) for name in expected} == expected


def test_shares_reach_the_loader(recorder: Any, tiny: Path) -> None:
    lib = recorder(3)
    load(tiny, tensor_split="3,1,0.5")
    assert [lib.model.tensor_split[place] for place in range(16)] == [3.0, 1.0, 0.5, *[0.0] * 13]
    assert lib.model.split_mode == 1


@pytest.mark.parametrize(
    ("gpus", "settings", "number"),
    [
        (0, {"flash_attention": "off"}, 0),
        (0, {"flash_attention": "on"}, 1),
        # The heads are short, and on a processor flash attention is then the slower way.
        (0, {}, 0),
        (1, {}, -1),
        (1, {"gpu_layers": 0}, 0),
        # llama.cpp switches it on by itself for a cache that needs it.
        (0, {"kv_type": "q8_0"}, -1),
    ],
)
def test_flash_attention_reaches_the_context(
    recorder: Any, tiny: Path, gpus: int, settings: dict[str, Any], number: int
) -> None:
    lib = recorder(gpus)
    load(tiny, **settings)
    assert lib.context.flash_attn_type == number


@pytest.mark.parametrize(
    ("text", "numbers"), [(None, (1, 1)), ("q8_0", (8, 8)), ("Q8_0, q4_0", (8, 2)), ("bf16", (30, 30))]
)
def test_kv_types_reach_the_context(recorder: Any, tiny: Path, text: str | None, numbers: tuple[int, int]) -> None:
    lib = recorder(0)
    load(tiny, kv_type=text)
    assert (lib.context.type_k, lib.context.type_v) == numbers


@pytest.mark.parametrize("settings", [{"main_gpu": 0}, {"tensor_split": "1,1"}])
def test_a_gpu_that_is_not_there_is_named(tiny: Path, settings: dict[str, Any]) -> None:
    if library().llama_supports_gpu_offload():
        pytest.skip("this build has GPUs")
    with pytest.raises(UsageError, match="finds no GPU here"):
        load(tiny, **settings)


def test_more_gpus_than_there_are_is_refused(recorder: Any, tiny: Path) -> None:
    recorder(2)
    with pytest.raises(UsageError, match=r"main_gpu is 2 and llama\.cpp finds 2 GPUs"):
        load(tiny, main_gpu=2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"main_gpu": -1}, "main_gpu is -1"),
        ({"main_gpu": 16}, "0 to 15"),
        ({"main_gpu": 0, "tensor_split": "1,1"}, "both"),
        ({"tensor_split": "1,x"}, "such as 3,1"),
        ({"tensor_split": ""}, "such as 3,1"),
        ({"tensor_split": "0,0"}, "such as 3,1"),
        ({"tensor_split": "1,nan"}, "such as 3,1"),
        ({"tensor_split": "-1,2"}, "such as 3,1"),
        ({"tensor_split": ",".join("1" * 17)}, "at most 16"),
        ({"kv_type": "q9_9"}, "q8_0"),
        ({"kv_type": "f16,f16,f16"}, "one or two"),
        ({"kv_type": ""}, "one or two"),
        ({"flash_attention": "perhaps"}, "auto, on or off"),
        ({"kv_type": "q8_0", "flash_attention": "off"}, "flash attention is off"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_loaded(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        ModelConfig(path="x", **settings)
    assert "\n" not in str(caught.value)


def test_a_kv_type_that_does_not_fit_the_model_is_an_error_of_one_line(tmp_path: Path) -> None:
    # Heads of 16 numbers cannot be cut into blocks of 32.
    narrow = write_tiny(tmp_path / "narrow.gguf", Shape(heads=4))
    with pytest.raises(ModelLoadError, match="no context can be made") as caught:
        load(narrow, kv_type="q8_0")
    assert "\n" not in str(caught.value)


def cache_bytes(path: Path, kv_type: str, cells: int) -> float:
    """Size of keys and values as llama.cpp reports it."""
    config = ModelConfig(path=str(path), threads=1, context_tokens=cells, kv_type=kv_type)
    model = Model(config)
    Context(model, config).close()
    model.close()
    said = "\n".join(line for _, line in native_lines())
    return sum(float(each) for each in re.findall(r"[KV] \(\w+\): +([\d.]+) MiB", said)) * (1 << 20)


def test_a_quantized_cache_takes_less_memory(tiny: Path) -> None:
    full, half, least = (cache_bytes(tiny, each, 4096) for each in ("f16", "q8_0", "q4_0"))
    assert full > 0
    assert half / full == pytest.approx(34 / 64, rel=0.02)
    assert least / full == pytest.approx(18 / 64, rel=0.02)


@pytest.mark.parametrize("kv_type", sorted(KV_TYPES))
def test_every_kv_type_works_and_forks(tiny: Path, kv_type: str) -> None:
    """Forks in a quantized cache give what a fresh prefill in the same cache gives, and nearly what f16 gives."""
    rows: dict[str, Any] = {}
    for each in {"f16", kv_type}:
        config = ModelConfig(path=str(tiny), threads=1, context_tokens=512, kv_type=each)
        model = Model(config)
        context = Context(model, config)
        count = len(PROMPT)
        assert context.decode(PROMPT, list(range(count)), [0] * count, [False] * (count - 1) + [True]) == 0
        rows[each] = context.logits(1)[0].copy()
        context.copy(0, 1, 60)
        assert context.decode(PROMPT[60:], list(range(60, count)), [1] * 40, [False] * 39 + [True]) == 0
        assert np.corrcoef(context.logits(1)[0], rows[each])[0, 1] > 0.999
        context.close()
        model.close()
    assert np.corrcoef(rows["f16"], rows[kv_type])[0, 1] > 0.98


def test_gpus_are_counted_by_the_library_itself() -> None:
    lib = library()
    assert devices.gpu_count(Recorder(lib, 0)) == 0
    if not lib.llama_supports_gpu_offload():
        # Asked all the same, a build for processors alone lists none.
        assert devices.gpu_count(Recorder(lib, 1)) == 0
