"""Tokenisation of prompts: template pieces may hold special tokens, text of other people never does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from ramify.errors import RewardSpecError

from .protocol import Tokenizer


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a prompt. `special` says whether special tokens in `text` are meant as such."""

    text: str
    special: bool


class SegmentEncoder:
    """Encodes sequences of segments with one vocabulary; no other class tokenises them.

    A vocabulary that keeps text as it is (BPE) gets each segment on its own, so that a tag stays a token of its own
    beside any text. SentencePiece vocabularies put a space before each text that is tokenised on its own. There
    the special tokens of the template are cut out first, and everything between two of them is tokenised as one plain
    text: as if the whole text had been tokenised at once, except that plain text cannot turn into special tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._encode = lru_cache(maxsize=8192)(self._encode_uncached)
        self._split = lru_cache(maxsize=256)(self._split_uncached)
        self._strips_after = lru_cache(maxsize=256)(self._strips_after_uncached)
        self._adds_space = tokenizer_adds_space(tokenizer)

    @property
    def adds_space(self) -> bool:
        """True if the vocabulary puts a space before text that is tokenised on its own."""
        return self._adds_space

    def encode(self, segments: Iterable[Segment], *, joined: bool = False) -> list[int]:
        """Return the token ids of all segments in order; `joined` treats any vocabulary like a SentencePiece one."""
        if joined or self._adds_space:
            segments = self._merged(segments)
        return [token for segment in segments for token in self._encode(segment)]

    def _encode_uncached(self, segment: Segment) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(segment.text, special=segment.special)) if segment.text else ()

    def _merged(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        parts = (part for segment in segments for part in self._split(segment))
        tag = ""
        for special, group in groupby(parts, key=lambda part: part.special):
            if special:
                for part in group:
                    tag = part.text
                    yield part
                continue
            text = "".join(part.text for part in group)
            if tag and text[:1].isspace() and self._strips_after(tag):
                text = text.lstrip()
            if text:
                yield Segment(text, special=False)

    def _strips_after_uncached(self, tag: str) -> bool:
        """Tell whether the vocabulary strips white space after a special token, as that of Phi-3."""
        encode = self._tokenizer.encode
        return encode(f"{tag}\n", special=True) == encode(tag, special=True)

    def _split_uncached(self, segment: Segment) -> tuple[Segment, ...]:
        """Cut a template piece into special tokens and the plain text around them."""
        if not segment.special or not segment.text:
            return (Segment(segment.text, special=False),)
        parts: list[Segment] = []
        rest = segment.text
        for tag in self._special_tokens(segment.text):
            before, found, after = rest.partition(tag)
            if found:
                parts += [Segment(before, special=False), Segment(tag, special=True)]
                rest = after
        return (*(part for part in parts if part.text), *((Segment(rest, special=False),) if rest else ()))

    def _special_tokens(self, text: str) -> Iterator[str]:
        """Yield the texts of the special tokens in `text`, in order."""
        for token in self._tokenizer.encode(text, special=True):
            piece = self._tokenizer.piece(token).decode("utf-8", errors="replace")
            if piece in text and _is_special(self._tokenizer, token, piece):
                yield piece


def tokenizer_adds_space(tokenizer: Tokenizer) -> bool:
    """Tell whether the vocabulary puts a space before text that is tokenised on its own (SentencePiece)."""
    return b"".join(tokenizer.piece(token) for token in tokenizer.encode("a", special=False)).startswith(b" ")


def token_of(tokenizer: Tokenizer, token: str | int, *, role: str) -> int:
    """Return the id of a token that is named by its text or by its id; `role` is as in `single_token`.

    Raises:
        RewardSpecError: if the vocabulary has no such token.
    """
    if isinstance(token, str):
        return single_token(tokenizer, token, role=role)
    try:
        tokenizer.piece(token)
    except (LookupError, ValueError) as error:
        raise RewardSpecError(f"the {role} token {token} is not in this model's vocabulary; correct its id") from error
    return token


def single_token(tokenizer: Tokenizer, text: str, *, role: str) -> int:
    """Return the id of the token whose text is exactly `text`, leading space included.

    `role` names the token in messages ("tag", "good", "bad").

    Raises:
        RewardSpecError: if the vocabulary has no such token.
    """
    tokens = tokenizer.encode(text, special=True)
    if len(tokens) == 1 and tokenizer.piece(tokens[0]) == text.encode():
        return tokens[0]
    if text.startswith(" "):
        bare = tokenizer.encode(text[1:], special=True)
        if len(bare) == 1 and tokenizer.piece(bare[0]) == text.encode():
            return bare[0]
    if len(tokens) == 2 and [tokenizer.piece(token) for token in tokens] == [b" ", text.encode()]:
        # The space that a SentencePiece vocabulary puts before it.
        return tokens[1]
    pieces = _pieces(tokenizer, tokens)
    if len(tokens) == 1:
        raise RewardSpecError(
            f"the {role} token {text!r} reads {pieces} in this model's vocabulary; name it so in the spec"
        )
    raise RewardSpecError(
        f"the {role} token {text!r} is {len(tokens)} tokens in this model's vocabulary ({pieces}); "
        "the spec does not fit the model, use the spec that the model was trained with"
    )


def _is_special(tokenizer: Tokenizer, token: int, piece: str) -> bool:
    return bool(piece) and tokenizer.encode(piece, special=True) == [token] != tokenizer.encode(piece, special=False)


def _pieces(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    return ", ".join(repr(tokenizer.piece(token).decode("utf-8", errors="replace")) for token in tokens)
