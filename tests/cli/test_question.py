from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import click
import pytest

from ramify.cli.solve import read_question
from ramify.config import SETTINGS
from ramify.testing import ScriptedModel


@pytest.mark.parametrize(
    ("words", "stdin", "question"),
    [
        (["How", "many?"], "", "How many?"),
        (["How many?"], "Tom has 3 apples.\n", "Tom has 3 apples.\n\nHow many?"),
        ([], "How many?\n", "How many?"),
        (["-"], "How many?", "How many?"),
        (["-", "How many?"], "Tom has 3 apples.", "Tom has 3 apples.\n\nHow many?"),
    ],
)
def test_stdin_and_arguments_are_joined_by_a_blank_line(monkeypatch, words, stdin, question):
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    assert read_question(words) == question


@pytest.mark.parametrize(("words", "stdin"), [([], ""), ([""], ""), (["  "], " \n"), (["-"], "\n")])
def test_an_empty_question_is_refused(monkeypatch, words, stdin):
    monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
    with pytest.raises(click.UsageError):
        read_question(words)


def test_a_terminal_is_never_waited_for(monkeypatch):
    leader, follower = pty.openpty()
    try:
        with open(follower, encoding="utf-8", closefd=False) as terminal:
            monkeypatch.setattr(sys, "stdin", terminal)
            assert read_question(["How many?"]) == "How many?"
            with pytest.raises(click.UsageError, match='try: ramify "'):
                read_question([])
    finally:
        os.close(leader)
        os.close(follower)


def test_a_pipe_that_nobody_writes_to_is_given_up(monkeypatch, capsys):
    monkeypatch.setattr("ramify.cli.solve.PATIENCE_S", 0.05)
    reading, writing = os.pipe()
    try:
        with open(reading, encoding="utf-8") as silent:
            monkeypatch.setattr(sys, "stdin", silent)
            assert read_question(["How many?"]) == "How many?"
    finally:
        os.close(writing)
    assert capsys.readouterr().err.startswith("note: nothing came on stdin")


def test_bytes_that_are_no_text_are_refused():
    done = subprocess.run(
        [sys.executable, "-m", "ramify", "solve"], input=b"\xff\xfe\x00", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"error: stdin is not UTF-8 text; see `ramify solve --help`\n"


def test_messages_and_examples_come_from_files(ramify, scripted, tmp_path):
    scripted(ScriptedModel(lambda question, path: f"\\boxed{{{len(question)}}}"), None)
    messages, examples = tmp_path / "m.json", tmp_path / "e.jsonl"
    messages.write_text('[{"role": "user", "content": "Four"}]', "utf-8")
    examples.write_text('{"question": "q", "answer": "a"}\n', "utf-8")
    assert ramify("-q", "-w", "2", "--messages", str(messages)).out == "4\n"
    # The policy of this test takes one question alone.
    for given in (["--messages", str(messages), "Three"], ["--examples", str(examples), "Three"]):
        result = ramify("-q", "-w", "2", *given)
        assert (result.code, result.out) == (2, "") and "takes one question alone" in result.err
    messages.write_text('[{"role": "assistant", "content": "Four"}]', "utf-8")
    for path, message in [(messages, "none of the user"), (tmp_path / "none", "cannot be read")]:
        result = ramify("-q", "--messages", str(path))
        assert result.code == 2 and message in result.err
    result = ramify("-q", "--system", f"@{tmp_path}/none", "How many?")
    assert result.code == 2 and "cannot be read" in result.err


def test_the_system_message_may_come_from_a_file(tmp_path):
    (tmp_path / "system.txt").write_text("Be brief.\n", "utf-8")
    setting = SETTINGS["system_prompt"]
    assert setting.parse(f"@{tmp_path}/system.txt") == "Be brief."
    assert (setting.parse("@@home"), setting.parse(""), setting.flags) == ("@home", "", ("--system-prompt", "--system"))
