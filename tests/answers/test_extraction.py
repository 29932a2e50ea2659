"""Answers that models write, read from their texts; texts that only look like answers; time on long texts."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ramify.answers import answers_equal, extract_answer, last_number

CASES = [json.loads(line) for line in Path(__file__).with_name("extract.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['fault']}: {case['text']}")
def test_reported_texts_are_read(case: dict[str, str]) -> None:
    answer = extract_answer(case["text"])
    assert answer is not None
    assert answers_equal(answer, case["answer"]), answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**Final Answer:** 18", "18"),
        ("**Answer**: 18", "18"),
        ("**Answer: C**", "C"),
        ("Answer: B", "B"),
        ("Answer: B. Mercury", "B"),
        ("The answer is (B) Mercury.", "B"),
        ("The answer is B) Mercury.", "B"),
        ("\\boxed{(B) Mercury}", "B"),
        ("So the answer is option C.", "C"),
        ("The correct answer is **(D) none of these**.", "D"),
        ("The answer is (A+B)/2.", "(A+B)/2"),
        ("The answer is (1, 2).", "(1, 2)"),
        ("\\boxed{3 \\text{ bolts of fabric}}", "3 \\text{ bolts of fabric}"),
        ("Final Answer\n18", "18"),
        ("### Answer\n\n**41**", "41"),
        ("#### Answer: 41", "41"),
        ("<answer>\n41\n</answer>\nDone.", "41"),
        ("Answer: The total is 41 dollars.", "41 dollars"),
        ("The answer to the question is 41.", "41"),
        ("The answer should be 41.", "41"),
        ("The answer is therefore 41.", "41"),
        ("The answer is 41 because 17 + 24 = 41.", "41"),
        ("The answer is x = 2, y = 3.", "x = 2, y = 3"),
        ("The answer is 5 apples and 3 pears.", "5 apples and 3 pears"),
        ("The answer is Dr. Smith. He was there.", "Dr. Smith"),
        ("The answer is J. K. Rowling.", "J. K. Rowling"),
        ("The answer is 3 p.m. on Monday.", "3 p.m. on Monday"),
        ("The answer is 5 ft. The rest follows.", "5 ft"),
        ("The answer is $$\n\\pi\n$$ as claimed.", "\\pi"),
        ("The answer is:\n\n1. 41", "41"),
        ("the answer is 4 <|im_end|>", "4"),
        ("The answer is 4</s>", "4"),
        ("#### 18\n\nQ: What is 2+2?\nA: 4", "18"),
        ("\\boxed{18}\n\n### Problem 2:\n\\boxed{4}", "18"),
        ("Question: 1+1?\nThe answer is 2.", "2"),
        ("\\boxed{41}. So the answer is 41: the answer is reasonable.", "41"),
        ("The answer is 3. To check: the answer is correct.", "3"),
        ("First the answer is 3. No: the answer is 4.", "4"),
        ("The answer is positive.", "positive"),
        ("\\boxed{3}\nOn reflection the answer is 4.", "4"),
        ("The answer is $\\boxed 42$", "42"),
        ("#### Paris", "Paris"),
        ("#### 18 apples\nThat is all.", "18 apples"),
        ("Q: Capital of France?\nA: Paris", "Paris"),
    ],
)
def test_the_forms_that_models_write_are_read(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "#### Step 1: Add the apples\n3 + 4 = 7",
        "#### Step 1:",
        "#### 1. Understand the problem\nThere are",
        "#### Verification\n17+24=41",
        "A: Venus",
        "A: Venus\nB: Mars\nC: Mercury",
        "A: 12\nB: 15\n",
        "A: 12 B: 15",
        "The answer is found by adding the two numbers.",
        "The answer is obtained when 3 is added to 4.",
        "The answer is not 5.",
        "We put the final answer in the box.",
        "Answer:",
        "## Answer\n",
        "answering: 5",
        "",
    ],
)
def test_what_only_looks_like_an_answer_is_none(text: str) -> None:
    assert extract_answer(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("There are 3 boxes with 14 pears.", "14"),
        ("It costs $1,234.50.", "$1,234.50"),
        ("-5 and \u22127", "\u22127"),
        ("a share of 3/4", "3/4"),
        ("50% off", "50%"),
        ("3-2", "2"),
        ("It has 10 000", "10 000"),
        ("1 234 567 people", "1 234 567"),
        ("5\u00a0000 of 12\u202f000.5", "12\u202f000.5"),
        ("in 2020 300 people came", "300"),
        ("3 / 4", "4"),
        ("none", None),
        ("x2", None),
    ],
)
def test_the_last_number_is_a_last_resort(text: str, number: str | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "word " * 20_000,
        "\\boxed{" * 7_000 + "}" * 7_000,
        "\\boxed{}" * 12_000,
        "The answer is found\n" * 5_000,
        "The answer is " + "St. " * 25_000,
        "answer " + " " * 100_000,
        "#### a b\n" * 11_000,
        "####" + "\n" * 100_000,
        "A: x\n" * 20_000,
        "Q:\nA: x\n" * 12_000,
        "Answer:\n" * 12_000,
        "<answer>" * 12_000,
        "\n" * 100_000,
        "1," * 50_000,
        "1 " * 50_000,
    ],
)
def test_reading_takes_time_in_proportion_to_the_text(text: str) -> None:
    start = time.process_time()
    extract_answer(text)
    last_number(text)
    # They take 0.05 to 0.2 s; what is quadratic takes tens of seconds.
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 12 - 5 = 7.", "7"),
        ("The answer is 3 + 5 = **8**.", "8"),
        ("The answer is 3*4=12 apples.", "12 apples"),
        (r"The answer is $5 \times 4 = \$20$.", r"\$20"),
        (r"The answer is \(9 \times 2 = 18\) dollars.", "18 dollars"),
        (r"The answer is $9 \times 2 = 18$ dollars.", "18 dollars"),
        ("The answer is $5 + $3 = $8.", "$8"),
        ("The final answer is 8 (eight).", "8"),
        (r"\boxed{3.14 (rounded to two decimals)}", "3.14"),
        # What is no sum with its result stays: other equations, wrong ones, rounded ones, and remarks that count.
        (r"\boxed{x = 3}", "x = 3"),
        (r"\boxed{2 + 2 = 5}", "2 + 2 = 5"),
        (r"\boxed{10/3 = 3.33}", "10/3 = 3.33"),
        (r"\boxed{x^2 - 4 = 0}", "x^2 - 4 = 0"),
        ("The answer is 5 (mod 7).", "5 (mod 7)"),
        ("The answer is 3 (million).", "3 (million)"),
        ("The answer is 5 (in thousands).", "5 (in thousands)"),
        (r"\boxed{6 (x - 3)}", "6 (x - 3)"),
        (r"\boxed{12 (sqrt 3)}", "12 (sqrt 3)"),
        ("The answer is 5 (PM).", "5 (PM)"),
        ("The answer is 42 (B).", "42 (B)"),
        # In a box the equation itself may be asked for.
        (r"\boxed{(10-4)*(13-9)=24}", "(10-4)*(13-9)=24"),
        ("#### (4+8)*(6-4) = 24", "(4+8)*(6-4) = 24"),
    ],
)
def test_a_sum_with_its_result_and_a_number_with_a_remark_are_the_number(text: str, answer: str) -> None:
    assert extract_answer(text) == answer
