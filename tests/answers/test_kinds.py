"""Kinds of answers: the guess from questions and texts, the reading by kind, and the similarity of texts."""

from __future__ import annotations

from itertools import combinations
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.answers.kinds import AnswerKind, code_in, guess_kind, kind_of_texts, options_of
from ramify.answers.reading import AUTO, AnswerReader, AnswerReading
from ramify.answers.similarity import MOST_OTHERS, mean_similarities, similarity
from ramify.config import AnswerWord

PLANETS = "Which planet is closest to the sun?\nA: Venus\nB: Mercury\nC: Mars"
CODE = "Here it is:\n```python\ndef f(x):\n    return x\n```\nUse it so:\n```\nf(1)\n```\n"


def test_the_setting_has_a_word_for_every_kind() -> None:
    assert set(get_args(AnswerWord)) == {AUTO, *AnswerKind}


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Translate to French: I love you.", AnswerKind.TEXT),
        ("Please translate the following sentence into German: It is late.", AnswerKind.TEXT),
        ("Summarize this article: Once upon a time ...", AnswerKind.TEXT),
        ("Please summarise: How many roads must a man walk down?", AnswerKind.TEXT),
        ("Once there was a king who lived alone.\n\nSummarize this story in one sentence.", AnswerKind.TEXT),
        ("Can you write me a short poem about the sea?", AnswerKind.TEXT),
        ("Explain why the sky is blue.", AnswerKind.TEXT),
        ("Give me three tips for better sleep.", AnswerKind.TEXT),
        ("Write a Python function that reverses a string.", AnswerKind.CODE),
        ("Write a function that checks whether a number is prime.", AnswerKind.CODE),
        ("Implement quicksort in Rust.", AnswerKind.CODE),
        ("Write a SQL query that lists all users.", AnswerKind.CODE),
        ("from typing import List\n\n\ndef f(x: int) -> int:\n    pass", AnswerKind.CODE),
        (PLANETS, AnswerKind.CHOICE),
        ("Which one? (A) red (B) green (C) blue", AnswerKind.CHOICE),
        ("Which one? A) red B) green C) blue", AnswerKind.CHOICE),
        ("How many apples does Tom have?", AnswerKind.NUMBER),
        ("What is 3 + 4?", AnswerKind.NUMBER),
        ("Compute the area of the circle.", AnswerKind.NUMBER),
        ("What is the capital of France?", None),
        ("Write an equation of the line through the origin.", None),
        ("Rewrite the expression $x^2+2x$ as a product.", None),
        ("", None),
    ],
)
def test_a_question_tells_the_kind_of_its_answer(question: str, kind: AnswerKind | None) -> None:
    assert guess_kind(question) is kind


def test_options_stand_on_lines_or_in_one_line() -> None:
    assert options_of(PLANETS) == {"A": "Venus", "B": "Mercury", "C": "Mars"}
    assert options_of("Which? (A) red (B) dark green (C) blue") == {"A": "red", "B": "dark green", "C": "blue"}
    assert options_of("Point A. is above point B.") == {}
    assert options_of("B: second\nC: third") == {}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is (B) Mercury.", "B"),
        ("So it is \\boxed{\\text{(B)}}.", "B"),
        ("I think it is Mercury.\n\n**B**", "B"),
        ("B. Mercury", "B"),
        ("b)", "B"),
        ("The answer is Mercury.", "B"),
        ("Mercury", "B"),
        ("The correct option is B because it is hot there.", "B"),
        ("The answer is D", "D"),
        ("Venus is hot.\n\nSo the closest planet to the sun is Mercury.", "B"),
        ("It is Mercury, not Venus.", None),
        ("Nobody knows.", None),
    ],
)
def test_a_choice_is_the_letter_of_an_option(text: str, answer: str | None) -> None:
    assert AnswerReader.of(PLANETS).read(text) == answer


HEATING = "How is the house heated?\nA) Furnace\nB) A heat pump\nC) Stove\nD) Fire"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Considering all costs, the best choice is a heat pump.", "B"),
        ("The correct option is a stove", "C"),
        ("So the answer is a heat pump.", "B"),
        ("So the answer is the stove.", "C"),
        ("The answer is heat pump", "B"),
        ("The best choice is b", "B"),
        ("The best option is (d) because it is warm.", "D"),
        ("The best option is D because it is warm.", "D"),
        ("The answer is a.", "A"),
    ],
)
def test_the_article_a_is_no_option(text: str, answer: str) -> None:
    assert AnswerReader.of(HEATING).read(text) == answer


def test_code_is_the_longest_block() -> None:
    reader = AnswerReader.of("q", "code")
    assert reader.read(CODE) == "def f(x):\n    return x"
    assert reader.read("def f(x):\n    return x\n") == "def f(x):\n    return x"
    assert reader.read("```python\nprint(1)") == "print(1)"
    assert reader.read_unfinished("```python\nprint(1)") is None
    assert reader.read_unfinished(f"{CODE}And then") == "def f(x):\n    return x"
    assert reader.read("I cannot do that.") is None and reader.read("The6=720 apples.") is None
    assert reader.read("import math\n\nx = math.pi\nprint(x)") == "import math\n\nx = math.pi\nprint(x)"
    assert reader.read("Import taxes are high.\nSo are others.") is None
    assert code_in("````\n```\nx\n```\n````") == "```\nx\n```"


