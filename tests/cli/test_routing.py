from __future__ import annotations

import io
import sys

import click
import pytest

from ramify.cli.app import route

COMMANDS = ["solve", "problems", "models", "doctor"]


@pytest.mark.parametrize(
    ("arguments", "routed"),
    [
        (["What is 3 + 4?"], ["solve", "What is 3 + 4?"]),
        (["What", "is", "3", "+", "4?"], ["solve", "What", "is", "3", "+", "4?"]),
        (["2+2"], ["solve", "2+2"]),
        (["solve", "x"], ["solve", "x"]),
        (["models", "list"], ["models", "list"]),
        (["--json", "x y"], ["solve", "--json", "x y"]),
        (["-m", "demo-m", "x y"], ["solve", "-m", "demo-m", "x y"]),
        (["--", "-3 + 4 is what?"], ["solve", "--", "-3 + 4 is what?"]),
        (["-"], ["solve", "-"]),
        ([""], ["solve", ""]),
        (["--help"], ["--help"]),
        (["--version"], ["--version"]),
        (["help", "models"], ["models", "--help"]),
        (["Solve x + 1 = 2"], ["solve", "Solve x + 1 = 2"]),
    ],
)
def test_what_is_no_command_is_a_question(arguments, routed):
    assert route(arguments, COMMANDS) == routed


@pytest.mark.parametrize(("word", "meant"), [("slove", "solve"), ("model", "models"), ("docter", "doctor")])
def test_a_mistyped_command_is_not_a_question(word, meant):
    with pytest.raises(click.UsageError, match=f"no command '{word}'; did you mean '{meant}'"):
        route([word, "What is 3 + 4?"], COMMANDS)


@pytest.mark.parametrize(("terminal", "routed"), [(True, ["--help"]), (False, ["solve"])])
def test_nothing_means_help_on_a_terminal_and_stdin_elsewhere(monkeypatch, terminal, routed):
    stdin = io.StringIO()
    monkeypatch.setattr(stdin, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stdin", stdin)
    assert route([], COMMANDS) == routed
