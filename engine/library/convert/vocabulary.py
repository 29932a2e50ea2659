"""Vocabulary of a checkpoint in the form of a GGUF file: pieces, their kinds, and merges or scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from ramify.errors import UsageError

from .checkpoint import Checkpoint, TokenizerFile

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Pattern that splits a text before merging, "qwen2" in llama.cpp."""

LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
"""Pattern "llama-bpe" in llama.cpp: up to three digits stay together."""

SPLITS: Mapping[str, str] = {QWEN2_SPLIT: "qwen2", LLAMA3_SPLIT: "llama-bpe", "": "gpt-2"}
"""llama.cpp's names of the patterns; "" stands for the built-in pattern of a byte-level tokenizer."""


ELSEWHERE = "convert it with llama.cpp's convert_hf_to_gguf.py and pass the GGUF file"


class TokenKind(IntEnum):
    """Kinds of tokens in a GGUF file."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyTables:
    """Vocabulary of a GGUF file.

    `model` is "gpt2" (byte-level, with `merges`) or "llama" (SentencePiece, with `scores`). `pre` is how texts are
    split first, None for SentencePiece. `bos` and the like are ids, None where there is none.
    """

    model: str
    pre: str | None
    tokens: Sequence[str]
    kinds: Sequence[TokenKind]
    merges: Sequence[str] = ()
    scores: Sequence[float] = ()
    adds_space: bool = False
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    unknown: int | None = None

    def spare_rows(self, count: int) -> list[int]:
        """Return ids whose rows in the output matrix are unused.

        Padding comes first, then reserved, unknown and control tokens.

        Raises:
            UsageError: if there are fewer.
        """
        padding = [id for id, kind in enumerate(self.kinds) if kind is TokenKind.UNUSED]
        reserved = [id for id, text in enumerate(self.tokens) if "reserved" in text or "unused" in text]
        unknown = [id for id, kind in enumerate(self.kinds) if kind is TokenKind.UNKNOWN]
        control = [id for id, kind in enumerate(self.kinds) if kind is TokenKind.CONTROL]
        found = list(dict.fromkeys([*padding, *reserved, *unknown, *reversed(control)]))
        if len(found) < count:
            raise UsageError(
                f"the vocabulary has {len(found)} spare rows and the head needs {count}", "use another model"
            )
        return found[:count]


def read_vocabulary(checkpoint: Checkpoint, size: int) -> VocabularyTables:
    """Return the vocabulary of a checkpoint, padded to `size` tokens.

    Raises:
        UsageError: if it is of a kind that llama.cpp, or this converter, does not know.
    """
    described = checkpoint.tokenizer
    model = described.model
    if model.type != "BPE":
        raise UsageError(
            f"{checkpoint.folder} has a tokenizer of the type {model.type!r}, which cannot be converted here", ELSEWHERE
        )
    texts = _texts(described, size)
    ids = {text: id for id, text in enumerate(texts)}
    sentencepiece = bool(model.byte_fallback)
    unknown = None if model.unk_token is None else ids.get(model.unk_token)
    special = {each.content: each.special for each in described.added_tokens}
    kinds = [_kind(text, id, special, unknown, sentencepiece=sentencepiece) for id, text in enumerate(texts)]
    return VocabularyTables(
        model="llama" if sentencepiece else "gpt2",
        pre=None if sentencepiece else _pre(checkpoint),
        tokens=texts,
        kinds=kinds,
        merges=() if sentencepiece else [" ".join(each) for each in model.merges],
        scores=_scores(texts, model.merges) if sentencepiece else (),
        adds_space=sentencepiece and _adds_space(described),
        bos=_named(checkpoint, "bos", ids),
        eos=_named(checkpoint, "eos", ids),
        pad=_named(checkpoint, "pad", ids),
        unknown=unknown,
    )


def _texts(described: TokenizerFile, size: int) -> list[str]:
    by_id = {id: text for text, id in described.model.vocab.items()}
    by_id |= {each.id: each.content for each in described.added_tokens}
    if max(by_id) >= size:
        raise UsageError(
            f"the tokenizer has {max(by_id) + 1} tokens and the model {size}", "use the tokenizer of this model"
        )
    return [by_id.get(id, f"[PAD{id}]") for id in range(size)]


def _kind(text: str, id: int, special: Mapping[str, bool], unknown: int | None, *, sentencepiece: bool) -> TokenKind:
    if id == unknown:
        return TokenKind.UNKNOWN
    if text in special:
        return TokenKind.CONTROL if special[text] else TokenKind.USER_DEFINED
    if text == f"[PAD{id}]":
        return TokenKind.UNUSED
    if sentencepiece and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        return TokenKind.BYTE
    return TokenKind.NORMAL


def _scores(texts: Sequence[str], merges: Sequence[tuple[str, str]]) -> list[float]:
    """Return scores under which pieces merge in the order of the merges; pieces that no merge makes come last."""
    ranks: dict[str, int] = {}
    for rank, (left, right) in enumerate(merges):
        ranks.setdefault(left + right, rank)
    last = float(-len(merges) - 1)
    return [-float(ranks[text]) if text in ranks else last for text in texts]


def _pre(checkpoint: Checkpoint) -> str:
    splitter = checkpoint.tokenizer.pre_tokenizer
    parts = [] if splitter is None else [part for part in splitter.parts() if part.type != "ByteLevel"]
    patterns = [(part.pattern or {}).get("Regex", f"a {part.type} splitter") for part in parts] or [""]
    if len(patterns) > 1 or patterns[0] not in SPLITS:
        raise UsageError(
            f"{checkpoint.folder} splits texts by a pattern that is not known here ({patterns[0][:60]!r})", ELSEWHERE
        )
    return SPLITS[patterns[0]]


def _adds_space(described: TokenizerFile) -> bool:
    stages = [each for each in (described.normalizer, described.pre_tokenizer) if each is not None]
    parts = [part for stage in stages for part in stage.parts()]
    return any(part.type == "Prepend" or part.prepend_scheme in ("always", "first") for part in parts)


def _named(checkpoint: Checkpoint, role: str, ids: Mapping[str, int]) -> int | None:
    """Return the id of a token that the tokenizer's settings name, else of the one that the model's settings do."""
    settings = checkpoint.tokenizer_config
    if f"{role}_token" in settings.model_fields_set:
        text = settings.text(role)
        return None if text is None else ids.get(text)
    number = checkpoint.config.get(f"{role}_token_id")
    return number if isinstance(number, int) else None
