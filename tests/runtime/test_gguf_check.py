"""Files that cannot be models are refused with one clear line, before native code sees them."""

from __future__ import annotations

import os
import struct
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ramify.engine.loading import default_sampling
from ramify.engine.runtime.llama import probe
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.gguf_check import _token_parameters, check_gguf
from ramify.engine.runtime.llama.native import Model
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import ModelLoadError
from ramify.sampling_params import TokenSampling

from . import tiny_gguf
from .tiny_gguf import Shape, words, write_tiny


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_sound_file_is_described(sound: Path) -> None:
    from gguf import GGUFReader

    summary = check_gguf(sound)
    assert summary.architecture == "qwen2"
    assert summary.metadata["general.name"] == "tiny"
    assert summary.parameters == sum(int(tensor.n_elements) for tensor in GGUFReader(sound).tensors)
    assert summary.file_bytes == sound.stat().st_size


def test_a_files_recommended_sampling_is_read(tmp_path: Path) -> None:
    numbers = {"general.sampling.temp": 0.3, "general.sampling.top_p": 0.9}
    path = write_tiny(tmp_path / "a.gguf", numbers=numbers)
    assert default_sampling(path) == TokenSampling(temperature=0.3, top_p=0.9)


def test_an_input_embedding_counts_for_a_token_only_where_it_is_the_output_too(sound: Path, tmp_path: Path) -> None:
    untied, tied = check_gguf(sound), check_gguf(write_tiny(tmp_path / "tied.gguf", tied=True))
    embedding = len(words()) * Shape().width
    assert untied.token_parameters == untied.parameters - embedding
    assert tied.token_parameters == tied.parameters == untied.token_parameters


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a GGUF file"),
        (b"GGUF", "is not a GGUF file"),
        (b"PK\x03\x04" + bytes(100), "is not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "GGUF version 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 0), "claims"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 40), "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "architecture"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "truncated"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelLoadError, match=message) as caught:
        check_gguf(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="there is no file"):
        check_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelLoadError, match="is a folder"):
        check_gguf(tmp_path)
    with pytest.raises(ModelLoadError, match="cannot be the path"):
        check_gguf("a\0b.gguf")
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(ModelLoadError, match="not a regular file"):
        check_gguf(tmp_path / "pipe.gguf")


