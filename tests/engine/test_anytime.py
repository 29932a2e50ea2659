"""The measurement of `benchmarks/anytime.py` in small, on a bundled model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ramify import generate_problems
from ramify.engine.library.catalog import list_bundled, resolve_model

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "anytime.py"


@pytest.fixture
def model() -> str:
    if "demo-m" not in {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")
    return str(resolve_model("demo-m").path)


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"question": each.question, "answer": f"So #### {each.answer}"} for each in generate_problems(count=3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def measure(*arguments: str) -> tuple[list[str], str]:
    """Return the rows of the first table and the lines about new calls."""
    done = subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[2:], done.stderr


def test_calls_are_measured_once_and_compared_with_greedy(model: str, problems: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "rows.jsonl"
    asked = [model, "--problems", str(problems), "--budgets", "30", "--strategies", "greedy,beam", "--out", str(out)]
    table, news = measure(*asked, "--count", "1")
    assert len(news.splitlines()) == 2
    assert [line.split(" | ")[1:6] for line in table[:2]] == [
        ["30 s", name, "1", "1.00", "0.21 to 1.00"] for name in ("greedy", "beam")
    ]
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["call"]["reward"] for row in rows] == ["", "mean-logprob"]
    for row in rows:
        assert 0 < row["begun_s"] <= row["first_token_s"] <= row["first_answer_s"] <= row["end_s"] < 30
        assert row["text"] and row["tokens"] and row["finished"] and row["code"] == 0
    with out.open("a", encoding="utf-8") as file:
        file.write('{"call": {"model": "cut short by a k')
    again, news = measure(*asked, "--count", "1")
    assert again == table and not news
    assert len(out.read_text("utf-8").splitlines()) == 2


def test_a_loaded_engine_is_measured_and_plain_calls(model: str, problems: Path, tmp_path: Path) -> None:
    table, _ = measure(model, "--problems", str(problems), "--count", "2", "--plain", "--warm")
    assert table[0].split(" | ")[1:5] == ["default", "(defaults)", "2", "1.00"]
    assert sum(line.startswith("| demo-m") for line in table) == 3
