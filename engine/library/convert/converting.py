"""Conversion of a Hugging Face checkpoint of a reward model into a GGUF file with its reward format."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ramify.errors import RewardSpecError, UsageError
from ramify.reward.layout import PathLayout
from ramify.reward.protocol import Tokenizer
from ramify.reward.published import qwen_prm_spec, skywork_spec, trl_spec
from ramify.reward.spec_loading import METADATA_KEY, load_spec, resolve_spec
from ramify.reward.specs import QUESTION, STEP, RewardSpec

from ...policy.prompts.chat_template import render_chat
from .architectures import Shape, TensorSource, decoder_tensors, shape_of
from .checkpoint import Checkpoint
from .heads import Floats, RewardHead, head_of
from .safetensors import Array, write_safetensors
from .vocabulary import VocabularyTables, read_vocabulary
from .writing import OUTPUT, FileKind, write_gguf


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """Options of a conversion.

    `spec` is the reward format, a built-in name or a file; None chooses it by the kind of head or the model's name.
    `separator` is the text at the end of a step for a token classifier. `kind` is the storage type of matrices.
    """

    spec: str | None = None
    separator: str = "\n"
    kind: FileKind = "f16"


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Result of a conversion: the GGUF file, the head's file (None without a network), and the reward format."""

    path: Path
    head_path: Path | None
    spec: RewardSpec


def convert_reward(source: Path, out: Path, options: ConvertOptions | None = None) -> Converted:
    """Write the reward model in the folder `source` to the GGUF file `out`.

    A linear head is folded into rows of the output matrix that no token uses, so that reading it costs nothing; the
    head of a network is written beside the file as `<out without suffix>.head.safetensors`.

    Raises:
        UsageError: if the checkpoint is of a kind that cannot be converted, or its format is not known.
        ModelLoadError: if its files are damaged.
    """
    options = options or ConvertOptions()
    checkpoint = Checkpoint(source)
    shape = shape_of(checkpoint)
    vocabulary = read_vocabulary(checkpoint, shape.vocabulary)
    head = head_of(checkpoint)
    ids = vocabulary.spare_rows(len(head.rows)) if len(head.rows) else []
    head_path = out.with_suffix(".head.safetensors") if head.kind == "mlp" else None
    description = _description(checkpoint)
    with vocabulary_of(shape, vocabulary, description) as tokenizer:
        spec = choose_spec(checkpoint, head, ids, "" if head_path is None else head_path.name, options, tokenizer)
    if head_path is not None:
        write_safetensors(head_path, head.layers)
    write_gguf(
        out,
        shape=shape,
        vocabulary=vocabulary,
        metadata={**description, METADATA_KEY: spec.model_dump_json(exclude_defaults=True)},
        tensors=_tensors(checkpoint, shape, dict(zip(ids, head.rows, strict=True))),
        kind=options.kind,
    )
    return Converted(path=out, head_path=head_path, spec=spec)


def _description(checkpoint: Checkpoint) -> dict[str, str]:
    described = {"general.name": checkpoint.folder.resolve().name}
    if checkpoint.chat_template is not None:
        described["tokenizer.chat_template"] = checkpoint.chat_template
    return described


@contextmanager
def vocabulary_of(shape: Shape, vocabulary: VocabularyTables, description: Mapping[str, str]) -> Generator[Tokenizer]:
    """Yield the vocabulary as llama.cpp reads it from the file."""
    from ...runtime.llama.config import ModelConfig
    from ...runtime.llama.native import Model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_gguf(path, shape=shape, vocabulary=vocabulary, metadata=description, tensors=(), kind="f32")
        model = Model(ModelConfig(path=str(path)), vocabulary_only=True)
        try:
            yield model.vocabulary
        finally:
            model.close()


