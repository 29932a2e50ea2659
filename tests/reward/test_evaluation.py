"""Evaluation of rewards: the figures, the same paths under all votes, and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ramify.cli import main
from ramify.engine.engine import Engine
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.reward.callable import CallableReward
from ramify.testing import ScriptedModel
from ramify.training.evaluation import EvaluatedProblem, EvaluationJournal, ScoredPath, evaluate, score_labels
from ramify.training.gains import gains, paired, share_interval, verdict
from ramify.training.labelling import LabelledSolution
from ramify.training.quality import GradedPath, best_threshold, first_error, preference, quality, score_calibration
from ramify.usage import Usage


def test_calibration_by_hand() -> None:
    found = score_calibration([0.1, 0.15, 0.9, 1.0], [0.0, 1.0, 1.0, 1.0])
    assert found is not None
    assert [(each.low, each.count) for each in found.bins] == [(0.1, 2), (0.9, 2)]
    assert found.error == pytest.approx((2 * abs(0.125 - 0.5) + 2 * abs(0.95 - 1.0)) / 4)
    assert found.brier == pytest.approx((0.01 + 0.7225 + 0.01 + 0.0) / 4)
    assert score_calibration([], []) is None


def test_preference_counts_pairs_of_one_problem() -> None:
    found = preference({"a": ([0.9, 0.5], [0.5]), "b": ([0.1], [0.2, 0.3]), "c": ([1.0], [])})
    assert found == {"a": (1.5, 2), "b": (0.0, 2)}


GRADED = [
    GradedPath(problem="a", scores=(0.9, 0.2, 0.8), first_error=1),
    GradedPath(problem="a", scores=(0.9, 0.9, 0.3), first_error=1),
    GradedPath(problem="b", scores=(0.9, 0.9, 0.9), first_error=None),
    GradedPath(problem="b", scores=(0.9, 0.4, 0.9), first_error=None),
]


def test_the_first_error_is_the_first_score_below_the_threshold() -> None:
    found = first_error(GRADED, 0.5)
    assert (found.accuracy_wrong, found.accuracy_right, found.f1) == (0.5, 0.5, 0.5)
    assert (found.wrong, found.right) == (2, 2)
    lower = first_error(GRADED, 0.25)
    assert (lower.accuracy_wrong, lower.accuracy_right) == (0.5, 1.0)
    assert lower.f1 == pytest.approx(2 / 3)
    assert first_error(GRADED, 0.0).f1 == 0.0
    assert first_error(GRADED[:2], 0.5).f1 is None


def test_the_best_threshold_is_the_lowest_with_the_highest_f1() -> None:
    assert best_threshold(GRADED) == pytest.approx(0.2, abs=1e-6)
    assert first_error(GRADED, best_threshold(GRADED)).f1 == pytest.approx(2 / 3)
    assert best_threshold(GRADED[2:]) == 0.5


def path(problem: str, scores: Sequence[float], error: int | None, *, right: bool) -> ScoredPath:
    count = len(scores)
    return ScoredPath(
        problem=problem,
        steps=("x",) * count,
        scores=tuple(scores),
        values=(float(right),) * count,
        right=right,
        good=tuple(error is None or number < error for number in range(count)),
        first_error=error,
    )


def test_quality_of_a_reward_that_only_knows_hard_problems() -> None:
    easy = [path("easy", (0.9, 0.9), None, right=True), path("easy", (0.9, 0.9), 1, right=False)]
    hard = [path("hard", (0.1, 0.1), None, right=True), path("hard", (0.1, 0.1), 0, right=False)] * 2
    found = quality([*easy, *hard], threshold=0.5)
    assert found.auc_steps is not None and found.auc_steps > 0.6
    assert (found.auc_steps_within, found.prefers_right) == (0.5, 0.5)
    assert found.pairs == {"easy": (0.5, 1), "hard": (2.0, 4)}
    assert found.first_error is not None and found.first_error.threshold == 0.5
    assert (found.problems, found.paths, found.steps, found.right_paths) == (2, 6, 12, 3)


def test_calibration_is_told_after_each_step() -> None:
    long = path("a", (0.5, 0.5, 0.5, 0.5, 0.5, 0.9, 0.7), None, right=True)
    found = quality([long, path("a", (0.3, 0.1), 1, right=False)]).by_step
    assert [each.count for each in found] == [2, 2, 1, 1, 1, 2]
    assert (found[0].score, found[0].value) == (pytest.approx(0.4), 0.5)
    assert (found[-1].score, found[-1].error) == (pytest.approx(0.8), pytest.approx(0.2))


def test_the_threshold_is_chosen_on_other_problems_than_it_is_measured_on() -> None:
    def pair(problem: str, level: float) -> list[ScoredPath]:
        return [path(problem, (level + 0.2,), None, right=True), path(problem, (level,), 0, right=False)]

    # One threshold fits all of "a", none of them fits "b".
    both = {quality([*pair("a", 0.2), *pair("b", 0.7)], seed=seed).first_error for seed in range(8)}
    assert {each.f1 for each in both if each is not None} == {0.0}
    same = quality([*pair("a", 0.2), *pair("b", 0.2)]).first_error
    assert same is not None and (same.f1, same.wrong, same.right) == (1.0, 1, 1)


def test_intervals_and_paired_differences() -> None:
    left, right = [True] * 30 + [False] * 10, [True] * 20 + [False] * 20
    difference, low, high, p = paired(left, right)
    assert difference == 0.25 and 0.1 < low < 0.25 < high <= 0.4
    assert p == pytest.approx(2 / 2**10)
    assert share_interval([]) is None
    assert share_interval([(1.0, 2)] * 5) == (0.5, 0.5)


def test_gains_are_paired_with_the_majority_and_with_the_other_reward() -> None:
    def outcomes(weighted: bool) -> list[EvaluatedProblem]:
        correct = {"majority": False, "weighted": weighted}
        return [
            EvaluatedProblem(problem=str(n), correct=correct, usage=dict.fromkeys(correct, Usage()), paths=())
            for n in "ab"
        ]

    rows = gains({"mine": outcomes(True), "bundled": outcomes(False)})
    assert [(row.method, row.reward) for row in rows] == [
        ("majority", None), ("weighted", "mine"), ("weighted", "bundled"),
    ]  # fmt: skip
    assert [row.accuracy for row in rows] == [0.0, 1.0, 0.0]
    assert rows[1].versus_majority is not None and rows[1].versus_majority[0] == 1.0
    assert rows[1].versus_other is not None and rows[1].versus_other[0] == 1.0
    assert rows[0].versus_majority is None and rows[2].versus_other is None


def script(question: str, place: tuple[int, ...]) -> str:
    """Of each four paths, the first alone is right."""
    return f"step of {place[0] % 4}\n" if len(place) == 1 else f"The answer is {7 if place[0] % 4 == 0 else 8}."


def knows(question: str, steps: Sequence[str]) -> float:
    """Return a high score for right paths."""
    return 0.9 if steps[0] == "step of 0\n" else 0.2


def check(problem: Problem) -> Any:
    return lambda problem, steps: None if steps[0] == "step of 0\n" else 1


async def test_votes_share_their_paths_and_the_reward_decides() -> None:
    problems = [Problem(id=str(n), question="?", answer="7") for n in range(3)]
    async with Engine(ScriptedModel(script), CallableReward(knows)) as engine:
        found = await evaluate(engine, problems, width=4, check_steps=check)
    assert [each.problem for each in found] == ["0", "1", "2"]
    for each in found:
        assert dict(each.correct) == {"majority": False, "weighted": True, "best-of-n": True, "rebase": True}
        assert each.usage["majority"].policy == each.usage["weighted"].policy
        assert sorted(path.right for path in each.paths) == [False, False, False, True]
        right = next(path for path in each.paths if path.right)
        assert (right.scores, right.values, right.good) == ((0.9, 0.9), (1.0, 1.0), (True, True))
        wrong = next(path for path in each.paths if not path.right)
        assert (wrong.good, wrong.first_error) == ((True, False), 1)


async def test_what_cannot_be_evaluated() -> None:
    async with Engine(ScriptedModel(script), CallableReward(knows)) as engine:
        with pytest.raises(UsageError, match="problem 1 has no answer"):
            await evaluate(engine, [Problem(id="1", question="?")], width=2)
        with pytest.raises(UsageError, match="is no regular expression"):
            await evaluate(engine, [Problem(id="1", question="?", answer="(", check="regex")], width=2)
    async with Engine(ScriptedModel(script), None) as engine:
        with pytest.raises(UsageError, match="no reward"):
            await evaluate(engine, [Problem(id="1", question="?", answer="7")], width=2)


async def test_labels_are_the_truth_about_steps() -> None:
    rows = [
        LabelledSolution(id="1", question="?", steps=("step of 0\n", "b\n", "c"), values=(0.75, 0.25, 0.0)),
        LabelledSolution(id="1", question="?", steps=("step of 1\n", "b"), values=(1.0, 1.0), count=2),
    ]
    found = await score_labels(CallableReward(knows), rows)
    assert [each.scores for each in found] == [(0.9, 0.9, 0.9), (0.2, 0.2), (0.2, 0.2)]
    assert [each.good for each in found[:2]] == [(True, False, False), (True, True)]
    assert [(each.right, each.first_error) for each in found[:2]] == [(False, 1), (True, None)]


def test_the_command_reports_and_writes_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = ["reward", "eval", "mean-logprob", "--count", "4", "--steps", "2-3", "--width", "4", "--threads", "1"]
    assert main([*command, "--json", "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert "solving 4 problems with demo-m and head:demo-l * arithmetic:exact * totals" in captured.err
    assert list(report["quality"]) == ["mean-logprob", "head:demo-l * arithmetic:exact * totals"]
    methods = [(row["method"], row["reward"]) for row in report["search"]]
    assert methods == [
        ("majority", None),
        *[(method, reward) for reward in report["quality"] for method in ("weighted", "best-of-n", "rebase")],
    ]
    paths = [json.loads(line) for line in (tmp_path / "out" / "paths.jsonl").read_text("utf-8").splitlines()]
    assert len(paths) == sum(each["paths"] for each in report["quality"].values())
    assert all(len(each["scores"]) == len(each["good"]) for each in paths)
    assert (tmp_path / "out" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_on_labels_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "l.jsonl"
    label = ["reward", "label", "--count", "2", "--solutions", "4", "--search", "--rollouts", "2", "--out", str(labels)]
    assert main([*label, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["cost"]["rollouts"] <= facts["cost"]["all_rollouts"]
    assert facts["cost"]["evaluated_tokens"] < facts["cost"]["unshared_tokens"]
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    command = [
        "reward",
        "eval",
        "demo-prm",
        "--labels",
        str(labels),
        "--no-search",
        "--against",
        "none",
        "--threads",
        "1",
    ]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].split() == ["demo-prm"]
    assert "METHOD" not in captured.out
    assert "the reliability plot needs matplotlib; pip install 'ramify[plot]'" in captured.err
    assert not (tmp_path / "out" / "reliability.png").exists()


def test_the_command_says_when_nothing_tells_right_steps(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    problems = tmp_path / "p.jsonl"
    assert main(["problems", "--steps", "2", "--count", "2"]) == 0
    problems.write_text(capsys.readouterr().out, "utf-8")
    command = ["reward", "eval", "demo-prm", "--problems", str(problems), "--width", "2", "--no-search"]
    assert main([*command, "--threads", "1"]) == 0
    captured = capsys.readouterr()
    assert "note: nothing says which steps demo-prm should score low" in captured.err
    assert "rebase" not in captured.out and "best-of-n" in captured.out


def test_hard_and_search_exclude_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["reward", "label", "--hard", "--search", "--out", str(tmp_path / "l.jsonl")]) == 2
    assert "--hard and --search exclude each other" in capsys.readouterr().err


def spread(problems: int, right: float, wrong: float) -> list[ScoredPath]:
    """Return a right and a wrong path of each problem, with these scores."""
    return [
        path(str(number), (score,), None if side else 0, right=side)
        for number in range(problems)
        for score, side in ((right, True), (wrong, False))
    ]


def outcomes_of(weighted: Sequence[bool], majority: Sequence[bool]) -> list[EvaluatedProblem]:
    return [
        EvaluatedProblem(
            problem=str(number),
            correct={"majority": plain, "weighted": own},
            usage=dict.fromkeys(("majority", "weighted"), Usage()),
            paths=(),
        )
        for number, (own, plain) in enumerate(zip(weighted, majority, strict=True))
    ]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (spread(6, 0.9, 0.1), "mine prefers right solutions: the right one scores higher in 100% of 6 pairs on 6"),
        (spread(6, 0.1, 0.9), "mine prefers wrong solutions"),
        (spread(6, 0.5, 0.5), "mine is not shown to prefer right solutions"),
        (spread(2, 0.9, 0.1), "too few problems have right and wrong solutions to say whether mine prefers right ones"),
        ([path("a", (0.9,), None, right=True)], "cannot be told: no problem has both right and wrong ones (1 of 1"),
        ([], "cannot be told: no problem has both right and wrong ones (0 of 0"),
    ],
)  # fmt: skip
def test_the_verdict_on_what_a_reward_prefers(paths: list[ScoredPath], message: str) -> None:
    assert message in verdict("mine", quality(paths), [])


def test_the_verdict_on_a_vote_against_the_majority() -> None:
    found = quality(spread(6, 0.9, 0.1))
    better = gains({"mine": outcomes_of([True] * 20, [False] * 10 + [True] * 10)})
    assert "the weighted vote with it is better than the majority vote (100% against 50% of 20 problems right, +50" in (
        verdict("mine", found, better)
    )
    worse = gains({"mine": outcomes_of([False] * 20, [False] * 10 + [True] * 10)})
    assert "is worse than the majority vote" in verdict("mine", found, worse)
    even = gains({"mine": outcomes_of([True] * 20, [False] + [True] * 19)})
    assert "is not shown to be better than the majority vote" in verdict("mine", found, even)


async def test_an_evaluation_that_was_cut_solves_the_rest_alone(tmp_path: Path) -> None:
    problems = [Problem(id=str(n), question=f"Number {n}?", answer="7") for n in range(4)]
    solved: list[str] = []

    def noting(question: str, place: tuple[int, ...]) -> str:
        if not solved or solved[-1] != question:
            solved.append(question)
        return script(question, place)

    def cut(found: EvaluatedProblem) -> None:
        if found.problem == "1":
            raise RuntimeError

    async def run(watch: Any) -> list[EvaluatedProblem]:
        with EvaluationJournal(tmp_path / "e.jsonl") as journal:
            async with Engine(ScriptedModel(noting), CallableReward(knows)) as engine:
                return await evaluate(
                    engine, problems, width=4, check_steps=check, parallel=1, journal=journal, on_problem=watch
                )

    with pytest.raises(RuntimeError):
        await run(cut)
    assert solved == ["Number 0?", "Number 1?"]
    with (tmp_path / "e.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"key": "torn')
    found = await run(lambda found: None)
    assert solved[2:] == ["Number 2?", "Number 3?"]
    assert [each.problem for each in found] == ["0", "1", "2", "3"]
    assert found == await run(lambda found: None)
    assert {tuple(each.correct.values()) for each in found} == {(False, True, True, True)}
    with EvaluationJournal(tmp_path / "e.jsonl") as journal:
        with pytest.raises(UsageError, match="another evaluation writes"), EvaluationJournal(tmp_path / "e.jsonl"):
            pass
        assert journal.known(replace(problems[0], answer="8")) is None
        assert journal.known(problems[0]) == found[0]


async def test_paths_that_a_limit_cut_are_counted() -> None:
    def endless(question: str, place: tuple[int, ...]) -> str:
        return "on and on\n" if place[0] == 1 else script(question, place)

    async with Engine(ScriptedModel(endless), CallableReward(knows)) as engine:
        (found,) = await evaluate(
            engine, [Problem(id="1", question="?", answer="7")], width=4, search=False, max_path_tokens=40
        )
    assert (len(found.paths), found.unfinished, found.unscored) == (3, 1, 0)
    assert EvaluatedProblem.from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_the_command_goes_on_and_ends_with_a_verdict(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems, out = tmp_path / "p.jsonl", tmp_path / "out"
    assert main(["problems", "--steps", "2", "--count", "3"]) == 0
    problems.write_text(capsys.readouterr().out, "utf-8")
    command = ["reward", "eval", "mean-logprob", "--problems", str(problems), "--width", "2", "--against", "none"]
    command += ["--no-search", "--threads", "1", "--temperature", "0.8", "--out", str(out)]
    assert main([*command, "--count", "2", "--parallel", "1"]) == 0
    captured = capsys.readouterr()
    assert "by the first 1 problems" in captured.err
    assert "mean-logprob" in captured.out.splitlines()[-1]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    assert "2 of them were solved already" in captured.err
    report = json.loads(captured.out)
    assert report["problems"] == 3 and "majority vote" in report["verdict"]
    monkeypatch.setattr("ramify.engine.engine.Engine.__aenter__", None)
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == report


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["demo-prm", "--against", "demo-pmr"], 3, "demo-prm"),
        (["demo-prm", "--model", "nothing.gguf"], 3, "nothing.gguf"),
        (["demo-prm", "--max-step-tokens", "2", "--min-step-tokens", "3"], 2, "are longer than the longest"),
        (["demo-prm", "--problems", "EMPTY"], 2, "has no problems"),
        (["demo-prm", "--out", "FILE/out"], 2, "cannot be made"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    code: int,
    message: str,
) -> None:
    for name in ("EMPTY", "FILE"):
        (tmp_path / name).write_text("", "utf-8")
    monkeypatch.setattr("ramify.engine.engine.Engine.__aenter__", None)
    monkeypatch.chdir(tmp_path)
    assert main(["reward", "eval", *options]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]


def test_a_report_on_no_finished_path_is_no_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    command = ["reward", "eval", "mean-logprob", "--count", "1", "--width", "2", "--against", "none", "--no-search"]
    assert main([*command, "--max-path-tokens", "3", "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "2 of 2 paths had no answer after 3 tokens" in captured.err
    assert "cannot be told: no problem has both right and wrong ones (0 of 0 finished" in captured.out
    assert not [each for each in recwarn if "legend" in str(each.message)]
