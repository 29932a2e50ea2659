"""`ramify runs`, and that `solve` saves what it finds."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from ramify import SearchTree, Solution
from ramify.cli.option_types import TREE_SUFFIXES
from ramify.engine.history import RunStore
from ramify.files import data_folder
from ramify.search.export import TREE_FORMATS
from ramify.testing import ScriptedModel, ScriptedStep
from ramify.usage import Usage

ANSWERS = ("5", "7", "7", "6")


@pytest.fixture
def model(scripted) -> None:
    def steps(question: str, path: tuple[int, ...]) -> str:
        return f"Step {path[0]}.\n" if len(path) == 1 else f"The answer is {ANSWERS[path[0] % 4]}."

    scripted(ScriptedModel(steps))


@pytest.fixture
def solved(ramify, model) -> str:
    """Solve two questions; return the id of the newer run."""
    for question in ("How many apples?", "How many pears?"):
        assert ramify("-r", "none", "-w", "4", "-q", question).out == "7\n"
    return json.loads(ramify("runs", "list", "--json").out)[0]["id"]


def test_a_run_is_saved_with_its_tree_and_options(ramify, solved):
    data = json.loads(ramify("runs", "show", "last", "--json").out)
    assert data["id"] == solved
    assert {key: data["options"][key] for key in ("width", "reward", "model", "strategy_extras")} == {
        "width": 4,
        "reward": "none",
        "model": "demo-m",
        "strategy_extras": {},
    }
    solution = Solution.from_dict(data["solution"])
    assert (solution.question, solution.answer) == ("How many pears?", "7")
    assert solution.tree is not None and len(solution.tree) == 9


def test_without_saving_there_is_no_history(ramify, model):
    assert ramify("-r", "none", "-w", "4", "-q", "--no-save", "How many?").code == 0
    assert not data_folder().exists()
    result = ramify("runs", "list")
    assert (result.code, result.out) == (0, "")
    assert result.err == 'note: there are no runs yet; ramify "QUESTION" makes one\n'


def test_a_run_without_an_answer_is_saved_too(ramify, scripted):
    scripted(ScriptedModel(lambda question, path: ScriptedStep(text="I do not know.", end=True)))
    assert ramify("-r", "none", "-w", "2", "-q", "How many?").code == 4
    assert "no answer\nmajority: no path finished" in ramify("runs", "show", "last").out


def test_an_answer_is_given_even_if_it_cannot_be_saved(ramify, model, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RAMIFY_DATA", str(tmp_path / "file"))
    result = ramify("-r", "none", "-w", "4", "How many?", "--quiet")
    assert (result.code, result.out) == (0, "7\n")
    assert result.err.startswith("note: the run was not saved: the run history ")


def test_an_answer_is_given_even_if_its_tree_cannot_be_written(ramify, model, monkeypatch, tmp_path):
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("ramify.cli.runs.export_text", full)
    result = ramify("-r", "none", "-w", "4", "-q", "--save-tree", str(tmp_path / "tree.svg"), "How many?")
    assert (result.code, result.out) == (2, "7\n")
    assert result.error.endswith("tree.svg cannot be written: No space left on device; choose another file")


def test_list_is_a_table_with_the_newest_first(ramify, solved, monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")
    result = ramify("runs", "list")
    head, first, second = result.out.splitlines()
    assert head.split() == ["ID", "SAVED", "STRATEGY", "MODEL", "TOKENS", "SECONDS", "ANSWER", "QUESTION"]
    assert first.startswith(solved) and first.endswith("How many pears?")
    assert second.endswith("How many apples?")
    assert re.search(r"  majority  scripted +\d+ +\d\.\d +7 +How", first)
    assert ramify("runs", "list", "--query", "APPLES", "--limit", "1").out.splitlines()[1] == second
    assert ramify("runs", "list", "--query", "plums").err == "note: no run says that\n"


def test_list_as_json_is_empty_without_runs(ramify):
    assert json.loads(ramify("runs", "list", "--json").out) == []


def test_a_damaged_file_is_noted_and_can_be_deleted(ramify, solved):
    (path,) = (data_folder() / "runs").glob(f"*-{solved}.jsonl")
    path.write_text("{")
    result = ramify("runs", "list")
    assert result.code == 0 and len(result.out.splitlines()) == 2
    assert result.err.startswith(f"note: run {solved} cannot be read: it is cut off")
    shown = ramify("runs", "show", solved)
    assert (shown.code, shown.out) == (2, "")
    assert shown.error.endswith(f"`ramify runs delete {solved}` removes {path}")
    assert ramify("runs", "delete", solved).err == f"deleted {solved}\n"
    assert ramify("runs", "list").err == ""


def test_show_draws_the_tree(ramify, solved):
    lines = ramify("runs", "show", solved[:6], "--width", "40").out.splitlines()
    assert lines[0].startswith(f"run {solved}, 20")
    assert lines[1:4] == ["How many pears?", "", "answer: 7"]
    assert lines[4].startswith("majority: 2 of 4 finished paths agree")
    assert lines[6:] == [
        "question",
        "├─    -   Step 0.",
        "│     -   = 5 | The answer is 5.",
        "├─    - * Step 1.",
        "│     - * = 7 | The answer is 7.",
        "├─    -   Step 2.",
        "│     -   = 7 | The answer is 7.",
        "└─    -   Step 3.",
        "      -   = 6 | The answer is 6.",
        "",
        "Step 1.",
        "The answer is 7.",
    ]


def test_show_summarises_a_large_tree_unless_all_is_asked_for(ramify, model):
    assert ramify("-r", "none", "-w", "60", "-q", "How many?").code == 0
    part = ramify("runs", "show", "last").out
    assert "… 40 more\n(120 steps in all; --all shows each)\n" in part
    whole = ramify("runs", "show", "last", "--all").out
    assert "more" not in whole and whole.count("The answer is") == 60 + 1


def test_replay_writes_whole_steps_in_their_order(ramify, scripted):
    words = " ".join(f"word{number}" for number in range(20))
    scripted(ScriptedModel(lambda question, path: f"{words}\n" if len(path) == 1 else "The answer is 7."))
    ramify("-r", "none", "-s", "greedy", "-q", "How many?")
    lines = ramify("runs", "replay", "last", "--width", "80").out.splitlines()
    assert re.fullmatch(r"#1 after the question · \d+ tokens", lines[0])
    assert " ".join(" ".join(lines[1:3]).split()) == words
    assert all(len(line) <= 80 for line in lines)
    assert re.fullmatch(r"#2 after #1 · \d+ tokens · answer 7", lines[3])
    assert lines[4:] == ["    The answer is 7."]


@pytest.mark.parametrize("ending", TREE_SUFFIXES)
def test_export_writes_every_format(ramify, solved, tmp_path, ending):
    file = tmp_path / f"tree{ending}"
    result = ramify("runs", "export", solved, str(file))
    assert (result.code, result.out, result.err) == (0, "", "")
    assert len(file.read_text("utf-8")) > 300
    if ending == ".json":
        assert len(SearchTree.from_dict(json.loads(file.read_text()))) == 9


def test_a_page_goes_to_stdout_and_holds_the_runs_to_compare(ramify, solved):
    other = json.loads(ramify("runs", "list", "--json").out)[1]["id"]
    result = ramify("runs", "export", solved, "--format", "html", "--with", other)
    assert (result.code, result.err) == (0, "")
    (data,) = re.findall(r'id="data">(.*?)</script>', result.out)
    runs = json.loads(data)["runs"]
    assert [(run["id"], run["solution"]["question"]) for run in runs] == [
        (solved, "How many pears?"),
        (other, "How many apples?"),
    ]
    assert runs[0]["solution"]["answer"] == "7"
    assert runs[0]["tree"]["nodes"][runs[0]["winner"]]["answer"] == "7"
    assert SearchTree.from_dict(json.loads(ramify("runs", "export", solved, "--format", "json").out))


def test_every_tree_format_can_be_named():
    assert tuple(TREE_FORMATS) == TREE_SUFFIXES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nothing"], "there is no run 'nothing'; `ramify runs list` shows the ids"),
        (["replay", "nothing"], "there is no run"),
        (["export", "nothing", "tree.svg"], "there is no run"),
        (["export", "last", "tree.png"], "does not end in .json, .graphml, .dot, .mmd, .svg"),
        (["export", "last"], "neither a FILE nor a --format"),
        (["export", "last", "--format", "svg", "--with", "last"], "--with does not go with .svg"),
        (["export", "last", "--format", "png"], "--format"),
        (["export", "last", "--format", "html", "--with", "nothing"], "there is no run"),
        (["delete"], "missing argument"),
        (["show", "last", "--width", "10"], "--width"),
        (["list", "--limit", "0"], "--limit"),
        (["lst"], "no such command"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(ramify, solved, arguments, words):
    result = ramify("runs", *arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.error


def test_a_run_without_a_tree(ramify, tmp_path):
    made = Solution(
        question="q", answer="7", text="", score=None, stop_reason="completed", usage=Usage(), candidates=(), seed=0,
        strategy={"name": "pool"}, model={},
    )  # fmt: skip
    RunStore().save(made, {})
    assert ramify("runs", "show", "last").out.endswith("\nthis run has no tree\n")
    for arguments in (["replay", "last"], ["export", "last", str(tmp_path / "tree.dot")]):
        result = ramify("runs", *arguments)
        assert (result.code, result.out) == (2, "")
        assert "has no tree; runs that pool several searches have none" in result.error


def test_hostile_texts_move_no_cursor(ramify, scripted):
    scripted(ScriptedModel(lambda question, path: "\x1b[2J\x9b31m\u202e\r\x07 The answer is \x1b]0;x\x07."))
    ramify("-r", "none", "-w", "2", "-q", "\x1b[31mHow many?")
    for arguments in (["list"], ["show", "last"], ["replay", "last"]):
        out = ramify("runs", *arguments).out
        assert "How many?" in out or "The answer is" in out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)


def test_colours_only_on_a_terminal(ramify, solved, on_terminal):
    shown = [sys.executable, "-m", "ramify", "runs", "show", "last"]
    assert "\x1b[1;33m   - * Step 1.\x1b[0m" in on_terminal(shown)
    assert "\x1b" not in on_terminal(shown, NO_COLOR="1")
    assert "\x1b" not in ramify("runs", "show", "last").out
