"""Models behind servers on the command line."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from ramify.cli import main

from .asking import QUESTION, SECRET, write
from .http_server import serving


def test_the_command_line_solves_and_keeps_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    problems, tree = tmp_path / "problems.jsonl", tmp_path / "tree.json"
    problems.write_text('{"id": "a", "question": "What is 2+2?", "answer": "4"}\n')
    with serving(write, SECRET) as server:
        model = ["--model", f"openai:{server.url}#m", "--prompt-preset", "gsm8k", "--width", "5"]
        assert main(["solve", QUESTION, *model, "--save-tree", str(tree)]) == 0
        captured = capfd.readouterr()
        assert captured.out == "4\n"
        assert main(["batch", "run", str(problems), "--out", str(tmp_path / "run"), *model]) == 0
        asked = len(server.texts)
        assert main(["batch", "run", str(problems), "--out", str(tmp_path / "run"), *model]) == 0
        assert len(server.texts) == asked, "a finished run asks nothing"
        monkeypatch.delenv("OPENAI_API_KEY")
        assert main(["solve", QUESTION, *model]) == 3
    later = capfd.readouterr()
    assert "refuses the key" in later.err
    written = [path.read_text() for path in tmp_path.rglob("*") if path.is_file()]
    written += [path.read_text() for path in Path(os.environ["RAMIFY_DATA"]).rglob("*.json")]
    assert len(written) > 4
    assert not any(SECRET in text for text in (*written, captured.err, later.out, later.err))
