"""The user's own defaults: what comes before what, and what is said about mistakes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ramify.cli.config import all_settings, known_settings
from ramify.engine.history import KEPT_RUNS
from ramify.files import config_path, data_folder
from ramify.testing import ScriptedModel


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Write the settings file."""

    def file(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text)
        monkeypatch.setenv("RAMIFY_CONFIG", str(path))
        return path

    return file


@pytest.fixture
def model(scripted) -> None:
    steps = ("A step.\n", "The answer is 7.")
    scripted(ScriptedModel(lambda question, path: steps[len(path) - 1]), lambda question, path: 0.5)


def solved(ramify, *arguments: str) -> dict:
    result = ramify("--json", "-q", *arguments, "How many?")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_options_come_before_the_environment_and_that_before_the_file(ramify, model, write, monkeypatch):
    assert solved(ramify)["strategy"]["width"] == 16
    write("width = 3\nseed = 5\nstrategy = 'majority'\n")
    data = solved(ramify)
    assert (data["strategy"]["name"], data["strategy"]["width"], data["seed"]) == ("majority", 3, 5)
    monkeypatch.setenv("RAMIFY_WIDTH", "4")
    assert solved(ramify)["strategy"]["width"] == 4
    data = solved(ramify, "--width", "2", "--seed", "0")
    assert (data["strategy"]["width"], data["seed"]) == (2, 0)
    monkeypatch.setenv("RAMIFY_WIDTH", "")
    assert solved(ramify)["strategy"]["width"] == 3


def test_units_are_read_as_on_the_command_line(ramify, model, write):
    write('max_generated_tokens = "0.04k"\nmax_nodes = 1000\nstrategy = "majority"\nwidth = 100\n')
    data = json.loads(ramify("--json", "-q", "How many?").out)
    assert data["stop_reason"] == "budget_generated_tokens"
    assert data["usage"]["policy"]["generated_tokens"] <= 40


def test_whether_runs_are_saved_and_how_many_can_be_set(ramify, model, write):
    write("save = false\n")
    solved(ramify)
    assert not data_folder().exists()
    solved(ramify, "--save")
    write("keep_runs = 2\n")
    for _ in range(3):
        solved(ramify)
    assert len(json.loads(ramify("runs", "list", "--json").out)) == 2


def test_a_default_that_a_strategy_does_not_have_is_left_out(ramify, model, write):
    write("width = 4\ntree_temperature = 0.3\n")
    assert "width" not in solved(ramify, "-s", "greedy")["strategy"]
    assert solved(ramify, "-s", "majority")["strategy"]["width"] == 4
    assert solved(ramify, "-s", "rebase")["strategy"]["temperature"] == 0.3
    assert "chooses all options itself" not in ramify("-s", "auto", "How many?").err


def test_an_option_that_a_strategy_does_not_have_is_still_refused(ramify, model, write):
    write("tree_temperature = 0.3\n")
    assert "greedy has no --width" in ramify("-s", "greedy", "-w", "4", "How many?").error


def test_show_says_where_each_value_comes_from(ramify, write, monkeypatch):
    path = write('# mine\n\n"width" = 8\nmax_seconds = "2m"\n')
    monkeypatch.setenv("RAMIFY_THREADS", "3")
    data = json.loads(ramify("config", "show", "--json").out)
    assert data["width"] == {"value": 8, "source": f"{path}:3"}
    assert data["max_seconds"] == {"value": 120.0, "source": f"{path}:4"}
    assert data["threads"] == {"value": 3, "source": "env RAMIFY_THREADS"}
    assert data["model"] == {"value": "demo-m", "source": "built-in"}
    assert data["strategy"] == {"value": None, "source": "built-in"}
    assert list(data) == list(known_settings())
    lines = ramify("config", "show").out.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "FROM"]
    assert ["save", "true", "built-in"] in [line.split() for line in lines]
    assert ["strategy", "-", "built-in"] in [line.split() for line in lines]


