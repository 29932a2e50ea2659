from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.cli import terminal


def run(code: str) -> tuple[bytes, bytes]:
    preamble = "import os, subprocess\nfrom ramify.cli import terminal\n"
    done = subprocess.run([sys.executable, "-c", preamble + code], capture_output=True, check=True)
    return done.stdout, done.stderr


def test_noise_of_native_code_cannot_reach_stdout():
    code = """
with terminal.owned_stdout():
    os.write(1, b"noise\\n")
    subprocess.run(["echo", "more noise"])
    terminal.write("data")
terminal.write("later")
"""
    assert run(code) == (b"data\nlater\n", b"noise\nmore noise\n")


def test_bytes_that_are_no_text_become_json_escapes():
    assert run('with terminal.owned_stdout(): terminal.write_json("\\udcff")') == (b'"\\udcff"\n', b"")


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]):
    terminal.write_table(("NAME", "SIZE"), [("demo-m", "1 MB"), ("x", "12 MB")])
    assert capsys.readouterr().out == "NAME    SIZE\ndemo-m  1 MB\nx       12 MB\n"


def command(code: str, *redirections: str) -> subprocess.CompletedProcess[str]:
    """Run Python with shell redirections of its standard streams."""
    return subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {" ".join(redirections)}', sys.executable, code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


MAIN = "import sys; from ramify.cli import main; sys.exit(main({}))"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["problems", "--count", "3"], ["models", "list"], ["config", "path"]]
)
def test_a_full_disk_behind_stdout_is_one_line_and_exit_code_2(arguments: list[str]):
    found = command(MAIN.format(arguments), ">/dev/full")
    assert (found.returncode, found.stderr) == (
        2,
        "error: stdout cannot be written (No space left on device); "
        "send it to a terminal, a pipe or a file with room\n",
    )


@pytest.mark.parametrize("arguments", [["problems", "--count", "3"], ["models", "list"]])
def test_a_closed_stdout_is_one_line_and_exit_code_2(arguments: list[str]):
    found = command(MAIN.format(arguments), ">&-")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "stdout is closed" in found.stderr


@pytest.mark.parametrize("redirections", [["2>&-"], ["2>/dev/full"], ["<&-"], ["<&-", "2>&-"]])
def test_other_streams_may_be_closed_or_full(redirections: list[str]):
    found = command(MAIN.format(["problems", "--count", "2"]), *redirections)
    assert (found.returncode, found.stdout.count("\n"), found.stderr) == (0, 2, "")


def test_a_reader_that_has_seen_enough_is_no_error():
    done = subprocess.run(
        ["sh", "-c", '"$0" -m ramify problems --count 5000 | head -1', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 1, "")


def test_closed_streams_are_taken_by_nothing_else():
    code = """
import os
from ramify.cli import terminal
terminal.prepare_streams()
print(min(os.open(os.devnull, os.O_RDONLY) for _ in range(3)))
"""
    assert command(code, "<&-", "2>&-").stdout == "3\n"


def test_a_stream_that_cannot_hold_a_character_gets_its_escape():
    code = "from ramify.cli import terminal\nterminal.prepare_streams()\nterminal.write('\\u2192 \\ud800')"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=True,
    )
    assert found.stdout == b"\\u2192 \\ud800\n"


CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eanswer\rx"


@given(st.text(st.one_of(st.characters(), st.sampled_from("\x1b[]0;m\x07\x9b\r\n\u202e"))))
def test_cleaned_text_has_no_controls_and_styles_alone_stay(text: str):
    assert not CONTROLS.search(terminal.cleaned(text))
    assert not CONTROLS.search(re.sub(r"\x1b\[[0-9;]*m", "", terminal.cleaned(text, styled=True)))


WAYS = {
    "write": "terminal.write(H)",
    "write_json": "terminal.write_json({H: H})",
    "write_table": "terminal.write_table((H, H), [(H, H)])",
    "say": "terminal.say(H)",
    "styled": "terminal.say(H, style=terminal.DIM)",
    "note": "terminal.note(H)",
    "error": "terminal.error(H)",
    "line": "terminal.ProgressLine().show(H)",
    "log": "logging.getLogger('ramify.x').warning(H)",
    "warning": "warnings.warn(H)",
    "bug": "explain(ValueError(H))",
    "usage": "explain(click.UsageError(H))",
    "own": "explain(ModelLoadError(H, H))",
    "stderr": "print(H, file=sys.stderr)",
    "question": "main([H, '-m', H])",
    "file": "main(['batch', 'run', H, '--out', H])",
    "server": "main(['x', '-m', 'openai:http://127.0.0.1:9/' + H + '#' + H])",
    "command": "main(['runs', 'show', H])",
}


def test_no_way_of_writing_lets_controls_reach_a_terminal(on_terminal):
    code = (
        "import logging, os, sys, warnings, click\nfrom ramify.cli import main, terminal\n"
        "from ramify.cli.exits import explain\nfrom ramify.errors import ModelLoadError\n"
        f"H = {HOSTILE!r}\nfor name, way in {WAYS!r}.items():\n    os.write(2, f'@@{{name}}@@'.encode())\n"
        "    with terminal.cleaned_stderr():\n        exec(way)\n    sys.stdout.flush()\n"
    )
    parts = re.split("@@([a-z_]+)@@", on_terminal([sys.executable, "-c", code], stderr=True))
    seen = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(seen) == list(WAYS)
    for way, text in seen.items():
        assert "answer" in text, (way, text)
        for ours in (terminal.CLEAR_LINE, "\r\n", "\x1b[2m", "\x1b[31m", "\x1b[0m"):
            text = text.replace(ours, "")
        assert not CONTROLS.search(text), (way, ascii(text))


def test_a_pipe_gets_the_text_as_it_is():
    assert run(f"terminal.write({HOSTILE!r})")[0].decode() == HOSTILE + "\n"


def test_nothing_but_the_terminal_module_writes_to_the_standard_streams():
    root = Path(terminal.__file__).parents[1]
    found = list[str]()
    for folder in ("ramify", *(path.name for path in root.parent.iterdir() if (path / "__init__.py").exists())):
        for path in (root.parent / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in WRITERS:
                    found.append(f"{path.relative_to(root.parent)}:{node.lineno}")
    allowed = {"ramify/cli/terminal.py", "ramify/limited_program.py"}
    assert {each.partition(":")[0] for each in found} <= allowed, found


WRITERS = {
    "print",
    "click.echo",
    "click.secho",
    "sys.stdout.write",
    "sys.stderr.write",
    "sys.__stdout__.write",
    "sys.__stderr__.write",
}
