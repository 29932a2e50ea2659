"""A whole measurement on the bundled models, stopped, damaged and gone on with; its shape, not who wins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ramify.batch.errors import RunFolderError
from ramify.bench.config import QUICK, ScalingConfig, units
from ramify.bench.run import Standing, planned, problems_of, remaining, run

SMALL = [
    "--quick", "--problems", "2", "--policies", "demo-s", "--rewards", "demo-prm", "--strategies",
    "greedy,majority,weighted,rebase,widening", "--widths", "1,2", "--sigmas", "0,2", "--noise-width", "2",
    "--quantization-width", "2",
]  # fmt: skip
CONFIG = ScalingConfig(
    **QUICK
    | {
        "problems": 2,
        "policies": ("demo-s",),
        "rewards": ("demo-prm",),
        "strategies": ("greedy", "majority", "weighted", "rebase", "widening"),
        "widths": (1, 2),
        "sigmas": (0.0, 2.0),
        "noise_width": 2,
        "quantization_width": 2,
    }
)


class Stopped(Exception):
    """What ends the first run in its middle."""


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "items.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
async def test_a_measurement_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen = list[Standing]()

    def stop(standing: Standing) -> None:
        seen.append(standing)
        if len(seen) == 7:
            raise Stopped

    with pytest.raises(Stopped):
        await run(CONFIG, out, watch=stop)
    kept = rows(out)
    assert len(kept) == 7
    with (out / "items.jsonl").open("a") as file:
        file.write('{"key": "torn')
    done = subprocess.run(
        [sys.executable, "-m", "ramify", "bench", "scaling", "--out", str(out), *SMALL],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = rows(out)
    assert found[:7] == kept
    keys = [(row["key"], row["problem"]) for row in found]
    expected = {(unit.key, problem.id) for unit in units(CONFIG) for problem in problems_of(CONFIG)}
    assert len(keys) == len(set(keys)) and set(keys) == expected
    check_results(out, done.stdout)
    assert "2 problems show that everything works" in done.stderr
    assert "7 rows are there already" in done.stderr


def check_results(out: Path, stdout: str) -> None:
    results = json.loads((out / "results.json").read_text("utf-8"))
    # greedy 1, majority 2, weighted 2, rebase 2, widening 2, and with noise weighted and rebase
    assert len(results["cells"]) == 11
    assert results["left_out"] == []
    for cell in results["cells"]:
        assert 0 <= cell["accuracy"]["low"] <= cell["accuracy"]["value"] <= cell["accuracy"]["high"] <= 1
        assert cell["policy_flops"] > 0 and (cell["reward_flops"] > 0) == (cell["reward"] is not None)
    assert [verdict["number"] for verdict in results["verdicts"]] == [1, 2, 3, 4, 5, 6]
    report = (out / "report.md").read_text("utf-8")
    for verdict in results["verdicts"]:
        line = f"| {verdict['number']} | {verdict['claim']} | {verdict['verdict']} |"
        assert line in report and line in stdout
    plots = {path.name for path in (out / "plots").iterdir()}
    assert {"fronts-all-flops.png", "demo-s-policy-flops.png", "noise.png", "saturation.png"} <= plots


def test_a_plan_says_what_is_left_and_what_it_costs(tmp_path: Path) -> None:
    forecast = remaining(CONFIG, tmp_path / "none")
    assert forecast.units == len(units(CONFIG)) and forecast.known == 0
    assert forecast.cost.generated_tokens > 0 and forecast.cost.flops > 0
    assert not (tmp_path / "none").exists()
    twice = remaining(ScalingConfig(**{name: getattr(CONFIG, name) for name in QUICK} | {"problems": 4}), tmp_path)
    assert twice.cost.searches == 2 * forecast.cost.searches


def test_samples_are_drawn_once_for_all_widths_rewards_and_votes() -> None:
    found = [unit for unit in units(ScalingConfig()) if unit.part == "samples"]
    assert len(found) == 3 * 3
    assert {(unit.width, unit.rewards) for unit in found} == {(128, ("demo-prm", "mean-logprob:demo-l"))}
    keys = [unit.key for unit in units(ScalingConfig())]
    assert len(keys) == len(set(keys))


def test_auto_is_left_out_where_there_is_no_profile() -> None:
    notes = list[str]()
    kept = {(unit.policy, unit.rewards) for unit in planned(ScalingConfig(), notes.append) if unit.strategy == "auto"}
    assert kept == {("demo-m", ("demo-prm",))}
    assert len(notes) == 5 and "demo-s has no profile with demo-prm" in notes[0]


async def test_another_problem_seed_needs_another_folder(tmp_path: Path) -> None:
    config = ScalingConfig(policies=("demo-s",), strategies=("greedy",), parts=("search",), problems=1, seeds=1)
    await run(config, tmp_path / "out")
    other = ScalingConfig(
        policies=("demo-s",), strategies=("greedy",), parts=("search",), problems=1, seeds=1, problem_seed=5
    )
    with pytest.raises(RunFolderError, match="problem_seed"):
        await run(other, tmp_path / "out")


async def test_quantizations_that_do_not_come_with_a_model_are_made_once(tmp_path: Path) -> None:
    config = ScalingConfig(
        policies=("demo-s",),
        rewards=("demo-prm",),
        parts=("quantization",),
        quantizations=("q4_0",),
        quantization_width=2,
        problems=1,
        seeds=1,
    )
    await run(config, tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert list(row["files"]) == ["demo-s:q8_0", "demo-s:f16", "demo-s:q4_0"]
    assert list(row["reward_files"]) == ["demo-prm:q8_0", "demo-prm:f16", "demo-prm:q4_0"]
    assert all(len(file["groups"]) == 2 and file["seconds"] > 0 for file in row["files"].values())
    assert {path.name for path in (tmp_path / "out" / "models").iterdir()} == {"demo-s.q4_0.gguf", "demo-prm.q4_0.gguf"}
    assert remaining(config, tmp_path / "out").units == 0
