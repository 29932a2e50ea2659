"""The commands, in this process and on a scripted model."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

import pytest

from ramify.batch import BatchProgress
from ramify.batch.report.totals import BatchReport, summarise
from ramify.cli import main
from ramify.cli.batch import BatchProgressLine, progress_line, read_input, summary_line
from ramify.cli.reward_label import read_answered
from ramify.engine.engine import Engine
from ramify.engine.library.catalog import list_bundled
from ramify.testing import ScriptedModel
from ramify.usage import Usage

QUESTIONS = [{"id": f"p{n}", "question": f"add {n}", "answer": str(n)} for n in range(4)]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def ramify(capsys, monkeypatch) -> Callable[..., Result]:
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object, stdin: str = "") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def model(monkeypatch, script):
    """Search with a scripted model in place of the files, which are only looked at."""
    if "demo-m" not in {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")

    def use(policy: ScriptedModel) -> None:
        monkeypatch.setattr(
            "ramify.batch.executors.local.Engine",
            lambda **options: Engine(model=policy, reward=None, config=options["config"]),
        )

    use(ScriptedModel(script))
    return use


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    return path


OPTIONS = ("--reward", "none", "-s", "majority", "-w", "2")


def test_a_run_writes_its_summary_to_stderr_and_nothing_to_stdout(ramify, model, file, tmp_path):
    result = ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS)
    assert (result.code, result.out) == (0, "")
    assert result.err.startswith("4 done · 4 of 4 correct, 100.0% (51.0%-100.0%) · 64 tokens generated · ")
    assert result.err.endswith(f" · {tmp_path / 'out'}\n")
    assert ramify("batch", "run", file, "--out", tmp_path / "out", "-q", *OPTIONS) == Result(0, "", "")


def test_the_manifest_names_the_model_by_its_hash(ramify, model, file, tmp_path):
    ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["configuration"]["model"] == manifest["model"]["sha256"]
    assert len(manifest["model"]["sha256"]) == 64
    assert manifest["reward"] is None
    assert manifest["configuration"]["strategy"] == {"name": "majority", "width": 2, "max_depth": 25}


def test_another_configuration_is_refused_in_one_line(ramify, model, file, tmp_path):
    ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS)
    result = ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS, "--seed", "5")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(
        "was made with another configuration: seed was 0 and is now 5; use a new --out folder, or the options of "
        "before\n"
    )


def test_failed_items_make_exit_code_five(ramify, model, script, file, tmp_path):
    model(ScriptedModel(lambda question, path: 1 / 0 if question == "add 1" else script(question, path)))
    result = ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS)
    assert result.code == 5
    assert result.err.startswith("4 done · 1 failed · 3 of 3 correct")
    model(ScriptedModel(script))
    again = ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS)
    assert again.code == 5
    assert again.err.startswith("note: 1 of the items failed before; --retry-failed runs them again\n")
    assert ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS, "--retry-failed").code == 0


def test_a_budget_for_the_run(ramify, model, file, tmp_path):
    options = (*OPTIONS, "--parallel", "1", "--budget-total", "32")
    result = ramify("batch", "run", file, "--out", tmp_path / "out", *options)
    assert result.code == 0
    assert result.err.startswith("2 of 4 done · ")
    assert " · --budget-total is used up · " in result.err


def test_bad_lines_stop_the_command_or_are_left_out(ramify, model, file, tmp_path):
    file.write_text(file.read_text() + "oops\n")
    result = ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS)
    assert result.code == 2
    assert "1 bad record\n  line 5: it is not JSON" in result.err
    assert result.err.endswith("correct them, or leave them out with --skip-bad\n")
    assert not (tmp_path / "out").exists()
    result = ramify("batch", "run", file, "--out", tmp_path / "out", *OPTIONS, "--skip-bad")
    assert result.code == 0
    assert result.err.startswith("note: line 5 is left out: it is not JSON")


def test_problems_from_stdin_with_other_columns(ramify, model, tmp_path):
    text = "prompt,label\nadd 3,3\nadd 4,5\n"
    result = ramify(
        *("batch", "run", "-", "--format", "csv", "--map", "question=prompt", "--map", "answer=label"),
        *("--out", tmp_path / "out", *OPTIONS),
        stdin=text,
    )
    assert result.err.startswith("2 done · 1 of 2 correct")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "none.jsonl", "--out", "o"), "none.jsonl cannot be read"),
        (("run", "none.jsonl"), "missing option '--out'"),
        (("run", "x", "--out", "o", "--map", "prompt"), "is not of the form field=column"),
        (("run", "x", "--out", "o", "--repeat", "0"), "0 is not in the range"),
        (("run", "x", "--out", "o", "-s", "nonsense"), "there is no strategy 'nonsense'"),
        (("report", "none"), "none is no run folder"),
        (("report",), "missing argument 'DIR...'"),
    ],
)
def test_mistakes_are_told_in_one_line(ramify, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = ramify("batch", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert len(result.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_problems(ramify, tmp_path):
    (tmp_path / "in.jsonl").touch()
    result = ramify("batch", "run", tmp_path / "in.jsonl", "--out", tmp_path / "out")
    assert (result.code, "holds no problems" in result.err) == (2, True)


def test_a_tree_of_an_item_is_written_in_every_form(ramify, model, file, tmp_path):
    ramify("batch", "run", file, "--out", tmp_path / "a", "--save-trees", *OPTIONS)
    page = tmp_path / "tree.html"
    written = ramify("batch", "tree", tmp_path / "a", "p1", page)
    assert (written.code, written.out, written.err) == (0, "", "")
    assert page.read_text().startswith("<!doctype html>")
    assert '"question":"add 1"' in page.read_text()
    assert json.loads(ramify("batch", "tree", tmp_path / "a", "p1", "--format", "json").out)["nodes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["p1", "tree.html"], "the tree of item 'p1' was not saved; run the batch with --save-trees"),
        (["p9", "tree.html"], "has no item 'p9' that is done"),
        (["p1", "tree.html", "--repeat", "3"], "has no item 'p1' with repetition 3"),
        (["p1"], "neither a FILE nor a --format"),
        (["p1", "tree.png"], "does not end in"),
    ],
)
def test_a_tree_that_is_not_there(ramify, model, file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    ramify("batch", "run", file, "--out", tmp_path / "a", *OPTIONS)
    result = ramify("batch", "tree", tmp_path / "a", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert not (tmp_path / "tree.html").exists()


def test_reports_in_every_form(ramify, model, file, tmp_path):
    ramify("batch", "run", file, "--out", tmp_path / "a", *OPTIONS)
    ramify("batch", "run", file, "--out", tmp_path / "b", *OPTIONS[:-1], "4")
    text = ramify("batch", "report", tmp_path / "a")
    assert text.out.startswith("Run\n  folder ")
    assert "  accuracy        100.0% (95 % interval 51.0% to 100.0%)\n" in text.out
    assert json.loads(ramify("batch", "report", tmp_path / "a", "--format", "json").out)["correct"] == 4
    assert ramify("batch", "report", tmp_path / "a", "--format", "csv").out.startswith("id,repeat,status,correct,")
    both = ramify("batch", "report", tmp_path / "a", tmp_path / "b", "--format", "markdown").out
    assert "| McNemar's exact p | 1 |" in both
    assert "| generated tokens, second / first | 2.00 |" in both
    written = ramify("batch", "report", tmp_path / "a", "--format", "html", "--write", tmp_path / "a.html")
    assert (written.code, written.out) == (0, "")
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    # The ending decides where no format is named.
    for name, start in (
        ("b.html", "<!doctype html>"),
        ("b.json", "{"),
        ("b.csv", "id,"),
        ("b.md", "#"),
        ("b.log", "Run"),
    ):
        assert ramify("batch", "report", tmp_path / "a", "--write", tmp_path / name).code == 0
        assert (tmp_path / name).read_text().startswith(start), name


def test_the_page_of_a_report_links_to_pages_of_trees(ramify, model, file, tmp_path):
    pytest.importorskip("matplotlib")
    ramify("batch", "run", file, "--out", tmp_path / "a", "--save-trees", *OPTIONS)
    report = tmp_path / "my report.html"
    written = ramify("batch", "report", tmp_path / "a", "--format", "html", "--write", report)
    assert (written.code, written.out) == (0, ""), written.err
    links = [unquote(link) for link in re.findall(r'href="([^"]*)">tree<', report.read_text())]
    pages = [(tmp_path / link).read_text() for link in links]
    assert len(set(links)) == 4
    assert all(link.startswith("my report-trees/") for link in links)
    assert [f'"question":"add {number}"' in page for number, page in enumerate(pages)] == [True] * 4


def test_grade(ramify, tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"out": "so \\\\boxed{0.5}", "gold": "1/2"}\n{"out": "", "gold": "3"}\n')
    result = ramify("grade", file, "--map", "prediction=out", "--write", tmp_path / "g.jsonl")
    assert result == Result(0, "1 of 2 correct, 50.0% (95 % interval 9.5% to 90.5%); 1 without an answer\n", "")
    assert [json.loads(line)["correct"] for line in (tmp_path / "g.jsonl").read_text().splitlines()] == [True, False]
    data = json.loads(ramify("grade", file, "--map", "prediction=out", "--json").out)
    assert (data["predictions"], data["correct"], data["accuracy"]) == (2, 1, 0.5)


def test_grade_with_gold_answers_of_another_file(ramify, tmp_path, file):
    (tmp_path / "p.csv").write_text("id,pred\np1,1\np2,5\n")
    assert ramify("grade", tmp_path / "p.csv", "--gold", file).out.startswith("1 of 2 correct")
    result = ramify("grade", tmp_path / "p.csv")
    assert (result.code, "has no gold answers" in result.err) == (2, True)


def progress(**changes) -> BatchProgress:
    values = {
        **{"items": 10, "done": 4, "failed": 0, "in_flight": 2, "graded": 4, "correct": 3, "low": 0.3, "high": 0.95},
        **{"generated_tokens": 800, "budget_fraction": None, "elapsed_s": 2.0, "tokens_per_s": 400.0, "eta_s": 75.0},
    }
    return BatchProgress(**{**values, **changes})


def test_the_line_of_progress():
    assert progress_line(progress()) == "4/10 done · 75.0% correct (30%-95%) · 400 tokens/s · 1 min 15 s left"
    assert progress_line(progress(failed=1, graded=0, budget_fraction=0.25), draining=True) == (
        "4/10 done · 1 failed · 400 tokens/s · budget 25% · finishing 2"
    )


def test_plain_lines_come_now_and_then(capsys):
    now = [0.0]
    line = BatchProgressLine(clock=lambda: now[0])
    for now[0] in (1.0, 9.0, 10.0, 11.0, 20.0):
        line.watch(progress())
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_summary_of_an_interrupted_run(tmp_path):
    report = BatchReport(
        **{"items": 9, "done": 4, "ok": 4, "failed": 0, "pending": 5, "answered": 4, "graded": 0, "correct": 0},
        **{"accuracy": None, "low": 0.0, "high": 1.0, "usage": Usage(), "other_usage": Usage(), "wall_seconds": 2.0},
        **{"stop_reasons": {}, "errors": {}, "stop_reason": "interrupted"},
    )
    assert summary_line(report, tmp_path) == (
        f"4 of 9 done · 0 tokens generated · 2 s · interrupted, the same command goes on · {tmp_path}"
    )


def test_the_summary_says_what_searches_had_to_say(tmp_path, capsys, ramify, model, file):
    ramify("batch", "run", file, "--out", tmp_path / "a", *OPTIONS)
    items = tmp_path / "a" / "items.jsonl"
    rows = [json.loads(line) for line in items.read_text().splitlines()]
    rows[0]["note"] = rows[2]["note"] = "one path at most"
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = summarise(tmp_path / "a")
    assert report.to_dict()["notes"] == {"one path at most": 2}
    BatchProgressLine().summary(report, tmp_path)
    assert "2 of 4 items: one path at most\n" in capsys.readouterr().err
    table = ramify("batch", "report", tmp_path / "a").out
    assert re.search(r"Notes of searches\n.*\n  one path at most +2\n", table)


def test_a_shared_budget_from_the_command_line(ramify, model, file, tmp_path):
    asks = ("batch", "run", file, "--out", tmp_path / "out", "-s", "majority", "-w", "4", "--budget-total", "1k")
    result = ramify(*asks, "--allocation", "adaptive")
    assert result.code == 0 and result.err.startswith("4 done")
    configuration = json.loads((tmp_path / "out" / "manifest.json").read_text())["configuration"]
    assert configuration["allocation"] == {"name": "adaptive", "generated_tokens": 1000}
    result = ramify(*asks)
    assert result.code == 2 and "allocation was" in result.err


def test_options_that_do_not_go_together_are_named(ramify, model, file, tmp_path):
    asks = ("batch", "run", file, "--out", tmp_path / "out")
    result = ramify(*asks, "--actors", "2")
    assert result.code == 2 and "engines of a Ray cluster" in result.err
    result = ramify(*asks, "--fallback-confidence", "0.5")
    assert result.code == 2 and "add --fallback" in result.err
    assert not (tmp_path / "out").exists()


def test_the_checker_of_a_prompt_file_is_for_problems_that_name_none(tmp_path):
    prompt = tmp_path / "p.toml"
    prompt.write_text('system = "Be brief."\ncheck = "regex"\n')
    file = tmp_path / "in.jsonl"
    records = [{"question": "a?", "answer": "7"}, {"question": "b?", "answer": "7", "check": "math"}]
    file.write_text("".join(json.dumps(each) + "\n" for each in records))
    options = {"mapping": (), "form": None, "skip_bad": False, "prompt_preset": str(prompt)}
    assert [each.check for each in read_input(str(file), options)] == ["regex", "math"]
    assert [each.check for each in read_answered(file, None, str(prompt))] == ["regex", "math"]
    assert [each.check for each in read_answered(file)] == ["math", "math"]
