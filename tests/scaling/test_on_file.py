"""Measurements on the problems of a file: their choice, names of models, seconds, what is kept, and the export."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ramify
from ramify.batch.store.folder import RunFolder
from ramify.cli import main
from ramify.errors import ExitCode, RunFolderError, UsageError
from ramify.scaling.cells import CostKind, measurements, prefix_figures
from ramify.scaling.chains import chains_of
from ramify.scaling.claims import rebase, small_models
from ramify.scaling.claims.plots import draw
from ramify.scaling.claims.report import results_of
from ramify.scaling.claims.verdict import VerdictOutcome
from ramify.scaling.config import units
from ramify.scaling.exports import EXPORT, read_export
from ramify.scaling.measure import Models, measure_unit, run_options, told_reward
from ramify.scaling.plans import Plan, named_sources, on_file
from ramify.scaling.run import manifest, models_of, problems_of, read_rows, remaining, run

FILE_PROBLEMS = ramify.generate_problems(steps=(2, 3), count=6, seed=47)
WANTED = {
    "policies": ("small",), "sources": (("small", "demo-s"),), "rewards": ("mean-logprob", "mean-logprob:demo-m"),
    "strategies": ("greedy", "majority", "weighted", "rebase"), "widths": (1, 2), "timings": 1, "problems": 2,
    "problem_seed": 5, "max_path_tokens": 120,
}  # fmt: skip


class Stopped(Exception):
    """What ends a run in its middle."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text(
        "".join(json.dumps({"question": each.question, "answer": each.answer}) + "\n" for each in FILE_PROBLEMS)
    )
    return path


def test_a_seed_chooses_the_problems_and_more_of_them_begin_with_the_same(file: Path) -> None:
    def chosen(**settings: Any) -> list[str]:
        return [each.id for each in problems_of(on_file(**WANTED | settings, file=str(file)).config)]

    assert chosen(problems=6)[:2] == chosen()
    assert sorted(chosen(problems=6)) == ["1", "2", "3", "4", "5", "6"]
    assert chosen(problems=6) != chosen(problems=6, problem_seed=6)
    with pytest.raises(UsageError, match="has 6 problems"):
        chosen(problems=7)


def test_the_folder_belongs_to_the_problems_and_their_limits(file: Path) -> None:
    def identity(**settings: Any) -> str:
        return manifest(on_file(**WANTED | settings, file=str(file)).config)["configuration_hash"]

    first = identity()
    assert first == identity(problems=4, policies=("demo-m",), widths=(1,))
    assert first != identity(max_path_tokens=100)
    assert first != identity(tools="calculator")
    assert first != identity(problem_seed=6)
    assert str(file.parent) not in json.dumps(manifest(on_file(**WANTED, file=str(file)).config))
    file.write_text(file.read_text().replace('answer": "', 'answer": "1', 1))
    assert first != identity()


def test_a_name_stands_for_one_model_in_a_folder(file: Path, tmp_path: Path) -> None:
    def plan(**settings: Any) -> Plan:
        return on_file(**WANTED | settings, file=str(file))

    first = models_of(plan(), {})
    assert first["policies"].keys() == {"small"} and first["rewards"].keys() == {*WANTED["rewards"]}
    assert models_of(plan(), {"models": first}) == first
    more = models_of(plan(policies=("demo-m",), rewards=("arithmetic",)), {"models": first})
    assert more["policies"].keys() == {"small", "demo-m"} and "arithmetic" in more["rewards"]
    with pytest.raises(RunFolderError, match="small is another model than in the earlier measurement"):
        models_of(plan(sources=(("small", "demo-m"),)), {"models": first})
    own = (*WANTED["sources"], ("mine", "mean-logprob:demo-s"))
    kept = models_of(plan(rewards=("mine",), sources=own), {"models": first})
    with pytest.raises(RunFolderError, match="mine is another"):
        models_of(plan(rewards=("mine",), sources=(own[0], ("mine", "mean-logprob:demo-m"))), {"models": kept})
    served = models_of(plan(sources=(("small", "openai:http://secret:1/v1#m"),)), {})
    assert "secret" not in json.dumps(served)


