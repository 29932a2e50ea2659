from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import pytest

from ramify import BestOfN, Engine, Greedy, MajorityVote, Rebase, UsageError
from ramify.batch import BatchConfig, RunFolderError, compare_runs, run_batch
from ramify.batch.report.analysis import analyse
from ramify.batch.report.compare import compare_analyses
from ramify.batch.report.figures import Figure, Point, figures, figures_as_svg, save_figures
from ramify.batch.report.present import as_csv, present
from ramify.batch.report.totals import accuracy_interval
from ramify.problem import Problem
from ramify.statistics import wilson
from ramify.testing import ScriptedModel

ANSWERS = ("1", "2", "2", "1", "2", "2", "2", "2")
"""Answers of eight paths in order: votes among the first 1, 2, 4 and 8 give 1, 1, 1 and 2 where 1 has better scores."""


def paths(question: str, path: tuple[int, ...]) -> str:
    if len(path) == 1:
        return "Let me think.\n"
    return f"The answer is {ANSWERS[path[0] % 8] if question == 'hard' else 2}."


def prefer_one(question: str, steps: tuple[str, ...]) -> float:
    return 0.9 if steps[-1].endswith(" 1.") else 0.3


PROBLEMS = [
    Problem("h", "hard", "2", metadata={"level": "b"}),
    Problem("e", "easy", "2", metadata={"level": "a"}),
    Problem("w", "wrong", "3", metadata={"level": "a"}),
    Problem("f", "easy too", "2", metadata={"level": "b"}),
]


async def run(folder, strategy, problems=PROBLEMS, script=paths, **options):
    async with Engine(model=ScriptedModel(script), reward=prefer_one) as engine:
        config = BatchConfig(strategy=strategy, parallel=1, **options)
        return await run_batch(problems, folder, config, engine=engine)


@pytest.fixture
async def best(tmp_path):
    await run(tmp_path / "best", BestOfN(width=8), save_trees=True)
    return tmp_path / "best"


async def test_votes_are_held_again_among_fewer_paths(best):
    shares = {each.label: (each.successes, each.trials) for each in analyse(best).votes}
    # "hard" is right by majority only with all eight paths: 2:6 of them; among four it is a tie of 2:2 which the
    # better score decides. By weight 2 * 0.9 = 1.8 stands against 6 * 0.3 = 1.8, and the better score decides again.
    assert [shares[f"majority, k={k}"] for k in (1, 2, 4, 8)] == [(2, 4), (2, 4), (2, 4), (3, 4)]
    assert [shares[f"best, k={k}"] for k in (1, 2, 4, 8)] == [(2, 4)] * 4
    assert shares["majority, all paths"] == (3, 4)
    assert shares["best, all paths"] == (2, 4)


async def test_items_with_fewer_paths_stay_among_the_votes(tmp_path):
    def script(question: str, path: tuple[int, ...]) -> str:
        if question == "hard" and len(path) < 30:
            return "Let me think.\n"
        if question == "wrong" and path[0] < 6 and len(path) < 30:
            return "Let me think.\n"
        return paths(question, path)

    await run(tmp_path, MajorityVote(width=8, max_depth=4), script=script)
    shares = {each.label: (each.successes, each.trials) for each in analyse(tmp_path).votes}
    # No path of "hard" ends, and two of "wrong" do; both are wrong at every k.
    assert {shares[f"majority, k={k}"] for k in (1, 2, 4, 8)} == {(2, 4)}
    assert shares["majority, all paths"] == (2, 4)


async def test_votes_count_the_tokens_of_their_paths(best):
    tokens = {each.label: each.tokens for each in analyse(best).votes}
    assert [tokens[f"best, k={k}"] for k in (1, 2, 8)] == [8, 16, 64]
    assert tokens["best, all paths"] is None


async def test_dependent_paths_are_not_voted_among_in_part(tmp_path):
    await run(tmp_path, Rebase(width=4))
    assert {each.label for each in analyse(tmp_path).votes} == {
        "best, all paths",
        "majority, all paths",
        "weighted, all paths",
    }


async def test_groups_agreement_and_calibration(best):
    found = analyse(best)
    assert {
        name: [(each.label, each.successes, each.trials) for each in shares] for name, shares in found.groups.items()
    } == {"level": [("a", 1, 2), ("b", 1, 2)]}
    # Best-of-n says 1 on "hard", which 2 of 8 paths say; on the others all agree.
    assert [(each.label, each.successes, each.trials) for each in found.agreement] == [
        ("0.2-0.4", 0, 1),
        ("0.8-1.0", 2, 3),
    ]
    # Score 0.9: the two paths that say 1, wrong. Score 0.3: 6 + 8 + 8 right, the 8 of "wrong" not.
    assert [(each.label, each.successes, each.trials) for each in found.calibration] == [
        ("0.2-0.4", 22, 30),
        ("0.8-1.0", 0, 2),
    ]
    assert dict(found.cut_steps) == {"step": 32, "eos": 32}


