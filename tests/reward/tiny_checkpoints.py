"""Tiny checkpoints with random weights, of the architectures that published reward models have."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

WORDS = (
    "Step the number of apples is then we add two and three so total equals each box holds more than half "
    "answer therefore multiply divide subtract let first second cost dollars times price sum double"
).split()

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def texts(count: int = 50, seed: int = 0) -> list[tuple[str, list[str]]]:
    """Return questions with 1 to 6 steps each; some steps hold several lines and signs of the formats themselves."""
    chance = random.Random(seed)

    def sentence(words: int) -> str:
        parts = [chance.choice([*WORDS, str(chance.randrange(2000)), "+", "-", "=", "(x)"]) for _ in range(words)]
        return " ".join(parts).capitalize() + chance.choice([".", "?", "", "!"])

    found: list[tuple[str, list[str]]] = []
    for _ in range(count):
        steps = [f"Step {number + 1}: {sentence(chance.randint(2, 9))}" for number in range(chance.randint(1, 6))]
        found.append((sentence(chance.randint(4, 14)), steps))
    return found


def byte_level(pattern: str, special: Sequence[str], size: int = 420, words: Sequence[str] = ()) -> Tokenizer:
    """Return a byte-level vocabulary as Llama 3 and Qwen 2 have, with tokens for runs of newlines and for `words`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [" \n\n\n\n", "\n\n", " \n\n", "\n", ".\n", " +", " -", "ки", " ки", *words] * 60
    corpus += [f"{question}\n{step}" for question, steps in texts(40, seed=99) for step in steps]
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


def sentencepiece(size: int = 480) -> Tokenizer:
    """Return a vocabulary as Mistral and Llama 2 have, with "▁ки", "▁+" and "▁-"."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(Regex("▁[^▁]*"), behavior="isolated")
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False)
    corpus = [" ки", " +", " -", "a ки"] * 60
    corpus += [f" {question} {step}" for question, steps in texts(40, seed=99) for step in steps]
    trained.train_from_iterator(corpus, trainer)
    vocabulary = dict(trained.get_vocab())
    # As in files made from SentencePiece models: every pair of pieces that makes a piece, in the order of the pieces.
    merges = [
        (piece[:cut], piece[cut:])
        for piece, id in sorted(vocabulary.items(), key=lambda item: item[1])
        if id >= len(special)
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def save(
    folder: Path,
    tokenizer: Tokenizer,
    model: Any,
    *,
    bos: str | None = None,
    eos: str,
    extra: dict[str, Any] | None = None,
) -> PreTrainedTokenizerFast:
    """Write a checkpoint as `save_pretrained` does; `extra` tensors join the model's own."""
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
    wrapped.save_pretrained(folder)
    state = {**model.state_dict(), **(extra or {})} if extra else None
    model.save_pretrained(folder, **({"state_dict": state} if state else {}))
    return wrapped


def settings(vocabulary: int, **changes: Any) -> dict[str, Any]:
    """Return settings of a tiny decoder whose scores differ widely between texts."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.25,
        "tie_word_embeddings": False,
        **changes,
    }


def set_architecture(folder: Path, name: str) -> None:
    """Give a checkpoint another class, for those that transformers does not have."""
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["architectures"] = [name]
    path.write_text(json.dumps(config), "utf-8")


def seeded(seed: int = 0) -> None:
    """Fix the weights of the next model."""
    torch.manual_seed(seed)