def test_lines_and_texts_need_the_end_of_the_text() -> None:
    line, text = AnswerReader.of("q", "line"), AnswerReader.of("q", "text")
    assert line.read("It is known.\n\n**Answer:** Paris.\n") == "Paris"
    assert line.read("It is known.\n**Paris**") == "Paris"
    assert text.read(" All of it.\nReally. ") == "All of it.\nReally."
    assert line.read_unfinished("It is known.\nPar") is None and text.read_unfinished("All of") is None
    assert line.read(" \n") is None and text.read(" \n") is None


def test_an_unmarked_number_is_taken_only_where_no_text_marks_one() -> None:
    reader = AnswerReader.of("How many?")
    assert reader.kind is AnswerKind.NUMBER and reader.read("That makes 7 apples.") is None
    assert reader.settled(["That makes 7 apples.", "The answer is 8."]) is None
    last = reader.settled(["That makes 7 apples.", "None of it."])
    assert last is not None and last.last_resort and last.read("That makes 7 apples.") == "7"
    assert AnswerReader.of("Why?", "box").settled(["That makes 7 apples."]) is None
    assert AnswerReader.of("Why?", prompt=AnswerKind.NUMBER).settled(["no digits"]) is None


def test_texts_that_mark_nothing_tell_the_kind_of_a_question_that_does_not() -> None:
    reader = AnswerReader.of("What is the capital of France?")
    assert reader.open and reader.kind is AnswerKind.BOX and reader.settled([]) is None

    def settled(*texts: str) -> AnswerKind | None:
        found = reader.settled(texts)
        return None if found is None else found.kind

    assert settled("Paris.", "It is Paris.") is AnswerKind.LINE
    assert settled("One thing.\nAnother thing.", "Paris.") is AnswerKind.TEXT
    assert settled("The answer is Paris.", "Paris.") is None
    assert kind_of_texts(["```\nprint(1)\n```"]) is AnswerKind.CODE
    assert kind_of_texts([CODE]) is AnswerKind.TEXT
    asked = AnswerReader.of("Write a Python function.").settled(["I cannot do that."])
    assert asked is not None and asked.kind is AnswerKind.LINE
    assert AnswerReader.of("q", "code").settled(["I cannot do that."]) is None


def test_a_reading_is_saved_in_plain_types() -> None:
    reading = AnswerReader.of("How many?").reading("majority")
    assert AnswerReading.from_dict(reading.to_dict()) == reading
    assert reading.to_dict() == {"kind": "number", "guessed": True, "last_resort": False, "chosen_by": "majority"}


@given(st.text(), st.text())
def test_similarity_is_symmetric_and_within_its_bounds(first: str, second: str) -> None:
    value = similarity(first, second)
    assert 0 <= value <= 1 and value == similarity(second, first) and similarity(first, first) == 1


def test_similar_texts_have_words_and_their_order_in_common() -> None:
    one, same_words, other = "the cat sees the dog", "the dog sees the cat", "rain falls on roofs"
    assert similarity(one, other) == 0 < similarity(one, same_words) < 1
    assert similarity("\u732b\u304c\u597d\u304d", "\u732b\u304c\u5acc\u3044") > 0
    means = mean_similarities([one, same_words, other])
    assert means[2] == 0 and means[0] == means[1] == round(similarity(one, same_words) / 2, 9)
    assert mean_similarities([one]) == [1.0] and mean_similarities([]) == []


def test_many_texts_are_compared_with_a_bounded_number_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[tuple[str, str]]()
    monkeypatch.setattr("ramify.answers.similarity.similarity", lambda a, b: seen.append((a, b)) or 0.5)
    texts = [f"text {number}" for number in range(3 * MOST_OTHERS)]
    mean_similarities(texts)
    assert len(seen) == len(texts) * MOST_OTHERS < len(list(combinations(texts, 2))) * 2


def test_long_texts_are_read_in_linear_time() -> None:
    hostile = [
        "A: " * 40_000,
        "```\n" * 30_000,
        "how " * 30_000,
        "(A) " * 30_000,
        "a_" * 50_000,
        "\n" * 100_000,
        "1" * 10**5,
    ]
    for text in hostile:
        for asked in get_args(AnswerWord):
            reader = AnswerReader.of(text, asked)
            reader.read(text)
            reader.read_unfinished(text)
            reader.settled([text])
        similarity(text, f"{text}b")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The correct option is B.\n\nOption A is incorrect because it is hot. Option C is incorrect.", "B"),
        ("The correct option is **B. Mercury**.\n\n- Option A (Venus) is hot.\n- Option C (Earth) is far.", "B"),
        ("The correct choice is B, since choice A is second.", "B"),
        ("So option (D) is the right one, option A is not.", "D"),
        ("The correct answer is not A. It is option B.", "B"),
        ("The answer is B, Mercury.", "B"),
        ("The answer is B - Mercury.", "B"),
        ("I think of option A, but I choose option C", "C"),
        ("Thus option B is indeed correct.", "B"),
        ("Option C is indeed the best match here.", "C"),
        ("Option B can indeed be used.", "B"),
        ("At first glance the correct option is A, but it leaks.\nSo I choose option C over the rest.", "C"),
        ("Students often think option A is correct. However, the evidence supports option B overall.", "B"),
        ("So it is **option (B)**.", "B"),
    ],
)
def test_an_option_that_a_text_calls_wrong_is_not_its_answer(text, letter):
    options = {"A": "Venus", "B": "Mercury", "C": "Earth", "D": "Mars"}
    assert AnswerReader(kind=AnswerKind.CHOICE, options=options).read(text) == letter


def test_a_text_that_repeats_marks_is_read_in_linear_time():
    reader = AnswerReader(kind=AnswerKind.CHOICE, options={"A": "x", "B": "y"})
    assert reader.read("The correct option is " + "*" * 200_000 + " unclear") is None