async def test_the_surest_mistakes_come_first_with_their_trees(best):
    found = analyse(best)
    assert [each.id for each in found.worst] == ["w", "h"]
    tree = found.tree_of(found.worst[0])
    assert tree is not None and (best / tree).is_file()


async def test_fields_to_group_by_can_be_named(best):
    assert list(analyse(best, by=["colour"]).groups) == ["colour"]


async def test_failed_items_are_counted_and_listed(tmp_path):
    def broken(question, path):
        return paths(question, path) if question != "easy" else 1 / 0

    await run(tmp_path, MajorityVote(width=2), script=broken)
    found = analyse(tmp_path)
    assert (found.report.failed, found.report.errors) == (1, {"ZeroDivisionError": 1})
    assert found.worst[0].id == "e"
    assert "ZeroDivisionError: division by zero" in present([found], [], "text")


async def test_the_interval_of_repeated_problems_is_one_over_problems():
    # Two problems, one always right and one always wrong: a resample is 0, 1/2 or 1 with shares 1/4, 1/2, 1/4.
    assert accuracy_interval({"a": (5, 5), "b": (0, 5)}) == (0.0, 1.0)
    assert accuracy_interval({"a": (5, 5), "b": (5, 5)}) == accuracy_interval({"a": (1, 1), "b": (1, 1)}) != (1.0, 1.0)
    assert accuracy_interval({"a": (0, 2)}) == wilson(0, 1)
    # Ten problems with four items and thirty with one, as after a stop: the figure is 40 of 70, not 10 of 40.
    uneven = {str(each): (4, 4) if each < 10 else (0, 1) for each in range(40)}
    low, high = accuracy_interval(uneven)
    assert 0.3 < low < 40 / 70 < high < 0.8
    low, _ = accuracy_interval({"a": (1, 1), "b": (0, 1)})
    assert 0.09 < low < 0.1


async def test_two_runs_are_compared_problem_by_problem(best, tmp_path):
    await run(tmp_path / "majority", MajorityVote(width=4))
    found = compare_runs(tmp_path / "majority", best)
    # Majority over four paths without scores: a tie on "hard" goes to the first path, which says 1.
    assert (found.problems, found.both, found.only_first, found.only_second, found.neither) == (4, 2, 0, 0, 2)
    assert (found.difference, found.low, found.high, found.p_value, found.token_ratio) == (0, 0, 0, 1, 2)
    await run(tmp_path / "eight", MajorityVote(width=8))
    found = compare_runs(best, tmp_path / "eight")
    assert (found.only_first, found.only_second, found.difference, found.token_ratio) == (0, 1, 0.25, 1)
    assert (found.low, found.p_value) == (0, 1)


async def test_repeated_problems_have_no_mcnemar(best, tmp_path):
    await run(tmp_path / "repeated", BestOfN(width=8), repeat=2)
    found = compare_runs(best, tmp_path / "repeated")
    assert (found.problems, found.p_value, found.both, found.difference) == (4, None, None, 0)


async def test_runs_without_a_problem_in_common_are_not_compared(best, tmp_path):
    await run(tmp_path / "other", MajorityVote(width=2), problems=[Problem("x", "another", "2")])
    with pytest.raises(RunFolderError, match="no graded problem in common"):
        compare_runs(best, tmp_path / "other")


class Balance(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "rect", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "circle", "polyline"):
            assert self.open.pop() == tag


async def test_the_page_needs_nothing_else(best, tmp_path):
    pytest.importorskip("matplotlib")
    await run(tmp_path / "<other>", MajorityVote(width=8))
    runs = [analyse(best), analyse(tmp_path / "<other>")]
    text = present(runs, [compare_analyses(*runs)], "html")
    parser = Balance()
    parser.feed(text)
    assert parser.open == []
    assert parser.links and all(link.startswith("file://") for link in parser.links)
    assert "script" not in parser.seen and "svg" in parser.seen
    assert "<other>" not in text


async def test_each_of_several_runs_has_figures_of_its_own(best, tmp_path):
    await run(tmp_path / "majority", MajorityVote(width=8))
    runs = [analyse(tmp_path / "majority"), analyse(best)]
    titles = [each.title for each in figures(runs)]
    for name in ("majority", "best"):
        assert f"Accuracy by level, {name}" in titles
        assert f"Accuracy by agreement of the votes, {name}" in titles
    assert "Calibration of the scores, best" in titles and "Calibration of the scores, majority" not in titles
    (votes,) = [each for each in figures(runs) if each.title == "Votes among fewer paths"]
    assert {"majority majority", "best majority", "best best"} <= {name for name, _ in votes.series}
    alone = {each.title: each for each in figures(runs[:1])}
    assert "Accuracy by level" in alone
    cost = alone["Generated tokens by level"]
    assert [point.y for _, points in cost.series for point in points] == [
        each.tokens for each in runs[0].groups["level"]
    ]
    assert (cost.y_title, cost.top) == (
        "generated tokens of an item",
        max(each.tokens for each in runs[0].groups["level"]),
    )


