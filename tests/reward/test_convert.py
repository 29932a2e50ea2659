"""Conversion: what files carry, how they are stored, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ramify.cli import main
from ramify.engine.library.convert.safetensors import SafetensorsFile, write_safetensors
from ramify.errors import ModelLoadError, UsageError

gguf = pytest.importorskip("gguf")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import numpy as np  # noqa: E402

from ramify.engine.library.convert.checkpoint import Checkpoint  # noqa: E402
from ramify.engine.library.convert.converting import ConvertOptions, convert_reward  # noqa: E402
from ramify.engine.library.convert.vocabulary import TokenKind, VocabularyTables, read_vocabulary  # noqa: E402
from ramify.engine.runtime.llama.config import ModelConfig  # noqa: E402
from ramify.engine.runtime.llama.gguf_check import check_gguf  # noqa: E402
from ramify.engine.runtime.llama.native import Model  # noqa: E402
from ramify.reward.spec_loading import spec_from_metadata  # noqa: E402

from .tiny_checkpoints import LLAMA3, QWEN2, byte_level, save, seeded, sentencepiece, settings, texts  # noqa: E402


def value_model(folder: Path, **changes: Any) -> Any:
    """Write a checkpoint with a value head and return its language model."""
    tokenizer = byte_level(QWEN2, ["<|endoftext|>", "<|im_end|>"])
    seeded()
    config = transformers.Qwen2Config(**settings(tokenizer.get_vocab_size() + 12, **changes))
    model = transformers.Qwen2ForCausalLM(config).eval()
    head = {"v_head.summary.weight": torch.ones(1, 32), "v_head.summary.bias": torch.tensor([0.25])}
    save(folder, tokenizer, model, bos="<|endoftext|>", eos="<|im_end|>", extra=head)
    return model


def tensors_of(path: Path) -> dict[str, Any]:
    found = {each.name: each for each in gguf.GGUFReader(path).tensors}
    return {name: gguf.quants.dequantize(each.data, each.tensor_type) for name, each in found.items()}


def test_a_value_head_takes_a_row_that_no_token_uses(tmp_path: Path) -> None:
    model = value_model(tmp_path / "m")
    converted = convert_reward(tmp_path / "m", tmp_path / "m.gguf")
    spec = spec_from_metadata(check_gguf(tmp_path / "m.gguf").metadata)
    assert spec == converted.spec
    # 420 tokens and 12 rows of padding: the first of these holds the head, and the constant is the spec's.
    assert (spec.good, spec.bad, spec.activation, spec.offset) == (420, None, "sigmoid", 0.25)
    output, original = tensors_of(tmp_path / "m.gguf")["output.weight"], model.lm_head.weight.detach().numpy()
    assert (output[420] == 1.0).all()
    assert np.delete(output, 420, 0) == pytest.approx(np.delete(original, 420, 0), abs=1e-3)


def test_matrices_are_quantized_except_the_one_that_scores_are_read_from(tmp_path: Path) -> None:
    value_model(tmp_path / "m")
    convert_reward(tmp_path / "m", tmp_path / "m.gguf", ConvertOptions(kind="q8_0"))
    kinds = {each.name: each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["output.weight"] == "F16"
    assert kinds["blk.0.ffn_down.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["output_norm.weight"] == kinds["blk.0.attn_q.bias"] == "F32"


def test_weights_may_lie_in_several_files_and_in_bfloat16(tmp_path: Path) -> None:
    model = value_model(tmp_path / "m").to(torch.bfloat16)
    head = SafetensorsFile(tmp_path / "m" / "model.safetensors").tensor("v_head.summary.weight")
    (tmp_path / "m" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "m", max_shard_size="50KB")
    write_safetensors(tmp_path / "m" / "value.safetensors", {"v_head.summary.weight": head})
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 1
    convert_reward(tmp_path / "m", tmp_path / "m.gguf")
    ours = tensors_of(tmp_path / "m.gguf")["blk.1.ffn_up.weight"]
    assert ours == pytest.approx(model.model.layers[1].mlp.up_proj.weight.float().detach().numpy(), abs=1e-4)


@pytest.mark.parametrize(
    "make", [lambda: byte_level(QWEN2, ["<s>"]), lambda: byte_level(LLAMA3, ["<s>"]), sentencepiece]
)
def test_texts_become_the_same_tokens_as_with_transformers(tmp_path: Path, make: Callable[[], Any]) -> None:
    tokenizer = make()
    config = transformers.LlamaConfig(**settings(tokenizer.get_vocab_size()))
    wrapped = save(tmp_path / "m", tokenizer, transformers.LlamaForCausalLM(config), bos="<s>", eos="<s>")
    spec = {
        "name": "any", "prompt_template": "{question}", "step_template": "{step}<s>", "tag": "<s>", "good": 1, "bad": 2,
        "context_limit": 9,
    }  # fmt: skip
    convert_reward(tmp_path / "m", tmp_path / "m.gguf", ConvertOptions(spec=json.dumps(spec)))
    model = Model(ModelConfig(path=str(tmp_path / "m.gguf")), vocabulary_only=True)
    for question, steps in texts(40, seed=7):
        text = "\n".join([question, *steps, " ки\n\n\n\nü 12345  x"])
        assert model.vocabulary.encode(text, special=False) == wrapped.encode(text, add_special_tokens=False)
    model.close()


def test_rows_are_spared_in_the_order_padding_reserved_unknown_control() -> None:
    kinds = [TokenKind.CONTROL, TokenKind.UNKNOWN, TokenKind.NORMAL, TokenKind.CONTROL, TokenKind.UNUSED]
    tables = VocabularyTables(
        model="llama", pre=None, tokens=["<s>", "<unk>", "a", "<reserved_1>", "[PAD4]"], kinds=kinds
    )
    assert tables.spare_rows(4) == [4, 3, 1, 0]
    with pytest.raises(UsageError, match="4 spare rows and the head needs 5"):
        tables.spare_rows(5)


def change(folder: Path, file: str, **fields: Any) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **fields}), "utf-8")


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("config.json", {"model_type": "mamba"}, "type 'mamba', which cannot be converted here"),
        ("config.json", {"rope_parameters": {"rope_type": "yarn"}}, "positions by 'yarn'"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "a Whitespace splitter"),
        ("tokenizer.json", {"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}, "type 'Unigram'"),
        ("tokenizer.json", {"added_tokens": [{"id": 9999, "content": "x"}]}, "10000 tokens and the model 432"),
    ],
)
def test_what_cannot_be_converted_is_refused_before_anything_is_written(
    tmp_path: Path, file: str, fields: dict[str, Any], message: str
) -> None:
    value_model(tmp_path / "m")
    change(tmp_path / "m", file, **fields)
    with pytest.raises(UsageError, match=message):
        convert_reward(tmp_path / "m", tmp_path / "m.gguf")
    assert not list(tmp_path.glob("m.gguf*"))


def test_a_language_model_of_no_known_name_needs_a_spec(tmp_path: Path) -> None:
    tokenizer = sentencepiece()
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**settings(tokenizer.get_vocab_size())))
    save(tmp_path / "m", tokenizer, model, bos="<s>", eos="</s>")
    with pytest.raises(UsageError, match=r"fits math-shepherd, llemma-rebase\).*--spec"):
        convert_reward(tmp_path / "m", tmp_path / "m.gguf")
    with pytest.raises(UsageError, match="tag token"):
        convert_reward(tmp_path / "m", tmp_path / "m.gguf", ConvertOptions(spec="versaprm"))


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        Checkpoint(tmp_path / "none")
    value_model(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelLoadError, match="does not lie in the file; it is truncated"):
        Checkpoint(tmp_path / "m")
    weights.write_bytes(b"\xff" * 20)
    with pytest.raises(ModelLoadError, match="its header claims"):
        Checkpoint(tmp_path / "m")
    weights.unlink()
    with pytest.raises(UsageError, match=r"no \.safetensors file"):
        Checkpoint(tmp_path / "m")


def test_the_begin_token_is_the_tokenizers_own(tmp_path: Path) -> None:
    value_model(tmp_path / "m")
    assert read_vocabulary(Checkpoint(tmp_path / "m"), 432).bos == 0
    # A tokenizer that says it has none wins over the model's settings.
    change(tmp_path / "m", "tokenizer_config.json", bos_token=None)
    change(tmp_path / "m", "config.json", bos_token_id=5)
    assert read_vocabulary(Checkpoint(tmp_path / "m"), 432).bos is None


def test_the_command_writes_the_file_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value_model(tmp_path / "m")
    capsys.readouterr()
    out = tmp_path / "m.gguf"
    assert main(["reward", "convert", str(tmp_path / "m"), "--out", str(out), "--type", "q8_0"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "format skywork-o1-prm" in captured.err
    assert check_gguf(out).architecture == "qwen2"
