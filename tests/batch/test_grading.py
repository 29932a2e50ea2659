from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from ramify import UsageError, answers_equal, extract_answer
from ramify.batch import BadInput, grade
from ramify.batch.grading import count_grades, grade_beside, grade_records, read_prediction
from ramify.batch.store.inputs import read_problems

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmark files are not here")

SAME = [
    (r"\frac{1}{2}", "0.5"),
    (r"\dfrac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    ("12.5%", "1/8"),
    (r"5 \text{ cm}", "5"),
    (r"2\pi\text{ cm}", r"2\pi"),
    ("[0,\\frac12]", "[0, 0.5]"),
    (r"(-\infty,2)\cup(3,\infty)", r"(3,\infty)\cup(-\infty,2)"),
    (r"(\frac12,3)", "(0.5, 3)"),
    (r"\{1,2,3\}", r"\{3,2,1\}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    (r"\text{no solution}", "No solution"),
    ("1e-3", "0.001"),
    ("2.5E+2", "250"),
    ("101_2", "5_{10}"),
    ("2516_8", "2516_{8}"),
]
DIFFERENT = [
    ("[0,1)", "[0,1]"),
    ("(0,1)", "[0,1]"),
    ("(1,2,3)", "(1,2)"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{pmatrix}1&2\\3&5\end{pmatrix}"),
    (r"\infty", r"-\infty"),
    ("x<3", "x>3"),
    ("101_2", "101_3"),
    ("1e3", "100"),
    ("east", "west"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_the_same_in_other_writing_is_right(a, b):
    assert grade(a, b) is True
    assert grade(b, a) is True


@pytest.mark.parametrize(("a", "b"), DIFFERENT)
def test_what_differs_is_wrong(a, b):
    assert grade(a, b) is False
    assert grade(b, a) is False


def test_without_a_gold_answer_nothing_is_graded_and_without_an_answer_it_is_wrong():
    assert grade("5", None) is None
    assert grade(None, None) is None
    assert grade("5", " ") is None
    assert grade(None, "5") is False


@pytest.mark.parametrize(("a", "b", "right"), [("5", "5.0", True), ("x+1", "1+x", True), (None, "5", False)])
async def test_grading_beside_an_event_loop(a, b, right):
    assert await grade_beside(a, b) is right


def test_the_time_limit_holds_in_other_processes():
    pairs = [("x+1", "1+x"), ("9^9^9^9", "1"), ("y+1", "1+y")]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(answers_equal, *zip(*pairs, strict=True))) == [True, False, True]


@needs_data
def test_every_math_500_answer_equals_itself_and_that_of_its_solution():
    problems = read_problems(DATA / "math500.jsonl")
    pairs = [(each.answer or "", extract_answer(each.solution or "") or "") for each in problems]
    assert sum(grade(gold, gold) is True for gold, _ in pairs) == 500
    assert sum(grade(boxed, gold) is True for gold, boxed in pairs) == 500


@pytest.mark.parametrize(
    ("text", "answer"),
    [("So the answer is 5.", "5"), (" 42 ", "42"), ("\\boxed{7} or so", "7"), ("", None), (None, None)],
)
def test_an_answer_is_read_from_a_prediction(text, answer):
    assert read_prediction(text) == answer


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records), "utf-8")
    return path


def test_predictions_from_elsewhere(tmp_path):
    file = write(
        tmp_path / "p.jsonl",
        {"id": "a", "prediction": "It is \\boxed{0.5}.", "answer": "1/2"},
        {"id": "b", "prediction": "7", "answer": "steps\n#### 8"},
        {"id": "c", "prediction": None, "answer": "1"},
        {"id": "d", "prediction": "3"},
    )
    graded = list(grade_records(file))
    assert [each.correct for each in graded] == [True, False, False, None]
    assert [each.gold for each in graded] == ["1/2", "8", "1", None]
    report = count_grades(graded)
    assert (report.predictions, report.answered, report.graded, report.correct) == (4, 3, 3, 1)
    assert report.accuracy == pytest.approx(1 / 3)


def test_columns_by_mapping_and_gold_answers_by_id(tmp_path):
    file = write(tmp_path / "p.jsonl", {"id": 1, "out": "5"}, {"id": 2, "out": "5"})
    graded = list(grade_records(file, mapping={"prediction": "out"}, gold={"1": "5", "2": "6"}))
    assert [(each.id, each.correct) for each in graded] == [("1", True), ("2", False)]


def test_the_rows_of_a_batch_are_understood(tmp_path):
    file = write(tmp_path / "items.jsonl", {"id": "a", "answer": "5", "gold": "5"}, {"answer": None, "gold": "5"})
    assert [each.correct for each in grade_records(file)] == [True, False]


def test_bad_predictions_name_their_lines(tmp_path):
    file = write(tmp_path / "p.jsonl", {"id": "a", "answer": "5"}, {"id": "b", "prediction": "5", "answer": "5"})
    with pytest.raises(BadInput, match="line 1: it has no prediction"):
        list(grade_records(file))
    with pytest.raises(BadInput, match="line 2: its id 'b' is not among the gold answers"):
        list(grade_records(file, mapping={"prediction": "answer"}, gold={"a": "5"}))
    with pytest.raises(UsageError, match="no field 'gold'"):
        list(grade_records(file, mapping={"gold": "answer"}))


async def test_a_gold_answer_that_is_the_text_of_an_option_is_its_letter_too() -> None:
    planets = "Which planet is closest to the sun?\nA: Venus\nB: Mercury"
    for gold in ("B", "Mercury"):
        assert grade("B", gold, question=planets) and await grade_beside("B", gold, question=planets)
        assert not grade("A", gold, question=planets) and not await grade_beside("A", gold, question=planets)
    assert grade("Mercury", "Mercury", question=planets) and not grade("B", "Mercury")


def test_items_that_failed_are_not_graded_as_in_the_report_of_the_run(tmp_path):
    ended = {"id": "a", "status": "ok", "answer": "5", "gold": "5"}
    failed = {"id": "b", "status": "failed", "answer": None, "gold": "5", "error": {"type": "E", "message": ""}}
    graded = list(grade_records(write(tmp_path / "items.jsonl", ended, failed)))
    assert [(each.id, each.correct) for each in graded] == [("a", True), ("b", None)]