def test_numbers_on_an_axis_are_written_as_people_do():
    pytest.importorskip("matplotlib")
    seconds = Figure("t", "seconds", (("run", (Point(0.3, 0.5, 0.4, 0.6), Point(30, 0.5, 0.4, 0.6))),))
    flops = Figure("t", "FLOPs", (("run", (Point(5e8, 0.5, 0.4, 0.6),)),))
    drawn = figures_as_svg([seconds, flops])
    assert all(f">{each}</text>" in drawn[0] for each in ("0.5", "1", "20", "50%", "seconds"))
    assert ">5e8</text>" in drawn[1]


def test_labels_are_text_and_not_formulas():
    pytest.importorskip("matplotlib")
    names = ("$x", "<b>", "漢$")
    bars = Figure("t", "field $^$", (("", tuple(Point(n, 0.5, 0.4, 0.6) for n in range(3))),), names)
    (drawn,) = figures_as_svg([bars])
    assert all(f">{each}</text>" in drawn for each in ("$x", "&lt;b&gt;", "漢$", "field $^$"))
    assert figures_as_svg([bars]) == [drawn]


async def test_items_are_grouped_by_the_model_that_decided(best):
    rows = [json.loads(line) for line in (best / "items.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        row["model"] = {"policy": "large" if number % 2 else "small", "reward": None, "fallback": {"note": None}}
    (best / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shares = analyse(best).groups["deciding model"]
    assert [(each.label, each.trials) for each in shares] == [("large", 2), ("small", 2)]


async def test_csv_has_a_line_for_each_item(best):
    lines = list(csv.DictReader(io.StringIO(present([analyse(best)], [], "csv"))))
    assert [(each["id"], each["correct"], each["level"]) for each in lines] == [
        ("h", "False", "b"),
        ("e", "True", "a"),
        ("w", "False", "a"),
        ("f", "True", "b"),
    ]


async def test_reports_escape_what_the_files_say(best):
    rows = [json.loads(line) for line in (best / "items.jsonl").read_text().splitlines()]
    for row in rows:
        row["id"] = f"=cmd|{row['id']}"
        row["answer"] = "<img src=x onerror=alert(1)>"
        row["metadata"] = {"@field": "<b>[x](y)</b>"}
    (best / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = present([analyse(best, by=["@field"])], [], "markdown")
    assert "<img" not in text.replace("\\<", "") and "[x]" not in text and "=cmd\\|" in text
    lines = list(csv.reader(io.StringIO(present([analyse(best)], [], "csv"))))
    assert lines[0][-1] == "'@field" and all(line[0].startswith("'=cmd|") for line in lines[1:])


async def test_json_holds_the_totals_and_the_figures(best):
    data = json.loads(present([analyse(best)], [], "json"))
    assert (data["done"], data["correct"], data["accuracy"]) == (4, 2, 0.5)
    assert data["groups"]["level"][0]["label"] == "a"
    assert data["per_item"]["generated_tokens"] == {"mean": 64, "median": 64, "p95": 64, "max": 64}


async def test_markdown_tables_are_of_one_width(best):
    text = present([analyse(best)], [], "markdown")
    for block in text.split("## ")[1:]:
        widths = {line.count("|") for line in block.splitlines() if line.startswith("|")}
        assert len(widths) == 1, block


async def test_plots_are_drawn(best, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a.png", "a.svg"):
        save_figures([analyse(best)], tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(UsageError, match="does not end in"):
        save_figures([analyse(best)], tmp_path / "a.docx")


async def test_plots_without_matplotlib_say_what_to_install(best, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"ramify\[plot\]"):
        save_figures([analyse(best)], tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"figures of an HTML page need matplotlib; .*ramify\[plot\]"):
        present([analyse(best)], [], "html")
    assert "accuracy" in present([analyse(best)], [], "text")


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunFolderError, match="is no run folder"):
        analyse(tmp_path)


async def test_a_field_of_the_problems_that_is_called_like_a_figure_has_a_name_of_its_own(tmp_path, scripted):
    problems = [Problem(id="a", question="add 1", answer="1", metadata={"score": "gold", "level": 3})]
    async with scripted() as engine:
        await run_batch(problems, tmp_path, BatchConfig(strategy=Greedy()), engine=engine)
    (row,) = csv.DictReader(io.StringIO(as_csv([analyse(tmp_path)])))
    assert (row["metadata.score"], row["level"]) == ("gold", "3")
    assert row["score"] != "gold"