def test_the_built_in_size_of_the_history_is_the_librarys():
    assert all_settings()["keep_runs"].value == KEPT_RUNS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("widht = 8\n", "mine.toml:1: there is no setting 'widht'; did you mean 'width'?"),
        ("seed = 1\nmax-nodes = 8\n", "mine.toml:2: there is no setting 'max-nodes'; did you mean 'max_nodes'?"),
        ("\n[zzz]\nx = 1\n", "mine.toml:2: there is no setting 'zzz'; `ramify config show` lists them"),
        ("width = [1]\n", "mine.toml:1: width has to be one value"),
        ("[model]\nname = 'x'\n", "mine.toml:1: model has to be one value"),
        ("seed = 2026-03-01\n", "mine.toml:1: seed has to be one value"),
        ("width = 0\n", "mine.toml:1: width: 0 is not in the range"),
        ("width = true\n", "mine.toml:1: width: 'True' is not a valid integer"),
        ("seed = 1.5\n", "mine.toml:1: seed: '1.5' is not a valid integer"),
        ("temperature = nan\n", "mine.toml:1: temperature: 'nan' is not a finite number"),
        ("isolation = 'hope'\n", "mine.toml:1: isolation: 'hope' is not one of"),
        ("save = 'perhaps'\n", "mine.toml:1: save: 'perhaps' is not a valid boolean"),
        ("keep_runs = 0\n", "mine.toml:1: keep_runs: '0' is not above 0"),
        ("width = \n", "mine.toml is not TOML: invalid value (at line 1, column 9)"),
        ("width = 1\nwidth = 2\n", "mine.toml is not TOML: "),
    ],
)
@pytest.mark.parametrize("arguments", [["How many?"], ["config", "show"]])
def test_mistakes_in_the_file_say_where(ramify, write, arguments, text, words):
    write(text)
    result = ramify(*arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.error


KEYS = '[keys]\nstop = "s"\nprune = ["d", "delete"]\n'


def test_keys_of_the_terminal_ui_are_shown_and_change_nothing_else(ramify, model, write):
    path = write("width = 3\n" + KEYS)
    lines = [line.split() for line in ramify("config", "show").out.splitlines()]
    assert ["keys.stop", "s", f"{path}:3"] in lines
    assert ["keys.prune", "d,", "delete", f"{path}:4"] in lines
    data = json.loads(ramify("config", "show", "--json").out)
    assert data["keys.prune"] == {"value": ["d", "delete"], "source": f"{path}:4"}
    assert solved(ramify)["strategy"]["width"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[keys]\npaus = "s"\n', "mine.toml:2: there is no action 'paus'; did you mean 'pause'?"),
        ('width = 3\n[keys]\n\nstop = "banana"\n', "mine.toml:4: stop cannot have the key 'banana'"),
        ('[keys]\nstep = "d"\nstop = "d"\n', "mine.toml:3: stop cannot have the key 'd', which is that of step"),
        ("[keys]\nstop = 3\n", 'mine.toml:2: stop has to be a key or a list of keys; write it like stop = "s"'),
        ("keys = 3\n", "mine.toml:1: keys has to be a table; write [keys] and below it"),
    ],
)
@pytest.mark.parametrize("arguments", [["tui"], ["config", "show"]])
def test_wrong_keys_say_where(ramify, write, monkeypatch, arguments, text, words):
    write(text)
    monkeypatch.setattr("ramify.cli.tui.on_terminal", lambda: True)
    result = ramify(*arguments)
    assert (result.code, result.out) == (2, "")
    assert words in result.error


def test_own_keys_reach_the_terminal_ui(ramify, write, monkeypatch):
    pytest.importorskip("textual")
    from ramify.tui.app import RamifyApp

    write(KEYS)
    monkeypatch.setattr("ramify.cli.tui.on_terminal", lambda: True)
    monkeypatch.setattr("ramify.tui.common.logs.own_terminal", lambda: contextlib.nullcontext())
    opened = list[RamifyApp]()
    monkeypatch.setattr(RamifyApp, "run", lambda app: opened.append(app))
    assert ramify("tui").code == 0
    assert (opened[0].sign("stop"), opened[0].sign("prune")) == ("s", "d")


