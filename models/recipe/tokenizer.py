"""Training and loading of the byte-level BPE tokenizer that all bundled models share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from ..tasks import generate_one
from ..tasks.partition import stream_seed
from .text import SPECIAL_TOKENS, THOUGHT_TOKENS

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern by which llama.cpp splits text for `tokenizer.ggml.pre` = "qwen2"."""

_VOCABULARY = 1024
_CORPUS_SIZE = 20_000


def train_tokenizer() -> Tokenizer:
    """Return a tokenizer trained on generated training problems.

    Lines are fed one by one, so that no token spans the end of a step.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def load_tokenizer(path: Path | None = None) -> Tokenizer:
    """Return the tokenizer in `path`, or the bundled one."""
    text = path.read_text("utf-8") if path else files("ramify.models").joinpath("tokenizer.json").read_text("utf-8")
    return Tokenizer.from_str(text)


def with_thoughts(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy of a tokenizer that has the marks of thoughts after its other tokens."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.add_tokens(list(THOUGHT_TOKENS))
    return copy


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a token that must be there.

    Raises:
        ValueError: if it is not in the vocabulary.
    """
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the vocabulary has no token {token!r}")
    return found


def _corpus() -> Iterator[str]:
    for index in range(_CORPUS_SIZE):
        problem = generate_one(stream_seed("train", 0, index), (1, 12), "train", str(index))
        yield problem.question
        yield from (problem.solution or "").splitlines()
