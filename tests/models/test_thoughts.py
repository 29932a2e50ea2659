"""Scratch thoughts of the recipe: their marks, planted mistakes that are not taught, and their ends."""

from __future__ import annotations

import re
from random import Random

import pytest

pytest.importorskip("tokenizers")

from ramify.models.recipe.data import _taught  # pyright: ignore[reportPrivateUsage]
from ramify.models.recipe.text import NO_THOUGHT, THINK
from ramify.models.recipe.thoughts import CHECK, MENDED, make_thought, thought_example
from ramify.models.recipe.tokenizer import load_tokenizer, with_thoughts
from ramify.models.tasks.generate import tell_one
from ramify.models.tasks.partition import stream_seed

TOKENIZER = with_thoughts(load_tokenizer())
SEEDS = [stream_seed("train", 5, number) for number in range(300)]


def value(calculation: str) -> bool:
    left, sign, right, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", calculation).groups()  # pyright: ignore
    found = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
    return int(result) == (int(left) // int(right) if sign == "/" else found[sign])


def test_the_marks_are_tokens_after_the_shared_vocabulary() -> None:
    size = load_tokenizer().get_vocab_size()
    assert [TOKENIZER.token_to_id(mark) for mark in ("<think>", "</think>")] == [size, size + 1]
    assert TOKENIZER.encode("</think>").ids == [size + 1]


def test_thoughts_end_with_a_check_whose_calculations_are_right() -> None:
    kinds = {"mended": 0, "late": 0}
    for seed in SEEDS:
        story, _ = tell_one(seed, (1, 9), "train")
        text = make_thought(story, Random(seed)).text
        first, _, check = text.partition(CHECK)
        assert all(f"{sentence}\n" in first for sentence in story.sentences)
        rows = [row for row in check.splitlines() if row and row != CHECK.strip()]
        assert all(value(re.split(r"[,.]", row)[0]) for row in rows)
        assert len(rows) % len(story.lines) == 0
        kinds["mended"] += MENDED in first
        kinds["late"] += ", not " in check
    assert kinds["mended"] > 60 and kinds["late"] > 20


def test_examples_are_whole_or_cut_or_without_a_thought_and_teach_no_mistake() -> None:
    ends = {"whole": 0, "cut": 0, "none": 0}
    for seed in SEEDS:
        example = thought_example(seed, (1, 9), "train")
        assert re.search(r"The answer is \d+\.<\|end\|>\Z", example.written)
        assert thought_example(seed, (1, 9), "train") == example
        if example.prompt.endswith(NO_THOUGHT):
            ends["none"] += 1
            assert THINK not in example.written and not example.planted
            continue
        encoded = TOKENIZER.encode(example.written)
        taught = _taught(example, encoded.offsets)
        close = encoded.ids.index(TOKENIZER.token_to_id("</think>"))
        ends["whole" if taught[close] else "cut"] += 1
        planted = [example.written[start:end] for start, end in example.planted]
        assert (~taught).sum() >= len(planted)
        assert all(taught[close + 1 :])
    assert min(ends.values()) > 10 and ends["whole"] > 200
