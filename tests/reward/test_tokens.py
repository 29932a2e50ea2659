"""Segments become tokens without foreign special tokens, in plain and in space-prefixing vocabularies."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.errors import RewardSpecError
from ramify.reward.testing import PieceTokenizer
from ramify.reward.tokens import Segment, SegmentEncoder, single_token, tokenizer_adds_space

SPECIAL = ("<s>", "<|user|>", "<|step|>")
PLAIN = PieceTokenizer(["ab", " ki", "+"], SPECIAL)
SPACED = PieceTokenizer(["ab", " ab", " ki", " +", "."], SPECIAL, adds_space=True)

TEXT = st.text(alphabet="ab ki<s>|userp+\n", max_size=30)


def pieces(tokenizer: PieceTokenizer, *segments: tuple[str, bool]) -> list[str]:
    tokens = SegmentEncoder(tokenizer).encode(Segment(text, special) for text, special in segments)
    return [tokenizer.piece(token).decode("utf-8", errors="replace") for token in tokens]


def test_a_space_prefixing_vocabulary_is_recognised() -> None:
    assert not tokenizer_adds_space(PLAIN)
    assert tokenizer_adds_space(SPACED)


def test_special_tokens_are_recognised_in_templates_only() -> None:
    assert pieces(PLAIN, ("<|user|>", True), ("<|user|>", False)) == ["<|user|>", *"<|user|>"]
    assert pieces(SPACED, ("<|user|>", True), ("<|user|>", False)) == ["<|user|>", " ", *"<|user|>"]


def test_text_between_special_tokens_is_tokenised_as_one_in_a_space_prefixing_vocabulary() -> None:
    separate = pieces(SPACED, ("<s>", True), ("ab.", False), (" ki\n", True), ("ab", False), (" ki\n", True))
    whole = [SPACED.piece(t).decode() for t in SPACED.encode("<s>ab. ki\nab ki\n", special=True)]
    assert separate == whole == ["<s>", " ab", ".", " ki", "\n", "ab", " ki", "\n"]


def test_every_segment_stands_alone_in_a_plain_vocabulary() -> None:
    assert pieces(PLAIN, ("a", False), ("b", False)) == ["a", "b"]


@given(st.lists(TEXT, max_size=5))
def test_foreign_text_never_becomes_a_special_token(texts: list[str]) -> None:
    for tokenizer in (PLAIN, SPACED):
        tokens = SegmentEncoder(tokenizer).encode(Segment(text, special=False) for text in texts)
        assert all(token >= len(SPECIAL) for token in tokens)


@given(TEXT, TEXT)
def test_no_text_is_lost(first: str, second: str) -> None:
    segments = (("<s>", True), (first, False), ("<|step|>", True), (second, False))
    assert "".join(pieces(PLAIN, *segments)) == f"<s>{first}<|step|>{second}"


def test_a_token_is_named_by_its_exact_text() -> None:
    assert PLAIN.piece(single_token(PLAIN, " ki", role="tag")) == b" ki"
    assert SPACED.piece(single_token(SPACED, " ki", role="tag")) == b" ki"
    assert single_token(SPACED, "<|step|>", role="tag") == 2


def test_a_token_that_is_not_one_is_refused_with_what_it_is() -> None:
    with pytest.raises(RewardSpecError, match=r"good token 'abx' is 2 tokens in this model's vocabulary \('ab', 'x'\)"):
        single_token(PLAIN, "abx", role="good")


def test_a_token_that_reads_differently_is_refused_with_how_it_reads() -> None:
    with pytest.raises(RewardSpecError, match="'ab' reads ' ab'"):
        single_token(SPACED, "ab", role="good")


class Stripping(PieceTokenizer):
    """A vocabulary that takes white space after special tokens away, as that of Phi-3."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        if special:
            for tag in SPECIAL:
                text = re.sub(f"({re.escape(tag)})\\s+", r"\1", text)
        return super().encode(text, special=special)


def test_white_space_that_the_vocabulary_strips_after_special_tokens_is_left_out() -> None:
    tokenizer = Stripping(["ab", " ab", " ki", " +", "."], SPECIAL, adds_space=True)
    segments = (("<|user|>\n", True), ("ab.", False), ("<|step|>\n", True))
    assert pieces(tokenizer, *segments) == ["<|user|>", " ab", ".", "<|step|>"]
    assert pieces(SPACED, *segments) == ["<|user|>", " ", "\n", "ab", ".", "<|step|>", " ", "\n"]
