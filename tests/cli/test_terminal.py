from __future__ import annotations

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
