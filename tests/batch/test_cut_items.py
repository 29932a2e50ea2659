"""Items that a limit has cut with no answer: told from wrong ones, reported apart, and done again when asked."""

from __future__ import annotations

import json

import pytest

from ramify import Budget, Problem
from ramify.batch import BatchConfig, run_batch
from ramify.batch.report.analysis import analyse
from ramify.batch.report.compare import compare_runs
from ramify.batch.report.present import present
from ramify.cli.batch import progress_line, summary_line
from ramify.config import RunConfig
from ramify.errors import UsageError
from ramify.search.strategies.sampling import Greedy

LIMIT = Budget(generated_tokens=40)


def config(**options) -> BatchConfig:
    return BatchConfig(**{"strategy": Greedy(), "run": RunConfig(budget=LIMIT), "parallel": 2, **options})


@pytest.fixture
def endless(script):
    """The problems "add 1" and "add 4" are never answered."""

    def write(question, path):
        return "and so on\n" if question in ("add 1", "add 4") else script(question, path)

    return write


def states(rows) -> dict[str, str]:
    return {row["id"]: row["status"] for row in rows}


async def test_an_item_that_a_limit_cut_is_told_from_a_wrong_one(scripted, endless, problems, rows, tmp_path):
    seen = []
    async with scripted(endless) as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine, watch=seen.append)
    assert states(rows(tmp_path)) == {"p0": "ok", "p1": "cut", "p2": "ok", "p3": "ok", "p4": "cut", "p5": "ok"}
    cut = next(row for row in rows(tmp_path) if row["id"] == "p1")
    assert (cut["answer"], cut["correct"], cut["error"]) == (None, False, None)
    assert cut["stop_reason"] == "budget_generated_tokens" and cut["text"].startswith("and so on")
    # p5 is answered, wrongly.
    assert (report.done, report.ok, report.cut, report.failed) == (6, 4, 2, 0)
    assert (report.graded, report.correct, report.accuracy) == (6, 3, 0.5)
    assert (report.graded_answered, report.accuracy_answered) == (4, 0.75)
    assert seen[-1].cut == 2 and "2 cut" in progress_line(seen[-1])
    line = summary_line(report, tmp_path)
    assert "6 done · 2 cut by a limit with no answer · 3 of 6 correct, 50.0% (" in line
    assert "75.0% (30.1%-95.4%) of the 4 answered" in line
    saved = json.loads((tmp_path / "report.json").read_text())
    assert (saved["cut"], saved["ok"], saved["accuracy"], saved["accuracy_answered"]) == (2, 4, 0.5, 0.75)


async def test_reports_tell_both_accuracies_and_list_cut_items_apart(scripted, endless, problems, tmp_path):
    async with scripted(endless) as engine:
        await run_batch(problems, tmp_path / "a", config(), engine=engine)
        await run_batch(problems, tmp_path / "b", config(run=RunConfig(budget=LIMIT, seed=1)), engine=engine)
    found = analyse(tmp_path / "a")
    assert [each.id for each in found.worst] == ["p5"]
    assert found.cut == {"budget_generated_tokens": 2}
    text = present([found], [], "text")
    assert "6 of 6 done, 2 cut by a limit with no answer" in text
    assert "accuracy over all 6 " in text and "accuracy over the 4 answered" in text
    assert "Cut by a limit with no answer\n" in text and "budget generated tokens  2" in text
    assert ",cut,False," in present([found], [], "csv")
    # Compared are all problems, so that a run is no better for having left some without an answer.
    assert compare_runs(tmp_path / "a", tmp_path / "b").problems == 6


async def test_cut_items_are_done_again_only_when_asked(scripted, endless, problems, rows, tmp_path):
    notes: list[str] = []
    async with scripted(endless) as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
        await run_batch(problems, tmp_path, config(retry_failed=True), engine=engine, note=notes.append)
        assert notes == ["2 of the items had no answer when a limit ended them; --retry cut runs them again"]
        await run_batch(problems, tmp_path, config(retry="failed"), engine=engine)
    assert {row["attempt"] for row in rows(tmp_path)} == {1}
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(retry="cut"), engine=engine)
    assert (report.done, report.cut, report.accuracy) == (6, 0, 4 / 6)
    assert {row["id"]: row["attempt"] for row in rows(tmp_path)} == {f"p{n}": 2 if n in (1, 4) else 1 for n in range(6)}
    assert report.other_usage.policy.generated_tokens == 2 * LIMIT.generated_tokens
    old = [json.loads(line) for line in (tmp_path / "attempts.jsonl").read_text().splitlines()]
    assert sorted((row["id"], row["status"]) for row in old) == [("p1", "cut"), ("p4", "cut")]


async def test_only_the_chosen_problems_are_done_again(scripted, endless, problems, rows, tmp_path):
    async with scripted(endless) as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(retry="cut", ids=("p1", "p2")), engine=engine)
    assert (report.items, report.done, report.cut) == (2, 6, 1)
    assert {row["id"]: row["attempt"] for row in rows(tmp_path) if row["attempt"] > 1} == {"p1": 2}


async def test_all_takes_failed_and_cut_items(scripted, endless, problems, rows, tmp_path):
    def broken(question, path):
        return 1 / 0 if question == "add 2" else endless(question, path)

    async with scripted(broken) as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine)
    assert (report.ok, report.cut, report.failed) == (3, 2, 1)
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(retry="all"), engine=engine)
    assert (report.ok, report.cut, report.failed) == (6, 0, 0)
    assert sum(row["attempt"] == 2 for row in rows(tmp_path)) == 3


async def test_rows_of_older_versions_that_a_limit_cut_count_as_cut(scripted, endless, problems, rows, tmp_path):
    async with scripted(endless) as engine:
        await run_batch(problems, tmp_path, config(), engine=engine)
    old = [{**row, "status": "ok"} for row in rows(tmp_path)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    assert analyse(tmp_path).report.cut == 2
    async with scripted() as engine:
        report = await run_batch(problems, tmp_path, config(), engine=engine)
        assert (report.done, report.cut, report.pending) == (6, 2, 0)
        report = await run_batch(problems, tmp_path, config(retry="cut"), engine=engine)
    assert (report.done, report.cut) == (6, 0)


async def test_an_item_that_ends_by_itself_without_an_answer_is_not_cut(scripted, rows, tmp_path):
    async with scripted(lambda question, path: "nothing to say") as engine:
        report = await run_batch([Problem("a", "add 1", "1")], tmp_path, config(), engine=engine)
    assert (states(rows(tmp_path)), report.ok, report.answered) == ({"a": "ok"}, 1, 0)
    assert (report.accuracy, report.accuracy_answered) == (0.0, None)


def test_a_word_that_is_no_kind_of_item_is_refused():
    with pytest.raises(UsageError, match="use failed, cut or all"):
        config(retry="wrong")
