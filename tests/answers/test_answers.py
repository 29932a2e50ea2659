"""Answers: read from text in every form, compared as mathematics, within time whatever they hold."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.answers import answers_equal, extract_answer, normalise
from ramify.answers.equality import decide_quickly
from ramify.answers.processes import MathVerifyProcess

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmark files are not here")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 42.", "42"),
        ("The answer is: $42$.", "42"),
        ("the ANSWER is \\(x^2\\).", "x^2"),
        ("The answer is 3.5. I hope it is correct.", "3.5"),
        ("The answer is:\n\n$$12$$", "12"),
        ("The final answer is $\\boxed{9}$. I hope it is correct.", "9"),
        ("**The answer is 12**", "12"),
        ("The answer is **12**.", "12"),
        ("The answer is 42 dollars.", "42 dollars"),
        ("The answer is $1,234.50.", "$1,234.50"),
        ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{The answer is 5}", "5"),
        ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
        ("\\boxed{\\left\\{ 1 \\right.}", "\\left\\{ 1 \\right."),
        ("so 5\n#### 18", "18"),
        ("#### 1,000\n", "1,000"),
        ("Q: 1+1?\nA: 2", "2"),
        ("\\boxed{1} or rather \\boxed{2}", "2"),
        ("A: 3\nthe answer is 4\n#### 5", "5"),
        ("#### 5\nThe answer is 4", "4"),
        ("The answer is 7. Put it in \\boxed{}.", "7"),
        ("\\boxed{1", None),
        ("\\boxed{}", None),
        ("####", None),
        ("the answer is", None),
        ("A:", None),
        ("BA: 3", None),
        ("##### heading", None),
        ("42", None),
        ("", None),
    ],
)
def test_the_last_answer_is_read(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


EQUAL = [
    ("42", "42.0"),
    ("42", "42."),
    ("1/2", "0.5"),
    (".5", "1/2"),
    ("\\frac12", "\\dfrac{1}{2}"),
    ("-\\frac{1}{2}", "\\frac{-1}{2}"),
    ("2\\frac{1}{2}", "2.5"),
    ("2 1/2", "5/2"),
    ("1,234,567", "1234567"),
    ("10\\,000", "10000"),
    ("\u22125", "-5"),
    ("$42", "42"),
    ("-$5", "-5"),
    ("42 dollars", "$42.00"),
    ("50%", "50\\%"),
    ("50%", "50"),
    ("50%", "0.5"),
    ("50 percent", "50%"),
    ("5 km", "5"),
    ("5 \\text{ cm}^2", "5"),
    ("5 inches", "5 inch"),
    ("90^\\circ", "90 degrees"),
    ("0.333333", "1/3"),
    ("Evelyn", "\\text{evelyn}"),
    ("(A)", "A"),
]
DIFFERENT = [
    ("42", "43"),
    ("1/2", "0.51"),
    ("0.33", "1/3"),
    ("0.0000001", "0.0000002"),
    ("12", "1"),
    ("2 1/2", "21/2"),
    ("5 km", "5 m"),
    ("$5", "5 apples"),
    ("east", "seat"),
    ("A", "B"),
    ("A", "a"),
    ("5", "five"),
    ("1/2", "-1/2"),
    ("", ""),
    ("", "0"),
]


@pytest.mark.parametrize(("a", "b"), EQUAL)
def test_ordinary_answers_are_equal_without_algebra(a: str, b: str) -> None:
    assert decide_quickly(a, b) is True
    assert decide_quickly(b, a) is True


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_ordinary_answers_differ_without_algebra(a: str, b: str) -> None:
    assert decide_quickly(a, b) is False
    assert decide_quickly(b, a) is False


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("x+1", "1+x", True),
        ("\\sqrt{8}", "2\\sqrt{2}", True),
        ("sqrt(8)", "2*sqrt(2)", True),
        ("x**2", "x^2", True),
        ("pi", "\\pi", True),
        ("10^3", "1000", True),
        ("x=3", "3", True),
        ("\\{1,2\\}", "\\{2,1\\}", True),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}", True),
        ("(1,2)", "(2,1)", False),
        ("12,5", "125", False),
        ("5x", "5", False),
        ("3 million", "3", False),
        ("3 pi", "3", False),
        ("x+1", "x-1", False),
    ],
)
def test_mathematics_is_compared_as_such(a: str, b: str, same: bool) -> None:
    assert answers_equal(a, b) is same
    assert answers_equal(b, a) is same


NUMBERS = st.one_of(
    st.integers(-9999, 9999).map(str),
    st.decimals(-999, 999, places=2).map(str),
    st.tuples(st.integers(-99, 99), st.integers(1, 99)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
)


@given(NUMBERS, NUMBERS)
def test_two_plain_numbers_never_need_algebra(a: str, b: str) -> None:
    assert decide_quickly(a, b) is not None
    assert decide_quickly(a, b) == decide_quickly(b, a)


@given(st.text(max_size=60))
def test_any_text_is_read_and_equals_itself(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or (answer and answer == answer.strip())
    assert decide_quickly(text, text) in (True, False)
    assert bool(normalise(text)) == decide_quickly(text, text)


@pytest.mark.parametrize(
    "text",
    [
        "{" * 100_000,
        "9^" * 50_000 + "9",
        "\\boxed{" * 14_000,
        "\\boxed{" * 7_000 + "}" * 7_000,
        "the answer is " * 7_000,
        "the " * 25_000,
        "####" * 25_000,
        " ." * 50_000,
        "A:" * 50_000,
    ],
)
def test_long_hostile_text_costs_next_to_nothing(text: str) -> None:
    start = time.process_time()
    extract_answer(text)
    assert answers_equal(text, "1") is False
    # Anything worse than linear takes minutes of processor time on these; what else runs here does not count.
    assert time.process_time() - start < 5.0


@pytest.mark.parametrize(
    "text", ["9^9^9^9", "9^{9^{9^9}}", "99999999!", "2^{10000000000}", "(" * 1800, "x^" * 900 + "x"]
)
def test_short_hostile_text_is_cut_off(text: str) -> None:
    answers_equal("x+1", "1+x")
    start = time.monotonic()
    assert answers_equal(text, "1", time_limit_s=0.5) is False
    assert time.monotonic() - start < 20.0
    assert answers_equal("y+1", "1+y")


def test_many_threads_share_one_process() -> None:
    pairs = [(f"x+{n}", f"{n}+x") for n in range(20)] + [(f"x+{n}", f"x-{n + 1}") for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(answers_equal, *zip(*pairs, strict=True)))
    assert results == [True] * 20 + [False] * 20


@pytest.mark.anyio
async def test_a_worker_thread_of_an_event_loop_may_compare() -> None:
    assert await anyio.to_thread.run_sync(answers_equal, "a+b", "b+a")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_a_killed_process_is_replaced_and_a_closed_one_is_gone() -> None:
    comparison = MathVerifyProcess()
    assert comparison.equal("x+1", "1+x", time_limit_s=5) is True
    process = comparison._process  # pyright: ignore[reportPrivateUsage]
    assert process is not None
    process.kill()
    process.wait()
    assert comparison.equal("x+1", "1+x", time_limit_s=5) is True
    replacement = comparison._process  # pyright: ignore[reportPrivateUsage]
    comparison.close()
    assert replacement is not None and replacement.poll() is not None


def test_ordinary_comparisons_load_no_algebra_and_leave_nothing_running() -> None:
    code = (
        "import sys; from ramify.answers import answers_equal, equality; "
        "assert answers_equal('1/2', '0.5') and not answers_equal('3', '4'); "
        "assert equality._math_verify._process is None; "
        "assert answers_equal('x+1', '1+x'); "
        "assert not {'sympy', 'math_verify'} & set(sys.modules); "
        "print(equality._math_verify._process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not Path(f"/proc/{done.stdout.strip()}").exists()


@needs_data
def test_every_gsm8k_answer_is_read() -> None:
    gold = [(extract_answer(row["answer"]), row["answer"].split("####")[1].strip()) for row in rows("gsm8k_test.jsonl")]
    assert len(gold) == 1319
    assert [read for read, _ in gold] == [written for _, written in gold]
    assert all(answers_equal(written, written.replace(",", "")) for _, written in gold)


@needs_data
def test_math_answers_are_read_from_their_solutions_and_equal_themselves() -> None:
    for row in rows("math500.jsonl")[::8]:
        assert extract_answer(row["solution"]) == row["answer"]
        assert answers_equal(row["answer"], row["answer"])
        assert answers_equal(f"${row['answer']}$.", row["answer"])
