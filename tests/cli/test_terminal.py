from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