def test_the_models_of_a_folder_are_checked_before_the_first_is_loaded(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    plan = on_file(**WANTED, file=str(file))
    for models in ({}, {"models": models_of(plan, {})}):
        with RunFolder(out) as folder:
            folder.claim({**manifest(plan.config), **models})
        more = [] if models else ["--plan"]  # A folder from before knows no models.
        given = [
            "bench", "scaling", "--problems", str(file), "--out", str(out), "--count", "2", "--seed", "5",
            "--policies", "small=demo-m", "--max-path-tokens", "120", "--no-plots",
        ]  # fmt: skip
        code = main([*given, *more])
        assert (code == 0) == (not models), capsys.readouterr().err
    assert "small is another model" in capsys.readouterr().err


def test_tools_go_into_every_search_and_are_checked_before_the_first(file: Path) -> None:
    config = on_file(**WANTED, tools="calculator", file=str(file)).config
    assert {run_options(unit, config)["tools"] for unit in units(config)} == {"calculator"}
    with pytest.raises(UsageError, match="abacus"):
        on_file(**WANTED, tools="abacus", file=str(file))


def test_names_of_models_and_rewards_have_no_folders() -> None:
    names, sources = named_sources(["0.5B=/m/a.gguf", "/m/b-q4.gguf", "demo-m", "mean-logprob:/m/b.gguf * arithmetic"])
    assert names == ("0.5B", "b-q4", "demo-m", "mean-logprob:b.gguf * arithmetic".replace(".gguf *", ".gguf *"))
    assert dict(sources)["0.5B"] == "/m/a.gguf" and dict(sources)["b-q4"] == "/m/b-q4.gguf"
    assert "demo-m" not in dict(sources)
    assert named_sources(["openai:http://h:1/v1#m"]) == (("openai:http://h:1/v1#m",), ())
    with pytest.raises(UsageError, match="called 'm'"):
        on_file(policies=("m",), sources=(("m", "/a/m.gguf"), ("m", "/b/m.gguf")), file="f")


async def test_a_stopped_measurement_loses_one_row_and_its_export_gives_the_same_results(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = on_file(**WANTED, file=str(file)), tmp_path / "out"
    seen = list[object]()

    def stop(progress: object) -> None:
        seen.append(progress)
        if len(seen) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        await run(plan, out, watch=stop)
    kept = read_rows(out)
    assert len(kept) == 3
    await run(plan, out)
    rows = read_rows(out)
    assert rows[:3] == kept
    # Two rows of samples, one timed, and two of greedy, and of REBASE at two widths by two rewards.
    assert len(rows) == 2 + 1 + 2 + 2 * 2 * 2
    assert remaining(plan, out).units == 0
    assert all(row["wall_s"] > 0 for row in rows)
    samples = [row for row in rows if row["part"] == "samples"]
    # The policy has told how likely its tokens were; the other model has to read them.
    assert all(row["scored"]["mean-logprob"]["read"]["2"] == 0 for row in samples)
    assert all(row["scored"]["mean-logprob:demo-m"]["read"]["2"] > 0 for row in samples)
    ids = [problem.id for problem in problems_of(plan.config)]
    for cell in measurements(rows, plan.config, ids).cells:
        assert cell.knows(CostKind.SECONDS), cell.label
    check_export(file, tmp_path, out, capsys)


async def test_a_head_on_the_policys_own_file_scores_samples_as_they_are_written(file: Path) -> None:
    reward = "head:demo-l * arithmetic"
    settings: dict[str, Any] = {
        "policies": ("demo-l",), "rewards": ("mean-logprob", reward), "strategies": ("weighted",), "widths": (1, 2),
        "parts": ("samples",), "problems": 1, "max_path_tokens": 120, "sources": (),
    }  # fmt: skip
    config = on_file(**WANTED | settings, file=str(file)).config
    (unit,) = units(config)
    assert told_reward(unit, config) == reward
    assert told_reward(replace(unit, policy="demo-m"), config) is None
    found = list[dict[str, Any]]()
    problems = problems_of(config)
    async with Models(1, file.parent) as models:
        await measure_unit(unit, problems, config, models, found.append)
    scored = found[0]["scored"][reward]
    assert scored["read"] == {"1": 0, "2": 0}
    async with ramify.Engine("demo-l", reward, threads=1) as engine:
        own = await engine.solve(problems[0], strategy=ramify.WeightedVote(width=2), max_path_tokens=120)
    assert own.tree is not None
    scores = [None if chain.nodes[-1].score is None else chain.nodes[-1].score for chain in chains_of(own.tree)]
    assert scored["scores"] == pytest.approx(scores, abs=1e-3)


def check_export(file: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--problems", str(file), "--count", "2", "--seed", "5", "--policies", "small=demo-s", "--rewards",
        "mean-logprob,mean-logprob:demo-m", "--strategies", "greedy,majority,weighted,rebase", "--widths", "1,2",
        "--timings", "1", "--max-path-tokens", "120", "--report", "--no-plots",
    ]  # fmt: skip
    assert main(["bench", "scaling", "--out", str(out), *options]) == ExitCode.OK
    told = capsys.readouterr().out
    export = read_export(out / EXPORT)
    assert list(export.rows) == read_rows(out)
    assert str(tmp_path) not in json.dumps([export.manifest, *export.rows])
    file.unlink()
    again = ["--from", str(out / EXPORT), "--out", str(tmp_path / "again"), "--no-plots"]
    assert main(["bench", "scaling", *again]) == ExitCode.OK
    assert capsys.readouterr().out == told
    for name in ("results.json", "report.md"):
        assert (tmp_path / "again" / name).read_text() == (out / name).read_text()
    with pytest.raises(UsageError, match="--widths"):
        main_error(["--from", str(out / EXPORT), "--out", str(tmp_path / "more"), "--widths", "2"], capsys)


def main_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Run the command, and raise what it says as a UsageError if that is its exit code."""
    if main(["bench", "scaling", *arguments]) == ExitCode.USAGE:
        raise UsageError(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--problems", "none.jsonl", "--policies", "demo-s"], "no such file"),
        (["--problems", "FILE"], "no policies"),
        (["--problems", "FILE", "--policies", "demo-s", "--quick"], "--quick and --full"),
        (["--problems", "FILE", "--policies", "demo-s", "--steps", "2"], "--steps"),
        (["--problems", "FILE", "--policies", "demo-s", "--count", "7"], "has 6 problems"),
        (["--problems", "FILE", "--policies", "demo-s", "--parts", "quantization"], "quantization"),
        (["--problems", "FILE", "--policies", "demo-s", "--together", "4"], "one problem at a time"),
        (["--problems", "FILE", "--policies", "demo-s", "--rewards", "nothing"], "nothing"),
        (["--problems", "3", "--count", "2"], "--problems FILE"),
        (["--from", "FILE"], "no rows of a measurement"),
    ],
)
def test_bad_input_is_said_before_a_model_is_loaded(
    options: list[str], said: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(file) if each == "FILE" else each for each in options]
    code = main(["bench", "scaling", "--out", str(tmp_path / "out"), "--no-plots", *given])
    assert code in (ExitCode.USAGE, ExitCode.MODEL)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_seconds_of_fewer_samples_go_by_the_pace_of_narrow_ones() -> None:
    wide = {
        "part": "samples", "policy": "p", "problem": "a", "seed": 0, "width": 4, "key": "k", "rewards": ["r"],
        "groups": [0, 0, 1, -1], "right": [0], "answers": ["1", "2"], "tokens": [10, 10, 20, 20], "noise": [0.0] * 4,
        "parameters": 100, "prompt_tokens": 5, "reevaluated_tokens": 0, "wall_s": 6.0,
        "scored": {
            "r": {"parameters": 9, "scores": [0.5] * 4, "read": {"2": 20, "4": 60}, "seconds": {"2": 1.0, "4": 2.5}}
        },
    }  # fmt: skip
    narrow = wide | {"part": "timing", "width": 2, "key": "t", "generated_tokens": 10, "wall_s": 3.0, "rewards": []}
    config = on_file(
        policies=("p",), rewards=("r",), strategies=("majority", "weighted"), widths=(1, 2, 4), file="f", problems=1
    ).config
    found = measurements([wide, narrow], config, ["a"])
    seconds = {str(cell.label): cell.costs(CostKind.SECONDS)[0] for cell in found.cells}
    # A token of two samples takes 0.3 s, one of four 0.1 s.
    assert seconds["p majority@2"] == pytest.approx(6.0)
    assert seconds["p majority@4"] == pytest.approx(6.0)
    assert seconds["p weighted@2 by r"] == pytest.approx(7.0)
    assert seconds["p weighted@4 by r"] == pytest.approx(8.5)
    (alone,) = found.of("p", "majority", None, by=CostKind.POLICY_FLOPS)[:1]
    assert alone.label.width == 1 and not alone.knows(CostKind.SECONDS)
    assert prefix_figures(wide, "majority", 2, None).seconds != 6.0


@pytest.mark.parametrize(("seconds", "outcome"), [(1.0, VerdictOutcome.SUPPORTED), (3.0, VerdictOutcome.NOT_SUPPORTED)])
def test_models_are_compared_at_equal_seconds_too(
    make_cell: Callable[..., Any], make_measurements: Callable[..., Any], seconds: float, outcome: VerdictOutcome
) -> None:
    small = [make_cell("greedy", 1, 0.2, seconds=0.5), make_cell("majority", 8, 0.6, seconds=seconds)]
    large = make_cell("greedy", 1, 0.55, policy="large", parameters=1000, seconds=2.0)
    figures = small_models.judge(make_measurements([*small, large])).figures
    assert figures["small<large, at equal seconds"]["verdict"] == outcome
    assert figures["small<large, at equal FLOPs"]["verdict"] == VerdictOutcome.SUPPORTED
    unknown = small_models.judge(make_measurements([*small, replace(large, seconds=large.seconds * float("nan"))]))
    assert "small<large, at equal seconds" not in unknown.figures


def test_rebase_has_a_place_among_settings_of_equal_seconds(
    make_cell: Callable[..., Any], make_measurements: Callable[..., Any]
) -> None:
    cells = [
        make_cell("rebase", 4, 0.5, reward="r", seconds=4.0, flops=1e9),
        make_cell("majority", 4, 0.7, seconds=3.0, flops=2e9),
    ]
    figures = rebase.judge(make_measurements(cells)).figures["small with r"]
    assert figures[str(CostKind.ALL_FLOPS)]["front"] == 1
    assert figures[str(CostKind.SECONDS)]["beaten"] == 1


def test_the_regret_of_auto_is_against_what_its_flops_buy(
    make_cell: Callable[..., Any], make_measurements: Callable[..., Any]
) -> None:
    cells = [
        make_cell("auto", 8, 0.5, reward="r", flops=3e9),
        make_cell("rebase", 4, 0.6, reward="r", flops=2e9),
        make_cell("majority", 16, 0.9, flops=9e9),
    ]
    found = rebase.judge(make_measurements(cells))
    regrets = found.figures["small with r"]["regret of auto"]
    assert regrets["auto@8 (0.500) within its 3 GFLOPs"]["value"] == pytest.approx(-0.1)
    # The budget allows 800 tokens, and the vote took 1600.
    assert regrets["auto@8 (0.500) within its budget of 800 tokens"]["value"] == pytest.approx(-0.1)
    assert any("auto@8" in line and "small rebase@4 by r" in line for line in found.findings)


def test_accuracy_against_seconds_is_drawn_where_seconds_are_known(
    make_cell: Callable[..., Any], make_measurements: Callable[..., Any], tmp_path: Path
) -> None:
    cells = [make_cell("greedy", 1, 0.0, seconds=0.5), make_cell("majority", 8, 1.0, seconds=9.0)]
    assert [path.name for path in draw(make_measurements(cells), tmp_path, claims=())] == ["accuracy-seconds.png"]
    assert draw(make_measurements([make_cell("greedy", 1, 0.5)]), tmp_path, claims=()) == []


def test_programs_are_problems_of_a_file_too(tmp_path: Path) -> None:
    row = {
        "task_id": "t", "prompt": "def one():\n    ", "entry_point": "one",
        "test": "def check(f):\n    assert f() == 1\n",
    }  # fmt: skip
    (tmp_path / "code.jsonl").write_text(json.dumps(row) + "\n")
    plan = on_file(policies=("demo-s",), file=str(tmp_path / "code.jsonl"), problems=1)
    (problem,) = problems_of(plan.config)
    assert problem.check == "python-tests"
    assert {unit.part for unit in units(plan.config)} == {"timing", "samples", "search"}


def test_searches_may_have_fewer_widths_than_votes() -> None:
    config = on_file(policies=("p",), file="f", widths=(1, 2, 8), search_widths=(8,)).config
    found = {(unit.part, unit.strategy, unit.width) for unit in units(config)}
    assert found == {
        ("samples", "majority", 8), ("timing", "majority", 1), ("timing", "majority", 2), ("search", "greedy", 1),
        ("search", "rebase", 8),
    }  # fmt: skip


def test_results_of_part_of_the_rows_leave_out_what_is_not_complete(file: Path) -> None:
    plan = on_file(**WANTED, file=str(file))
    assert results_of(plan, []).measured["all"].cells == ()
