"""The begin and end tokens of a vocabulary, as prompts need them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ramify.reward.protocol import Tokenizer

_BPE_WITH_BOS = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken", "chameleon"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Begin and end tokens.

    `bos` and `eos` are their texts, "" where there is none. `bos_id` is None without a BOS. `add_bos` tells whether
    the model expects every prompt to start with BOS.
    """

    bos: str = ""
    eos: str = ""
    bos_id: int | None = None
    add_bos: bool = False


def special_tokens(metadata: Mapping[str, object], tokenizer: Tokenizer) -> SpecialTokens:
    """Return the begin and end tokens that a GGUF file's metadata names.

    Where the file does not say whether BOS is added, the default is llama.cpp's for its kind of vocabulary.
    """
    bos_id = _token_id(metadata, "tokenizer.ggml.bos_token_id")
    eos_id = _token_id(metadata, "tokenizer.ggml.eos_token_id")
    says = metadata.get("tokenizer.ggml.add_bos_token")
    add_bos = _adds_bos(metadata) if says is None else str(says).lower() in ("true", "1")
    return SpecialTokens(
        bos=_text(tokenizer, bos_id),
        eos=_text(tokenizer, eos_id),
        bos_id=bos_id,
        add_bos=add_bos and bos_id is not None,
    )


def _token_id(metadata: Mapping[str, object], key: str) -> int | None:
    value = metadata.get(key)
    try:
        return int(str(value))
    except ValueError:
        return None


def _text(tokenizer: Tokenizer, token: int | None) -> str:
    return "" if token is None else tokenizer.piece(token).decode("utf-8", errors="replace")


def _adds_bos(metadata: Mapping[str, object]) -> bool:
    kind = metadata.get("tokenizer.ggml.model")
    return kind == "llama" or (kind == "gpt2" and metadata.get("tokenizer.ggml.pre") in _BPE_WITH_BOS)