def choose_spec(
    checkpoint: Checkpoint,
    head: RewardHead,
    ids: list[int],
    head_file: str,
    options: ConvertOptions,
    tokenizer: Tokenizer,
) -> RewardSpec:
    """Return the format of a checkpoint, with the rows `ids` of its linear head or the file of its network.

    Raises:
        UsageError: if it is not known, or does not fit the vocabulary.
    """
    try:
        spec = _chosen(checkpoint, head, ids, head_file, options, tokenizer)
        PathLayout(spec, tokenizer)
    except RewardSpecError as error:
        raise UsageError(str(error), "name its format with --spec") from error
    return spec


def _chosen(
    checkpoint: Checkpoint,
    head: RewardHead,
    ids: list[int],
    head_file: str,
    options: ConvertOptions,
    tokenizer: Tokenizer,
) -> RewardSpec:
    given = None if options.spec is None else load_spec(options.spec)
    if given is not None and not isinstance(given, RewardSpec):
        raise UsageError(f"the format {given.name!r} reads no head", "name one that does with --spec")
    if head.kind == "none":
        names = f"{checkpoint.folder.resolve().name} {checkpoint.config.get('_name_or_path', '')}"
        architecture = shape_of(checkpoint).layout.name
        metadata = {"general.architecture": architecture, "general.name": names}
        found = resolve_spec(metadata, model=str(checkpoint.folder), given=given, tokenizer=tokenizer)
        if not isinstance(found, RewardSpec):
            raise UsageError(
                f"{checkpoint.folder} is a verifier that writes ({found.name}), with no head to convert",
                "convert it with llama.cpp's convert_hf_to_gguf.py",
            )
        return found
    bos = checkpoint.tokenizer_config.text("bos") or ""
    if head.kind == "mlp":
        return (given or qwen_prm_spec()).model_copy(update={"head": "mlp", "head_file": head_file})
    if head.kind in ("value", "answer"):
        found = given or (skywork_spec(bos) if head.kind == "value" else _answer_spec(checkpoint, bos, tokenizer))
        return found.model_copy(
            update={"good": ids[0], "bad": None, "activation": "sigmoid", "offset": float(head.biases[0])}
        )
    found = given or trl_spec(bos, options.separator)
    offset = float(head.biases[1] - head.biases[0])
    return found.model_copy(update={"good": ids[1], "bad": ids[0], "activation": "softmax", "offset": offset})


def _answer_spec(checkpoint: Checkpoint, bos: str, tokenizer: Tokenizer) -> RewardSpec:
    """Return the format of a model that judges whole answers: its chat template, read at the last token."""
    if checkpoint.chat_template is None:
        raise UsageError(f"{checkpoint.folder} has no chat template to put answers into", "name its format with --spec")
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": STEP}]
    eos = checkpoint.tokenizer_config.text("eos") or ""
    text = render_chat(checkpoint.chat_template, messages, bos=bos, eos=eos, reply=False)
    prompt, _, closing = text.partition(STEP)
    if QUESTION not in prompt or not closing:
        raise UsageError(
            f"the chat template of {checkpoint.folder} does not close an answer after its question",
            "name its format with --spec",
        )
    tag = tokenizer.piece(tokenizer.encode(closing, special=True)[-1]).decode("utf-8", "replace")
    return RewardSpec(
        name=checkpoint.folder.resolve().name,
        prompt_template=prompt,
        step_template=f"{STEP}{closing}",
        inner_step_template=STEP,
        tag=tag,
        good=0,
        activation="sigmoid",
        context_limit=shape_of(checkpoint).context,
        joined="all",
    )


def _tensors(checkpoint: Checkpoint, shape: Shape, rows: Mapping[int, Floats]) -> list[TensorSource]:
    written = {source.name: source for source in decoder_tensors(checkpoint, shape)}
    if rows:
        original = written.get(OUTPUT, written["token_embd.weight"])

        def folded() -> Array:
            matrix = np.array(original.read(), dtype=np.float32)
            for id, row in rows.items():
                matrix[id] = row
            return matrix

        written[OUTPUT] = TensorSource(OUTPUT, original.shape, folded)
    return list(written.values())
