"""The token policy against llama.cpp's own tokenisers, on small vocabularies made here."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramify.reward.layout import PathLayout
from ramify.reward.spec_loading import BUILTIN_SPECS
from ramify.reward.tokens import Segment, SegmentEncoder, tokenizer_adds_space

gguf = pytest.importorskip("gguf")
llama_cpp = pytest.importorskip("llama_cpp.llama_cpp")

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


class Vocabulary:
    """A vocab-only model behind the Tokenizer protocol."""

    def __init__(self, path: Path) -> None:
        parameters = llama_cpp.llama_model_default_params()
        parameters.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        assert self.model
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)

    def encode(self, text: str, *, special: bool) -> list[int]:
        data = text.encode()
        tokens = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), tokens, len(tokens), False, special)
        assert count >= 0
        return list(tokens[:count])

    def piece(self, id: int, /) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_token_to_piece(self.vocabulary, id, buffer, 256, 0, True)
        return buffer.raw[:length]


@pytest.fixture(scope="module")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    """A SentencePiece vocabulary with Mistral's tags."""
    words = ["▁ки", "▁+", "▁-", "▁ab", "ab", "ки"]
    characters = sorted(set("".join(words)) | set("abcdefghijklmnopqrstuvwxyzQSTW?.:0123456789=\n<>|/▁"))
    characters.remove("\n")
    tokens = [("<unk>", UNKNOWN, 0.0), ("<s>", CONTROL, 0.0), ("</s>", CONTROL, 0.0)]
    tokens += [(f"<0x{byte:02X}>", BYTE, 0.0) for byte in range(256)]
    tokens += [(word, NORMAL, -1.0 - index) for index, word in enumerate(words)]
    tokens += [(character, NORMAL, -100.0 - index) for index, character in enumerate(characters)]
    path = tmp_path_factory.mktemp("spm") / "spm.gguf"
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _, _ in tokens])
    writer.add_token_types([kind for _, kind, _ in tokens])
    writer.add_token_scores([score for _, _, score in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    vocabulary = Vocabulary(path)
    yield vocabulary
    llama_cpp.llama_model_free(vocabulary.model)


def test_sentencepiece_is_recognised(spm: Vocabulary) -> None:
    assert tokenizer_adds_space(spm)


def test_segments_are_tokenised_as_llama_cpp_tokenises_the_whole(spm: Vocabulary) -> None:
    texts = [("<s>", True), ("ab cd?", False), (" ", True), ("ab = 5", False), (" ки\n", True), ("ab", False)]
    ours = SegmentEncoder(spm).encode(Segment(text, special) for text, special in texts)
    assert ours == spm.encode("".join(text for text, _ in texts), special=True)


def test_foreign_text_stays_text(spm: Vocabulary) -> None:
    ours = SegmentEncoder(spm).encode([Segment("<s>", True), Segment("</s>", False)])
    assert ours[0] == 1 and 2 not in ours
    assert b"".join(map(spm.piece, ours)) == b"<s> </s>"


def test_math_shepherd_is_laid_out_as_its_authors_do(spm: Vocabulary) -> None:
    layout = PathLayout(BUILTIN_SPECS["math-shepherd"], spm)
    path = layout.path("Q?", ["Step 1: ab.", "Step 2: 5."], own=2)
    assert list(path.tokens) == spm.encode("<s>Q? Step 1: ab. ки\nStep 2: 5. ки\n", special=True)
    assert [spm.piece(path.tokens[at]).decode() for at in path.read] == [" ки", " ки"]
    assert [spm.piece(id) for id in layout.read_ids] == [b" +", b" -"]
    assert layout.path("Q?", ["Step 1: ab."]).tokens == path.tokens[: path.read[0] + 2]
