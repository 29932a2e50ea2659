from __future__ import annotations

import io
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from ramify import UsageError
from ramify.batch import BadInput, BadRecord, read_problems
from ramify.batch.store.records import read_records

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the benchmark files are not here")


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records), "utf-8")
    return path


def test_what_ramify_problems_writes(tmp_path):
    file = write(tmp_path / "in.jsonl", {"id": "7-0", "question": "How many?", "answer": "12"})
    (problem,) = read_problems(file)
    assert (problem.id, problem.question, problem.answer) == ("7-0", "How many?", "12")


def test_gsm8k_fields(tmp_path):
    file = write(tmp_path / "in.jsonl", {"question": "How much?", "answer": "It is 9*2 = 18.\n#### 1,018"})
    (problem,) = read_problems(file)
    assert (problem.id, problem.answer, problem.solution) == ("1", "1,018", "It is 9*2 = 18.\n#### 1,018")


def test_math_fields_and_metadata(tmp_path):
    row = {"problem": "Why?", "solution": "So $\\boxed{\\frac{1}{2}}$.", "level": "Level 2", "unique_id": "a/1"}
    (problem,) = read_problems(write(tmp_path / "in.jsonl", row))
    assert (problem.id, problem.answer, dict(problem.metadata)) == ("a/1", "\\frac{1}{2}", {"level": "Level 2"})


def test_the_given_answer_comes_before_that_of_the_solution(tmp_path):
    (problem,) = read_problems(write(tmp_path / "in.jsonl", {"problem": "?", "solution": "\\boxed{1}", "answer": 2}))
    assert problem.answer == "2"


def test_a_mapping_names_other_columns(tmp_path):
    row = {"text": "How?", "label": 3, "question": "not this"}
    (problem,) = read_problems(write(tmp_path / "in.jsonl", row), mapping={"question": "text", "answer": "label"})
    assert (problem.question, problem.answer) == ("How?", "3")


def test_a_mapping_of_an_unknown_field_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no field 'qestion'"):
        read_problems(write(tmp_path / "in.jsonl"), mapping={"qestion": "text"})


