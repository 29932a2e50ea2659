"""Reward heads: those in a checkpoint, and copies of a GGUF file with a head and its format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ramify.errors import UsageError
from ramify.files import replacing
from ramify.reward.spec_loading import METADATA_KEY
from ramify.reward.specs import RewardSpec

from ...runtime.llama.gguf_check import check_gguf
from .checkpoint import Checkpoint
from .gguf_copy import GgufLayout, copy_gguf, gguf_layout
from .safetensors import Array, write_safetensors
from .vocabulary import TokenKind, VocabularyTables
from .writing import OUTPUT, gguf_library

Floats = npt.NDArray[np.float32]

HeadKind = Literal["none", "value", "labels", "answer", "mlp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardHead:
    """Reward head of a checkpoint.

    "value" has one output at each step, "labels" two, "answer" one for a whole answer; "mlp" is a network.
    `rows` [outputs, width] and `biases` [outputs] belong to a linear head, `layers` the tensors of a network.
    """

    kind: HeadKind
    rows: Floats = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    biases: Floats = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    layers: Mapping[str, Floats] = field(default_factory=dict[str, Floats])


def head_of(checkpoint: Checkpoint) -> RewardHead:
    """Return the reward head of a checkpoint.

    Raises:
        UsageError: if it has one that cannot be converted.
    """
    names = set(checkpoint.names)
    if "v_head.summary.weight" in names:
        return _linear(checkpoint, "value", "v_head.summary")
    if "score.0.weight" in names:
        scores = sorted(name for name in names if name.startswith("score."))
        layers = {name.removeprefix("score."): _floats(checkpoint, name) for name in scores}
        return RewardHead(kind="mlp", layers=layers)
    if "score.weight" not in names:
        return RewardHead(kind="none")
    labels = checkpoint.shape("score.weight")[0]
    if checkpoint.architecture.endswith("ForTokenClassification") and labels == 2:
        return _linear(checkpoint, "labels", "score")
    if labels == 1:
        whole = checkpoint.architecture.endswith("ForSequenceClassification")
        return _linear(checkpoint, "answer" if whole else "value", "score")
    raise UsageError(
        f"{checkpoint.folder} has a head of {labels} outputs ({checkpoint.architecture or 'of no known class'}), "
        "which is not known as a reward head",
        "convert models with one value, or with two labels, bad and good",
    )


def _linear(checkpoint: Checkpoint, kind: HeadKind, name: str) -> RewardHead:
    rows = _floats(checkpoint, f"{name}.weight")
    has_bias = f"{name}.bias" in checkpoint.names
    biases = _floats(checkpoint, f"{name}.bias") if has_bias else np.zeros(len(rows), dtype=np.float32)
    return RewardHead(kind=kind, rows=rows, biases=biases)


def _floats(checkpoint: Checkpoint, name: str) -> Floats:
    return np.asarray(checkpoint.tensor(name), dtype=np.float32)


EMBEDDING = "token_embd.weight"


def spare_rows(path: Path, count: int) -> list[int]:
    """Return `count` ids whose rows in a file's output matrix belong to no token of a text.

    Raises:
        ModelLoadError: if the file is no GGUF file.
        UsageError: if there are fewer such ids.
    """
    layout = gguf_layout(path)
    tokens = [token.decode("utf-8", "replace") for token in layout.strings("tokenizer.ggml.tokens")]
    kinds = [TokenKind(each) for each in layout.integers("tokenizer.ggml.token_type")]
    tables = VocabularyTables(model="", pre=None, tokens=tokens, kinds=kinds)
    return tables.spare_rows(count)


@dataclass(frozen=True, slots=True)
class HeadFiles:
    """Tensors of a head: `rows` [width] of the output matrix by token id, or the `layers` of a network by name."""

    rows: Mapping[int, Array]
    layers: Mapping[str, Array]


def copy_with_head(source: Path, target: Path, spec: RewardSpec, head: HeadFiles) -> None:
    """Copy the GGUF file `source` to `target` with `head` and `spec`; all other tensors stay as they are.

    With rows, the output matrix is stored in 16 bits, so that scores are exact; a file with tied embeddings gets an
    output matrix of its own.

    Raises:
        ModelLoadError: if `source` is no GGUF file.
        UsageError: if `target` is `source`, or the rows do not fit the output matrix.
    """
    layout = gguf_layout(source)
    if source.resolve() == target.resolve():
        raise UsageError(f"{target} is the model itself", "choose another file for the output")
    tensors = {OUTPUT: _with_rows(layout, head.rows)} if head.rows else {}
    with replacing(target, private=False) as part:
        with part.open("wb") as out:
            copy_gguf(layout, out, METADATA_KEY, spec.model_dump_json(exclude_defaults=True), tensors)
        if head.layers:
            assert spec.head_file is not None
            write_safetensors(target.parent / spec.head_file, head.layers)


def copied_bytes(source: Path, *, rows: bool) -> int:
    """Return how many bytes the copy of a file with a head has at most; `rows` says whether rows hold the head.

    Raises:
        ModelLoadError: if `source` is no GGUF file.
    """
    facts = check_gguf(source)
    tokens = max((each.rows for each in facts.matrices if each.name in (OUTPUT, EMBEDDING)), default=0)
    width = int(facts.metadata.get(f"{facts.architecture}.embedding_length", 0))
    return facts.file_bytes + (2 * tokens * width if rows else 0)


def _with_rows(layout: GgufLayout, rows: Mapping[int, Array]) -> Array:
    """Return a file's output matrix in 16 bits with other rows."""
    name = OUTPUT if OUTPUT in layout.tensors else EMBEDDING
    gguf = gguf_library()
    kind = gguf.GGMLQuantizationType(layout.tensors[name].kind)
    width, count = layout.tensors[name].shape[:2]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = layout.data_of(name, count * width // block * size).reshape(count, -1)
    matrix = np.array(gguf.quants.dequantize(data, kind), dtype=np.float16).reshape(count, width)
    for id, row in rows.items():
        if id >= count or row.shape != (width,):
            raise UsageError(f"the head does not fit the output matrix {matrix.shape}", "train it on this model")
        matrix[id] = row
    return matrix