def test_a_wrong_variable_is_named(ramify, monkeypatch):
    monkeypatch.setenv("RAMIFY_TOP_P", "2")
    assert "the environment variable RAMIFY_TOP_P: 2.0 is not in the range" in ramify("How many?").error


def test_a_broken_file_stops_only_what_needs_it(ramify, write):
    write("widht = 8\n")
    for arguments in (["--help"], ["solve", "--help"], ["--version"], ["models", "list"], ["config", "path"]):
        assert ramify(*arguments).code == 0
    for arguments in (["batch", "run", "in.jsonl", "--out", "out"], ["runs", "list"]):
        assert "did you mean 'width'" in ramify(*arguments).error


def test_a_named_file_must_exist_and_be_text(ramify, monkeypatch, tmp_path):
    monkeypatch.setenv("RAMIFY_CONFIG", str(tmp_path / "none.toml"))
    assert "none.toml, which does not exist" in ramify("How many?").error
    (tmp_path / "none.toml").write_bytes(b"\xff\xfe")
    assert "none.toml cannot be read: it is not UTF-8 text" in ramify("How many?").error
    monkeypatch.setenv("RAMIFY_CONFIG", str(tmp_path))
    assert "cannot be read: Is a directory" in ramify("How many?").error


@pytest.mark.parametrize(
    ("variables", "path"),
    [
        ({"RAMIFY_CONFIG": "~/mine.toml"}, "/home/me/mine.toml"),
        ({"XDG_CONFIG_HOME": "/xdg"}, "/xdg/ramify/config.toml"),
        ({"XDG_CONFIG_HOME": "relative"}, "/home/me/.config/ramify/config.toml"),
        ({"XDG_CONFIG_HOME": ""}, "/home/me/.config/ramify/config.toml"),
    ],
)
def test_where_the_file_is(ramify, monkeypatch, variables, path):
    for name, value in ({"HOME": "/home/me"} | variables).items():
        monkeypatch.setenv(name, value)
    assert config_path() == Path(path)
    assert ramify("config", "path").out == f"{path}\n"


def test_looking_at_settings_loads_no_model_library():
    code = (
        "import sys; from ramify.cli import main; main(['config', 'show']);"
        "print([name for name in ('llama_cpp', 'numpy', 'networkx', 'pydantic', 'anyio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_byte_order_mark_before_the_settings_is_none_of_them(write):
    path = write("")
    path.write_bytes(b"\xef\xbb\xbfwidth = 4\r\n")
    assert all_settings()["width"].value == 4
    assert all_settings()["width"].source == f"{path}:1"


@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_tree_temperature_of_the_user_is_left_out_where_the_strategy_has_none(
    ramify, model, write, monkeypatch, where
):
    if where == "file":
        write("tree_temperature = 0.2\n")
    else:
        monkeypatch.setenv("RAMIFY_TREE_TEMPERATURE", "0.2")
    assert solved(ramify, "-r", "none")["strategy"]["name"] == "majority"
    assert solved(ramify)["strategy"]["temperature"] == 0.2
    given = ramify("-r", "none", "--tree-temperature", "0.3", "How many?")
    assert (given.code, "has no --tree-temperature" in given.err) == (2, True)


@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_text_with_an_at_sign_is_read_once(ramify, model, write, monkeypatch, where):
    if where == "file":
        write('system_prompt = "@@bob is my name"\n')
    else:
        monkeypatch.setenv("RAMIFY_SYSTEM_PROMPT", "@@bob is my name")
    solved(ramify, "-r", "none")
    assert all_settings()["system_prompt"].value == "@bob is my name"


def test_a_switch_of_the_file_can_be_put_off(ramify, model, write):
    write("calculator = true\n")
    assert ramify("--json", "-q", "--no-calculator", "How many?").code == 0