BAD = [
    ('{"question": "a"', "it is not JSON"),
    ("[1]", "it is not a JSON object"),
    ('{"text": "a"}', "it has no question"),
    ('{"question": " "}', "its question is empty"),
    ('{"question": ["a"]}', "its question is neither text nor a number"),
    ('{"question": "a", "answer": true}', "its answer is neither text nor a number"),
    ('{"question": "\\ud800"}', "half a character"),
    ('{"question": "a", "answer": "####"}', "nothing after ####"),
    ('{"id": 1, "question": "a"}', "its id '1' is that of line 1"),
    ("[" * 100_000, "nested more than 100 levels deep"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_bad_lines_are_listed_with_their_numbers_or_left_out(tmp_path, line, reason):
    file = tmp_path / "in.jsonl"
    file.write_text(f'{{"id": "1", "question": "fine"}}\n\n{line}\n{{"question": "fine too"}}\n', "utf-8")
    with pytest.raises(BadInput, match="1 bad record\n  line 3: ") as caught:
        read_problems(file)
    assert reason in str(caught.value)
    found: list[BadRecord] = []
    assert [each.question for each in read_problems(file, on_bad=found.append)] == ["fine", "fine too"]
    assert [each.line for each in found] == [3]


def test_a_line_that_is_no_text(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'{"question": "fine"}\n{"question": "\xff"}\n')
    with pytest.raises(BadInput, match="line 2: it is not UTF-8 text"):
        read_problems(file)


def test_many_bad_lines_are_counted(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text("x\n" * 25)
    with pytest.raises(BadInput, match=r"25 bad records(.|\n)*  and 5 more\n"):
        read_problems(file)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from ramify.batch import read_problems
from ramify.errors import UsageError
try:
    read_problems(sys.argv[1])
except UsageError as error:
    print(error.exit_code, error)
"""


@pytest.mark.parametrize(
    ("name", "begin"),
    [
        ("long.jsonl", '{"question": "fine"}\n{"question": "'),
        ("long.csv", "question,answer\n"),
        ("quoted.csv", 'question,answer\n"'),
        ("rows.csv", 'question,answer\n"a\n'),
        ("long.tsv", "question\tanswer\n"),
    ],
)
def test_a_line_of_a_gigabyte_is_refused_in_little_memory(tmp_path, name, begin):
    file = tmp_path / name
    with file.open("w") as stream:
        stream.write(begin)
        if name == "rows.csv":
            stream.write(f'b","c{" " * 1000}\n' * 20_000)
        stream.truncate(stream.tell() + (1 << 30))  # A hole on the disk, read as zeros.
    command = [sys.executable, "-c", LIMITED, str(file)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.startswith("2 the record at line 2 of ") and "longer than 16,777,216 bytes" in found.stdout
    assert str(file) in found.stdout


def test_many_lines_need_little_memory(tmp_path):
    file = tmp_path / "in.jsonl"
    with file.open("w") as stream:
        for _ in range(64):
            stream.write(json.dumps({"question": "a" * (1 << 20)}) + "\n")
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_records(file)) == 64
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_csv_with_the_line_ends_of_old_macs(tmp_path):
    (tmp_path / "in.csv").write_bytes(b'question,answer\rWhy?,1\r"How\rnow?",2\r')
    assert [(each.question, each.answer) for each in read_problems(tmp_path / "in.csv")] == [
        ("Why?", "1"),
        ("How\rnow?", "2"),
    ]


def test_csv_with_quoted_lines_and_a_byte_order_mark(tmp_path):
    file = tmp_path / "in.csv"
    file.write_bytes('\ufeffid,question,answer\r\na,"How\nmany, ""now""?",3\r\nb,Why?,4\r\n'.encode())
    first, second = read_problems(file)
    assert (first.question, first.answer, second.id) == ('How\nmany, "now"?', "3", "b")


def test_csv_rows_of_the_wrong_width_name_their_line(tmp_path):
    file = tmp_path / "in.csv"
    file.write_text('id,question\na,"two\nlines"\nb,c,d\n')
    with pytest.raises(BadInput, match="line 4: it has 3 columns and the heading has 2"):
        read_problems(file)


def test_csv_goes_on_after_rows_that_are_none(tmp_path):
    file = tmp_path / "in.csv"
    file.write_text('id,question\na,Why?\n"b"x,How?\nc,When?\n"d"y,Who?\ne,Where?\nf,"What?\ng,Which?\n')
    bad: list[BadRecord] = []
    assert [each.id for each in read_problems(file, on_bad=bad.append)] == ["a", "c", "e"]
    assert [each.line for each in bad] == [3, 5, 7]
    assert "it is not CSV" in bad[0].reason and "lines 7 to 8 are one record that is not CSV" in bad[2].reason
    with pytest.raises(BadInput, match="line 3: it is not CSV"):
        read_problems(file)


def test_csv_with_a_heading_that_is_none_has_no_rows(tmp_path):
    file = tmp_path / "in.csv"
    file.write_text('"id"x,question\na,Why?\nb,How?\n')
    bad: list[BadRecord] = []
    assert read_problems(file, on_bad=bad.append) == []
    assert [each.line for each in bad] == [1]


def test_tab_separated(tmp_path):
    (tmp_path / "in.tsv").write_text("question\tanswer\nHow, now?\t1\n")
    assert read_problems(tmp_path / "in.tsv")[0].question == "How, now?"


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"question": ["How?", "Why?", ""], "answer": [1, None, 3], "level": ["a", "b", "c"]})
    pyarrow.parquet.write_table(table, tmp_path / "in.parquet")
    bad: list[BadRecord] = []
    first, second = read_problems(tmp_path / "in.parquet", on_bad=bad.append)
    assert (first.question, first.answer, second.answer, second.metadata["level"]) == ("How?", "1", None, "b")
    assert bad == [BadRecord(3, "its question is empty")]


def test_a_file_that_is_no_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "in.parquet").write_text("no")
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        read_problems(tmp_path / "in.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "in.parquet").touch()
    with pytest.raises(UsageError, match=r"ramify\[parquet\]"):
        read_problems(tmp_path / "in.parquet")


def test_stdin_in_a_named_format(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"question,answer\nHow?,1\n"))
    monkeypatch.setattr(sys, "stdin", stream)
    assert read_problems("-", form="csv")[0].answer == "1"


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        read_problems(tmp_path / "none.jsonl")


@needs_data
def test_gsm8k_gold_answers_are_all_read():
    problems = read_problems(DATA / "gsm8k_test.jsonl")
    assert len([each for each in problems if each.answer]) == 1319
    assert all(each.solution and each.solution.endswith(f"#### {each.answer}") for each in problems)


@needs_data
def test_math_500_is_read():
    problems = read_problems(DATA / "math500.jsonl")
    assert len({each.id for each in problems}) == 500
    assert all(each.answer and each.solution and each.metadata["level"] for each in problems)


@pytest.mark.parametrize(
    "text", ["\n\nid,question\na,Why?\n", "id,question\n   \na,Why?\n\n", " \nid,question\na,Why?\n"]
)
def test_csv_leaves_out_blank_lines(tmp_path, text):
    file = tmp_path / "in.csv"
    file.write_text(text)
    assert [each.id for each in read_problems(file)] == ["a"]