def test_a_truncated_file_is_refused_wherever_it_is_cut(sound: Path, tmp_path: Path) -> None:
    data = sound.read_bytes()
    file = tmp_path / "cut.gguf"
    for size in [*range(24, len(data), len(data) // 40), len(data) - 1]:
        file.write_bytes(data[:size])
        with pytest.raises(ModelLoadError, match="truncated"):
            check_gguf(file)


def test_a_changed_file_is_read_again(sound: Path, tmp_path: Path) -> None:
    file = tmp_path / "changing.gguf"
    file.write_bytes(sound.read_bytes())
    check_gguf(file)
    file.write_bytes(sound.read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match="truncated"):
        check_gguf(file)


def test_a_token_with_two_ids_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="twice"):
        check_gguf(write_tiny(tmp_path / "twice.gguf", damage="twice"))


@pytest.mark.parametrize("exchange", ["rename", "rewrite", "touch", "delete"])
def test_a_file_exchanged_after_its_check_is_not_loaded(sound: Path, tmp_path: Path, exchange: str) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(sound.read_bytes())
    config, summary = ModelConfig(path=str(file), threads=1), check_gguf(file)
    Model(config, summary).close()
    match exchange:
        case "rename":
            other = tmp_path / "other.gguf"
            other.write_bytes(sound.read_bytes())
            os.utime(other, ns=(summary.modified_ns, summary.modified_ns))
            other.replace(file)
        case "rewrite":
            file.write_bytes(sound.read_bytes())
        case "touch":
            os.utime(file, ns=(0, 0))
        case _:
            file.unlink()
    with pytest.raises(ModelLoadError, match=r"exchanged after|cannot be read any more") as caught:
        Model(config, summary)
    assert "\n" not in str(caught.value)


async def test_a_file_exchanged_while_the_worker_starts_is_not_loaded(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(sound.read_bytes())

    def exchange(path: str) -> str:
        os.utime(path, ns=(0, 0))
        return "all"

    monkeypatch.setattr(probe, "usable_buffers", exchange)
    async with Runtime("process") as runtime:
        with pytest.raises(ModelLoadError, match="exchanged after"):
            await runtime.load(ModelConfig(path=str(file), threads=1))
        monkeypatch.undo()
        await runtime.load(ModelConfig(path=str(file), threads=1))


@pytest.mark.parametrize("token", ["bos", "eos"])
@pytest.mark.parametrize("number", [(1 << 31) - 1, len(words()), 1 << 31])
def test_a_special_token_outside_the_vocabulary_is_refused(tmp_path: Path, token: str, number: int) -> None:
    key = f"tokenizer.ggml.{token}_token_id"
    with pytest.raises(ModelLoadError, match=f"{key} is {number}") as caught:
        check_gguf(write_tiny(tmp_path / "a.gguf", numbers={key: number}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("token", ["eot", "eom", "unknown", "seperator", "padding", "mask", "fim_pre"])
@pytest.mark.parametrize("number", [(1 << 31) - 1, len(words()), 1 << 31])
def test_other_special_tokens_outside_the_vocabulary_are_none(tmp_path: Path, token: str, number: int) -> None:
    """A fine-tune may name a padding token that was never added; llama.cpp warns and goes on."""
    file = write_tiny(tmp_path / "a.gguf", numbers={f"tokenizer.ggml.{token}_token_id": number})
    with closing(Model(ModelConfig(path=str(file), threads=1), check_gguf(file))) as model:
        assert model.vocabulary.encode("ab", special=False)


def test_empty_tokens_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_gguf, "SPECIAL", ("<|end|>", "", "", "<|bad|>"))
    file = write_tiny(tmp_path / "a.gguf")
    with closing(Model(ModelConfig(path=str(file), threads=1), check_gguf(file))) as model:
        assert model.vocabulary.encode("ab", special=False)


@pytest.mark.parametrize("part_tensors", [1, 5, 20])
def test_a_split_model_has_the_figures_of_the_whole(tmp_path: Path, part_tensors: int) -> None:
    whole = check_gguf(write_tiny(tmp_path / "whole.gguf"))
    file = write_tiny(tmp_path / "split.gguf", part_tensors=part_tensors)
    split = check_gguf(file)
    figures = [
        (each.parameters, each.token_parameters, each.tensor_types, sorted(map(str, each.matrices)))
        for each in (split, whole)
    ]
    assert figures[0] == figures[1]
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) > 1 and split.file_bytes == sum(part.stat().st_size for part in parts)
    Model(ModelConfig(path=str(file), threads=1), split).close()
    os.utime(parts[-1], ns=(2 * 10**18, 2 * 10**18))
    with pytest.raises(ModelLoadError, match="exchanged after"):
        split.verify_same(file)


def test_a_token_is_multiplied_with_the_experts_that_it_uses_alone() -> None:
    sizes = {"token_embd.weight": 100, "output.weight": 100, "blk.0.ffn_up_exps.weight": 800, "blk.0.attn_q.weight": 50}
    facts = {"general.architecture": "qwen3moe", "qwen3moe.expert_count": 8, "qwen3moe.expert_used_count": 2}
    assert _token_parameters(sizes, facts) == 100 + 200 + 50
    assert _token_parameters(sizes, {"general.architecture": "qwen3moe"}) == 100 + 800 + 50


def test_an_id_that_stands_for_no_token_is_none(tmp_path: Path) -> None:
    check_gguf(write_tiny(tmp_path / "a.gguf", numbers={"tokenizer.ggml.padding_token_id": (1 << 32) - 1}))


@pytest.mark.parametrize(
    "numbers",
    [
        {"block_count": 0xFFFFFF},
        {"block_count": 600},
        {"block_count": 0},
        {"block_count": 2.5e30},
        {"expert_count": 5000},
        {"expert_used_count": 5},
        {"embedding_length": 1 << 30},
        {"feed_forward_length": 1 << 31},
        {"attention.head_count": 1 << 20},
        {"attention.head_count_kv": 1 << 20},
        {"attention.key_length": 0},
        {"attention.key_length": 16, "attention.value_length": 32},
        {"rope.dimension_count": 1 << 20},
        {"rope.dimension_count": 16, "attention.key_length": 32},
    ],
)
def test_counts_over_which_llama_cpp_aborts_are_refused(tmp_path: Path, numbers: dict[str, float]) -> None:
    path = write_tiny(tmp_path / "a.gguf", numbers={f"qwen2.{name}": number for name, number in numbers.items()})
    with pytest.raises(ModelLoadError, match="damaged") as caught:
        check_gguf(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 12_000), noise=st.binary(min_size=1, max_size=16))
def test_noise_in_the_header_is_an_error_or_harmless(sound: Path, tmp_path: Path, at: int, noise: bytes) -> None:
    data = bytearray(sound.read_bytes())
    data[at : at + len(noise)] = noise
    file = tmp_path / "noise.gguf"
    file.write_bytes(data)
    try:
        check_gguf(file)
    except ModelLoadError as error:
        assert "\n" not in error.message
