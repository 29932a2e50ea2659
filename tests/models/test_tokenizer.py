"""The tokenizer: one token a word, and llama.cpp splits exactly like the library that trained it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramify.models import generate_problems

pytest.importorskip("tokenizers")
pytest.importorskip("torch")
gguf_library = pytest.importorskip("llama_cpp.llama_cpp")

from ramify.models.recipe.export import export_gguf  # noqa: E402
from ramify.models.recipe.network import Decoder, Shape  # noqa: E402
from ramify.models.recipe.text import SPECIAL_TOKENS  # noqa: E402
from ramify.models.recipe.tokenizer import load_tokenizer  # noqa: E402

TOKENIZER = load_tokenizer()


def native_tokens(model: object, text: str, special: bool) -> list[int]:
    vocabulary = gguf_library.llama_model_get_vocab(model)
    raw = text.encode()
    room = len(raw) + 8
    buffer = (gguf_library.llama_token * room)()
    count = gguf_library.llama_tokenize(vocabulary, raw, len(raw), buffer, room, False, special)
    return list(buffer[:count])


@pytest.fixture(scope="module")
def native_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    path: Path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    export_gguf(Decoder(Shape(1, 64, 2, 64), TOKENIZER.get_vocab_size()), TOKENIZER, path, "tiny")
    parameters = gguf_library.llama_model_default_params()
    parameters.use_extra_bufts = False
    model = gguf_library.llama_model_load_from_file(str(path).encode(), parameters)
    assert model
    yield model
    gguf_library.llama_model_free(model)


def random_texts() -> list[str]:
    rng = random.Random(4)
    alphabets = ["abcXYZ 019", " \n\r\t", "+-*/=.,?!'", "äß€漢字🙂\u0301\u00a0\u2028", "".join(map(chr, range(1, 32)))]
    return ["".join(rng.choice(rng.choice(alphabets)) for _ in range(rng.randint(0, 40))) for _ in range(400)]


def test_native_splitting_is_the_same_on_problems(native_model: object) -> None:
    for problem in generate_problems((1, 12), 100, seed=8):
        text = f"<|user|>{problem.question}<|assistant|>{problem.solution}<|end|>"
        assert native_tokens(native_model, text, special=True) == TOKENIZER.encode(text).ids


def test_native_splitting_is_the_same_on_any_text(native_model: object) -> None:
    for text in random_texts():
        assert native_tokens(native_model, text, special=False) == TOKENIZER.encode(text).ids, repr(text)


def test_every_word_of_the_task_is_one_token() -> None:
    words = set[str]()
    for problem in generate_problems((1, 12), 1500, seed=6):
        words |= set(re.findall(r" ?[A-Za-z]+", f"{problem.question}\n{problem.solution}"))
    assert len(words) > 150
    assert {w for w in words if len(TOKENIZER.encode(w).ids) != 1} == set()


def test_digits_and_line_ends_stand_alone() -> None:
    assert TOKENIZER.encode("45+18=63.\n").tokens == ["4", "5", "+", "1", "8", "=", "6", "3", ".", "Ċ"]


def test_any_bytes_round_trip() -> None:
    for text in random_texts():
        assert TOKENIZER.decode(TOKENIZER.encode(text).ids) == text


def test_special_tokens_come_first() -> None:
    assert [TOKENIZER.token_to_id(t) for t in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    assert TOKENIZER.encode("<|user|>").ids == [1]
