"""The ablation: its plan can be given to `ramify batch run`, its comparisons are right, and it goes on."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import ramify
from ramify.cli import main

FILE = Path(__file__).parents[2] / "benchmarks" / "ablation.py"
VALUES = {"small": "demo-s", "large": "demo-m", "reward": "mean-logprob"}
PLAN = """
common = ["--parallel", "1", "--max-path-tokens", "80"]

[[study]]
name = "tiny"
title = "A vote against greedy decoding"
base = "greedy"
whole = "vote@2"

[[study.configuration]]
name = "greedy"
options = ["-m", "{small}", "-s", "greedy", "-r", "none"]

[[study.configuration]]
name = "vote@2"
options = ["-m", "{small}", "-s", "majority", "-w", "2", "-r", "none", "--calculator"]
"""


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ablation"] = module
    spec.loader.exec_module(module)
    return module


def test_the_plan_has_options_that_a_batch_takes(
    ablation: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = ablation.read_plan(ablation.PLAN, VALUES)
    assert [study.name for study in studies] == ["small", "large", "programs-small", "programs-large"]
    for study in studies:
        folders = [each.folder for each in study.configurations]
        assert len(folders) == len(set(folders))
        for each in study.configurations:
            assert main(["batch", "run", "none.jsonl", "--out", str(tmp_path / "out"), *each.options]) == 2
            assert "none.jsonl" in capsys.readouterr().err


def test_the_report_compares_at_equal_seconds(ablation: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    (study,) = ablation.read_plan(tmp_path / "plan.toml", VALUES)

    def measured(name: str, right: int, seconds: float) -> object:
        values = np.zeros(100)
        values[:right] = 1.0
        return ablation.Measured(name=name, right=values, seconds=np.full(100, seconds), tokens=np.full(100, 50.0))

    found = [measured("greedy", 40, 4.0), measured("vote@2", 70, 3.0), measured("wide", 90, 9.0)]
    told = ablation.report(study, found)
    assert "At equal seconds: vote@2 (3.0 s) against greedy (4.0 s): +0.300" in told and "better." in told
    assert "| wide | 0.900 |" in told
    ablation.draw_figure([(study.title, ablation.points_of(found))], tmp_path / "figure.svg")
    assert all(f">{name}<" in (tmp_path / "figure.svg").read_text() for name in ("vote@2", "wide", study.title))
    assert "Nothing else takes at most the 1.0 s" in ablation.at_equal_seconds(measured("fast", 10, 1.0), found)


@pytest.mark.slow
def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    alone = PLAN.replace('whole = "vote@2"', 'whole = "greedy"').rpartition("[[study.configuration]]")[0]
    (tmp_path / "plan.toml").write_text(alone)
    problems = ramify.generate_problems(steps=(2, 2), count=3, seed=9)
    rows = [{"question": each.question, "answer": each.answer} for each in problems]
    (tmp_path / "problems.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    command = [
        sys.executable,
        str(FILE),
        "--problems",
        str(tmp_path / "problems.jsonl"),
        "--seed",
        "1",
        "--small",
        "demo-s",
    ]
    command += ["--large", "demo-m", "--plan", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "out")]

    def run(*more: str) -> str:
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "1 problem;" in run("--count", "1")
    first = (tmp_path / "out/tiny/greedy/items.jsonl").read_bytes()
    told = run("--count", "2")
    assert "2 problems;" in told
    assert (tmp_path / "out/tiny/greedy/items.jsonl").read_bytes().startswith(first)
    assert run("--report") == told == (tmp_path / "out/report.md").read_text()
