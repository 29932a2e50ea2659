"""Columns of input files: joined ones, those kept as metadata, and values that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ramify.batch import BatchConfig, run_batch
from ramify.batch.grading import grade_records
from ramify.batch.report.analysis import analyse
from ramify.batch.report.present import present
from ramify.batch.store.inputs import read_problems
from ramify.errors import BadInput, RunFolderError


def lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records), encoding="utf-8")
    return path


def test_several_columns_make_a_question(tmp_path):
    source = lines(tmp_path / "svamp.jsonl", {"Body": "Tom has 3 plums. ", "Question": "How many?", "Answer": 3})
    [found] = read_problems(source, mapping={"question": "Body, Question", "answer": "Answer"})
    assert (found.question, found.answer, found.metadata) == ("Tom has 3 plums. How many?", "3", {})


@pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
def test_a_joined_column_may_be_empty(tmp_path, empty):
    source = lines(tmp_path / "a.jsonl", {"context": empty, "q": "How many?"})
    [found] = read_problems(source, mapping={"question": "context,q"})
    assert found.question == "How many?"


def test_a_column_whose_name_has_a_comma_is_one_column(tmp_path):
    source = lines(tmp_path / "a.jsonl", {"a,b": "How many?", "a": "x", "b": "y"})
    [found] = read_problems(source, mapping={"question": "a,b"})
    assert (found.question, found.metadata) == ("How many?", {"a": "x", "b": "y"})


@pytest.mark.parametrize("mapping", [{"question": "Body,Text"}, {"answer": "Gold"}])
def test_a_missing_column_names_those_that_are_there(tmp_path, mapping):
    source = lines(tmp_path / "a.jsonl", {"Body": "x", "question": "How many?"})
    with pytest.raises(BadInput, match=r"it has no column '(Text|Gold)'; its columns are Body, question"):
        read_problems(source, mapping=mapping)


@pytest.mark.parametrize("none", [float("nan"), None, "", " "])
async def test_a_gold_answer_that_is_none_is_not_graded(tmp_path, scripted, none):
    source = lines(tmp_path / "a.jsonl", {"question": "add 3", "answer": none}, {"question": "add 4", "answer": 4.0})
    async with scripted() as engine:
        report = await run_batch(read_problems(source), tmp_path / "run", BatchConfig(reward=None), engine=engine)
    assert (report.graded, report.correct) == (1, 1)


def test_predictions_and_gold_answers_that_are_nan_are_none(tmp_path):
    nan = float("nan")
    source = lines(tmp_path / "a.jsonl", {"pred": 3, "gold": nan}, {"pred": nan, "gold": 3}, {"pred": 3, "gold": 3})
    assert [(each.answer, each.correct) for each in grade_records(source)] == [("3", None), (None, False), ("3", True)]


async def test_all_other_columns_are_kept(tmp_path, scripted, rows):
    others = {"level": 3, "tags": ["x", {"y": [1]}], "source": {"book": 1}, "notes": "n" * 3000, "none": None}
    source = lines(tmp_path / "a.jsonl", {"question": "add 3", "answer": "3", "prompt": "p", "share": 0.5, **others})
    out = tmp_path / "run"
    async with scripted() as engine:
        await run_batch(read_problems(source), out, BatchConfig(reward=None), engine=engine)
    [row] = rows(out)
    assert row["metadata"] == {"prompt": "p", "share": 0.5, **others}
    for form in ("text", "json", "csv", "markdown", "html"):
        assert present([analyse(out, by=["tags", "source", "level"])], [], form)


async def test_values_that_json_does_not_have_are_kept_as_text(tmp_path, scripted, rows, problems):
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    odd = {"path": Path("a/b"), "bytes": b"\xff", "nan": float("nan"), 3: {4: (5,)}, "deep": deep}
    problem = type(problems[0])("a", "add 3", metadata=odd)
    out = tmp_path / "run"
    async with scripted() as engine:
        await run_batch([problem], out, BatchConfig(reward=None), engine=engine)
    kept = rows(out)[0]["metadata"]
    assert kept.pop("deep")
    assert kept == {"path": "a/b", "bytes": "\ufffd", "nan": None, "3": {"4": [5]}}


async def test_ids_that_shift_are_refused(tmp_path, scripted):
    records = [{"question": f"add {n}", "answer": str(n)} for n in (3, 4, 5)]
    source, out, config = tmp_path / "a.jsonl", tmp_path / "run", BatchConfig(reward=None)
    async with scripted() as engine:
        await run_batch(read_problems(lines(source, *records)), out, config, engine=engine)
        more = [*records, {"question": "add 6"}]
        report = await run_batch(read_problems(lines(source, *more)), out, config, engine=engine)
        assert report.done == 4
        before = (out / "items.jsonl").read_bytes()
        with pytest.raises(RunFolderError, match=r"was made with other ids: '1' is '2' now.*give each record an id"):
            await run_batch(read_problems(lines(source, {"question": "add 9"}, *more)), out, config, engine=engine)
    assert (out / "items.jsonl").read_bytes() == before


async def test_items_are_not_graded_by_the_answers_of_other_questions(tmp_path, scripted):
    records = [{"question": f"add {n}", "answer": str(n)} for n in (3, 4)]
    out = tmp_path / "run"
    async with scripted() as engine:
        await run_batch(
            read_problems(lines(tmp_path / "a.jsonl", *records)), out, BatchConfig(reward=None), engine=engine
        )
    known = read_problems(lines(tmp_path / "b.jsonl", {"question": "add 9", "answer": "9"}, *records))
    gold, questions = {each.id: each.answer for each in known}, {each.id: each.question for each in known}
    with pytest.raises(BadInput, match="its id '1' is that of another question"):
        list(grade_records(out / "items.jsonl", gold=gold, questions=questions))


async def test_a_row_that_is_there_twice_counts_once(tmp_path, scripted, problems):
    out, config = tmp_path / "run", BatchConfig(reward=None)
    async with scripted() as engine:
        first = await run_batch(problems, out, config, engine=engine)
        items = (out / "items.jsonl").read_text("utf-8")
        (out / "items.jsonl").write_text(items + items.splitlines()[0] + "\n", encoding="utf-8")
        again = await run_batch(problems, out, config, engine=engine)
    assert again.to_dict() == first.to_dict()
    assert len(analyse(out).items) == len(problems)


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: {"id": "1"},
        lambda row: {**row, "usage": {}},
        lambda row: {**row, "usage": None},
        lambda row: {**row, "candidates": [1]},
        lambda row: {**row, "correct": "yes"},
        lambda row: {**row, "key": 3},
        lambda row: {name: value for name, value in row.items() if name != "metadata"},
    ],
)
async def test_a_damaged_row_is_told_by_its_line(tmp_path, scripted, problems, rows, damage):
    out, config = tmp_path / "run", BatchConfig(reward=None)
    async with scripted() as engine:
        await run_batch(problems, out, config, engine=engine)
        found = rows(out)
        lines(out / "items.jsonl", found[0], damage(found[1]), *found[2:])
        for read in (analyse, lambda path: run_batch(problems, path, config, engine=engine)):
            with pytest.raises(RunFolderError, match=r"items.jsonl line 2 is damaged; remove that line"):
                made = read(out)
                await made


def test_conversations_of_records(tmp_path):
    turns = [{"role": "user", "content": "P"}, {"role": "assistant", "content": "R"}, {"role": "user", "content": "Q"}]
    source = lines(
        tmp_path / "a.jsonl",
        {"messages": turns, "answer": 3, "system": "S"},
        {"question": "Q", "examples": [["q", "a"]], "system": {"no": "text"}},
        {"question": "Q", "messages": turns, "system": ""},
    )
    first, second, third = read_problems(source)
    assert (first.question, first.conversation.system, len(first.messages), first.metadata) == ("Q", "S", 3, {})
    assert (second.conversation.examples[0].answer, second.metadata) == ("a", {"system": {"no": "text"}})
    assert third.is_plain and third.metadata["messages"] == turns
    table = tmp_path / "a.csv"
    table.write_text('turns,examples\n"[{""role"": ""user"", ""content"": ""Q""}]","[[""q"", ""a""]]"\n', "utf-8")
    [found] = read_problems(table, mapping={"messages": "turns"})
    assert (found.question, found.conversation.examples[0].question) == ("Q", "q")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "R"}]}, "end with one of"),
        ({"messages": []}, "it has no question"),
        ({"question": "Q", "examples": [["q"]]}, "example 1 is no pair"),
    ],
)
def test_a_record_with_a_wrong_conversation_is_bad(tmp_path, record, reason):
    with pytest.raises(BadInput, match=reason):
        read_problems(lines(tmp_path / "a.jsonl", record))
