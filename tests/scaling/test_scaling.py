"""A whole measurement on the bundled models, stopped, damaged and gone on with; its shape, not who wins."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.errors import RunFolderError, UsageError
from ramify.scaling.claims.report import results_of
from ramify.scaling.config import GENERATED_PARTS, QUICK, ScalingConfig, units
from ramify.scaling.plans import Plan, View, crossed, hour, quick
from ramify.scaling.run import MeasuredUnits, ScalingProgress, feasible_units, problems_of, remaining, run, todo_of

SMALL = [
    "--quick", "--problems", "2", "--policies", "demo-s", "--rewards", "demo-prm", "--strategies",
    "greedy,majority,weighted,rebase,widening", "--widths", "1,2", "--sigmas", "0,2", "--noise-width", "2",
    "--quantization-width", "2",
]  # fmt: skip
PLAN = quick(
    problems=2,
    policies=("demo-s",),
    rewards=("demo-prm",),
    strategies=("greedy", "majority", "weighted", "rebase", "widening"),
    widths=(1, 2),
    sigmas=(0.0, 2.0),
    noise_width=2,
    quantization_width=2,
)
(CONFIG,) = PLAN.stages


PART = ScalingConfig(
    policies=("demo-s",), rewards=("demo-prm",), strategies=("greedy", "majority", "rebase"), widths=(1, 2, 4),
    seeds=1, problems=2, problem_seed=9, steps=(2, 4),
)  # fmt: skip


class Stopped(Exception):
    """What ends the first run in its middle."""


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "items.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.slow
async def test_a_measurement_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen = list[ScalingProgress]()

    def stop(progress: ScalingProgress) -> None:
        seen.append(progress)
        if len(seen) == 7:
            raise Stopped

    with pytest.raises(Stopped):
        await run(PLAN, out, watch=stop)
    kept = rows(out)
    # A problem that was searched beside the last one may have been written down before the stop.
    assert 7 <= len(kept) <= 8
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
    assert found[: len(kept)] == kept
    keys = [(row["key"], row["problem"]) for row in found]
    expected = {(unit.key, problem.id) for unit in units(CONFIG) for problem in problems_of(CONFIG)}
    assert len(keys) == len(set(keys)) and set(keys) == expected
    check_results(out, done.stdout)
    assert "2 problems show that everything works" in done.stderr
    assert f"{len(kept)} rows are there already" in done.stderr


def check_results(out: Path, stdout: str) -> None:
    results = json.loads((out / "results.json").read_text("utf-8"))
    # greedy 1, majority 2, weighted 2, rebase 2, widening 2, and with noise weighted and rebase
    (view,) = results["views"]
    assert len(view["cells"]) == 11
    assert view["left_out"] == []
    for cell in view["cells"]:
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
    forecast = remaining(PLAN, tmp_path / "none")
    assert forecast.units == len(units(CONFIG)) and forecast.known == 0
    assert forecast.cost.generated_tokens > 0 and forecast.cost.flops > 0
    assert not (tmp_path / "none").exists()
    twice = remaining(crossed(**{name: getattr(CONFIG, name) for name in QUICK} | {"problems": 4}), tmp_path)
    assert twice.cost.searches == 2 * forecast.cost.searches


def test_samples_are_drawn_once_for_all_widths_rewards_and_votes() -> None:
    found = [unit for unit in units(ScalingConfig()) if unit.part == "samples"]
    assert len(found) == 3 * 3
    assert {(unit.width, unit.rewards) for unit in found} == {(128, ("demo-prm", "mean-logprob:demo-l"))}
    keys = [unit.key for unit in units(ScalingConfig())]
    assert len(keys) == len(set(keys))


def test_auto_is_left_out_where_there_is_no_profile() -> None:
    notes = list[str]()
    kept = {
        (unit.policy, unit.rewards) for unit in feasible_units(ScalingConfig(), notes.append) if unit.strategy == "auto"
    }
    assert kept == {("demo-m", ("demo-prm",))}
    assert len(notes) == 5 and "demo-s has no profile with demo-prm" in notes[0]


async def test_another_problem_seed_needs_another_folder(tmp_path: Path) -> None:
    plan = crossed(policies=("demo-s",), strategies=("greedy",), parts=("search",), problems=1, seeds=1)
    await run(plan, tmp_path / "out")
    other = crossed(
        policies=("demo-s",), strategies=("greedy",), parts=("search",), problems=1, seeds=1, problem_seed=5
    )
    with pytest.raises(RunFolderError, match="problem_seed"):
        await run(other, tmp_path / "out")


async def test_quantizations_that_do_not_come_with_a_model_are_made_once(tmp_path: Path) -> None:
    plan = crossed(
        policies=("demo-s",),
        rewards=("demo-prm",),
        parts=("quantization",),
        quantizations=("q4_0",),
        quantization_width=2,
        problems=1,
        seeds=1,
    )
    await run(plan, tmp_path / "out")
    (row,) = rows(tmp_path / "out")
    assert list(row["files"]) == ["demo-s:q8_0", "demo-s:f16", "demo-s:q4_0"]
    assert list(row["reward_files"]) == ["demo-prm:q8_0", "demo-prm:f16", "demo-prm:q4_0"]
    assert all(len(file["groups"]) == 2 and file["seconds"] > 0 for file in row["files"].values())
    assert {path.name for path in (tmp_path / "out" / "models").iterdir()} == {"demo-s.q4_0.gguf", "demo-prm.q4_0.gguf"}
    assert remaining(plan, tmp_path / "out").units == 0


def test_the_plan_of_an_hour_measures_what_its_views_look_at() -> None:
    plan, notes = hour(), list[str]()
    todo = todo_of(plan, MeasuredUnits([]), notes.append)
    assert sum(task.unit.width * len(task.left) for task in todo) < 500_000
    assert {len(task.left) for task in todo if task.unit.strategy == "greedy"} == {500}
    assert {task.unit.policy for task in todo} == {"demo-s", "demo-m", "demo-l"}
    strategies = {task.unit.strategy.partition("+")[0] for task in todo} | {"weighted", "best-of-n"}
    assert strategies == {*ScalingConfig().strategies} - {"majority+beta:0.95"}
    problems = {part: {len(task.left) for task in todo if task.unit.part == part} for part in GENERATED_PARTS}
    assert problems == {"samples": {200, 500}, "search": {200, 500}, "noise": {500}, "quantization": {100}}
    assert max(task.unit.width for task in todo) == 256
    assert sorted(claim for view in plan.views for claim in {*view.claims}) == [1, 2, 3, 3, 4, 5, 6]
    keys = [(task.unit.key, problem) for task in todo for problem in task.left]
    assert len(keys) == len(set(keys))


def test_the_plan_of_an_hour_can_be_made_smaller_but_not_another_one() -> None:
    small = hour(problems=40, policies=("demo-s",), parts=("search", "samples"))
    assert {stage.problems for stage in small.stages} == {16, 40}
    assert [view.name for view in small.views] == ["whole", "deep"]
    assert {policy for stage in small.stages for policy in stage.policies} == {"demo-s"}
    assert not any("quantization" in stage.parts for stage in small.stages)
    with pytest.raises(UsageError, match="--full"):
        hour(widths=(2,))
    with pytest.raises(UsageError, match="nothing is left"):
        hour(policies=("another",))


async def test_two_at_a_time_measure_the_same_and_views_share_rows(tmp_path: Path) -> None:
    small = {"policies": ("demo-s",), "rewards": ("demo-prm",), "problem_seed": 9, "steps": (2, 4)}
    stages = (
        ScalingConfig(**small, strategies=("greedy", "majority"), widths=(1, 2), seeds=1, problems=4),
        ScalingConfig(**small, strategies=("majority",), widths=(1, 2, 4), parts=("samples",), seeds=1, problems=2),
        ScalingConfig(**small, strategies=("rebase",), widths=(2,), parts=("search",), seeds=1, problems=2),
    )
    plan = Plan(name="two", stages=(replace(stages[0], parts=("search", "samples")), *stages[1:]), views=())
    plan = replace(plan, views=(View(name="whole", config=stages[0]), View(name="part", config=PART)))
    alone, both = tmp_path / "alone", tmp_path / "both"
    await run(plan, alone)
    await run(plan, both, parallel=2)

    def right(out: Path) -> dict[tuple[str, str], Any]:
        return {(row["key"], row["problem"]): row["right"] for row in rows(out)}

    assert right(alone).keys() == right(both).keys()
    assert len(right(both)) == 4 + 4 + 2 + 2
    found = results_of(plan, rows(both))
    widths = {name: sorted(cell.label.width for cell in measured.cells) for name, measured in found.measured.items()}
    assert widths == {"whole": [1, 1, 2], "part": [1, 1, 2, 2, 4]}
    assert [len(measured.problems) for measured in found.measured.values()] == [4, 2]
