"""Likelihood heads: features, files, names, scores in one pass and step by step, and training."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify import Budget, Engine, Rebase
from ramify.cli import main
from ramify.config import EngineConfig
from ramify.engine.library.catalog import bundled_heads, resolve_model
from ramify.engine.loading import load_models, load_reward
from ramify.engine.rewards.descriptions import describe_reward
from ramify.engine.rewards.naming import check_reward, read_reward_name
from ramify.errors import ModelLoadError, UsageError
from ramify.models.tasks.tasks import label_stream
from ramify.reward.likelihood_head import (
    FEATURES,
    LikelihoodHead,
    path_features,
    read_head,
    sha256_of,
    step_counts,
)
from ramify.reward.protocol import ScoredStep
from ramify.training.judge_features import SolutionFeatures
from ramify.training.judge_fitting import LikelihoodPlan, fit_head
from ramify.training.judge_verdict import choices, held_out_report, verdict_on
from ramify.training.labelling import LabelledSolution
from ramify.training.likelihood_training import check_labels, train_judge_head

CONFIG = EngineConfig(isolation="thread", threads=1)
JUDGE = "demo-s"


def recipe(logprobs: list[list[float]], digits: list[list[bool]]) -> list[list[float]]:
    """The features as the recipe writes them."""
    rows = list[list[float]]()
    cs = cd = mn = 0.0
    big, e = 0, -1
    for k, (values, flags) in enumerate(zip(logprobs, digits, strict=True)):
        x = np.clip(np.array(values), -20, None)
        d = x[np.array(flags)]
        s, m = float(x.sum()), float(x.min())
        sd, md = (float(d.sum()), float(d.min())) if len(d) else (0.0, 0.0)
        cs, cd, mn = cs + s, cd + sd, min(mn, m)
        big, e = big + int((x < -0.69).sum()), e + len(x)
        rows.append([
            s, m, sd, md, math.log1p(-m), math.log1p(-s), cs, cs / (e + 1), mn, cd, math.log1p(-mn), math.log1p(-cs),
            big, k,
        ])  # fmt: skip
    return rows


def head_on(path: Path, **fields: Any) -> LikelihoodHead:
    chance = np.random.default_rng(3)
    layers = tuple(
        (
            chance.normal(size=shape).astype("<f4").astype(float),
            chance.normal(size=shape[0]).astype("<f4").astype(float),
        )
        for shape in ((32, FEATURES), (32, 32), (1, 32))
    )
    mean, spread = np.linspace(-4, 4, FEATURES), np.full(FEATURES, 3.0)
    mean = mean.astype("<f4").astype(float)
    known: dict[str, Any] = {"judge": JUDGE, "files": {path.name: sha256_of(path)}, "mean": mean, "spread": spread}
    known |= {"layers": layers, "scale": 0.3, **fields}
    return LikelihoodHead(**known)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.json"
    path.write_text(head_on(resolve_model(JUDGE).path).to_json())
    return path


def test_features_are_those_of_the_recipe() -> None:
    logprobs = [[-0.1, -25.0, -0.7], [-0.2], [-0.01, -3.0]]
    pieces = [b"a", b"12", b"\n", b"b", b"7", b" x"]
    steps = ["a12\n", "b", "7 x"]
    _, rows = path_features([value for step in logprobs for value in step], pieces, steps)
    digits = [[False, True, False], [False], [True, False]]
    assert np.allclose(rows, recipe(logprobs, digits))


def test_features_of_a_path_do_not_depend_on_how_it_is_cut_into_calls() -> None:
    logprobs, pieces, steps = [-0.5, -1.0, -0.1, -2.0], [b"a", b"\n", b"3", b"\n"], ["a\n", "3\n"]
    _, whole = path_features(logprobs, pieces, steps)
    sums, first = path_features(logprobs[:2], pieces[:2], steps[:1])
    _, second = path_features(logprobs[2:], pieces[2:], steps[1:], sums)
    assert [*first, *second] == whole


@pytest.mark.parametrize(
    ("pieces", "steps", "counts"),
    [
        ([b"a", b"\n", b"b"], ["a\n", "b"], [2, 1]),
        # The space that SentencePiece puts before a text.
        ([b" a", b"\n", b"b"], ["a\n", "b"], [2, 1]),
        # A token over the end of a step belongs to the step in which it begins.
        ([b"a\nb", b"c"], ["a\n", "bc"], [1, 1]),
        ([b"\xc3", b"\xa9", b"x"], ["é", "x"], [2, 1]),
        ([b"ab"], ["a", "b"], [1, 0]),
        ([], [""], [0]),
    ],
)
def test_tokens_belong_to_steps(pieces: list[bytes], steps: list[str], counts: list[int]) -> None:
    assert step_counts(pieces, steps) == counts


def test_a_head_is_written_and_read(file: Path) -> None:
    head, again = head_on(resolve_model(JUDGE).path), read_head(file)
    rows = np.random.default_rng(1).normal(size=(50, FEATURES)) * 5
    assert np.allclose(head.chances(rows), again.chances(rows), atol=1e-6)
    assert (again.judge, again.files, again.temperature) == (head.judge, head.files, None)
    assert head.parameters == 1569
    assert file.stat().st_size < 12_000
    expected = (rows - head.mean) / head.spread
    expected = np.clip(expected, -6, 6)
    for number, (weight, bias) in enumerate(head.layers):
        if number:
            expected = expected / (1 + np.exp(-expected))
        expected = expected @ weight.T + bias
    assert np.allclose(head.chances(rows), 1 / (1 + np.exp(-0.3 * expected[:, 0])))


def damage(facts: dict[str, Any], **fields: Any) -> str:
    return json.dumps({**facts, **fields})


CHANGES: list[Callable[[dict[str, Any]], str]] = [
    lambda facts: "",
    lambda facts: "[1]",
    lambda facts: "\x00\xff",
    lambda facts: damage(facts, format="other"),
    lambda facts: damage(facts, version=2),
    lambda facts: damage(facts, layers=[]),
    lambda facts: damage(facts, layers=facts["layers"][::-1]),
    lambda facts: damage(facts, layers=[{"shape": [1, 14], "weight": "AAAA", "bias": "AAAA"}]),
    lambda facts: damage(facts, layers=[{"shape": [10**9, 14], "weight": "", "bias": ""}]),
    lambda facts: damage(facts, files=["x"]),
    lambda facts: damage(facts, files={"x": 1}),
    lambda facts: damage(facts, scale=-1),
    lambda facts: damage(facts, temperature=0),
    lambda facts: damage(facts, temperature="warm"),
    lambda facts: damage(facts, judge=None),
    lambda facts: damage(facts, report=None),
    lambda facts: damage(facts, features={}),
]


@pytest.mark.parametrize("changed", CHANGES)
def test_a_damaged_file_is_refused_before_a_model_is_loaded(file: Path, changed: Callable[[Any], str]) -> None:
    file.write_text(changed(json.loads(file.read_text())))
    with pytest.raises(ModelLoadError, match=r"own\.json"):
        check_reward(f"head:{file}")


async def test_another_judge_is_refused(file: Path) -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(ModelLoadError, match=r"trained on demo-s\.q8_0\.gguf, and demo-m\.q8_0\.gguf is another"):
            await load_reward(stack, f"head:{file}@demo-m", CONFIG)


def test_names_of_heads(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = resolve_model(JUDGE).path
    found = read_reward_name(f"head:{file}")
    assert (found.head, found.path, found.name, found.reads_policy) == (file, judge, "head:own", False)
    assert read_reward_name(f"noisy:1:head:{file}@demo-m").path == resolve_model("demo-m").path
    assert read_reward_name(f"head:{file} * arithmetic").parts[0].head == file
    for name in (f"head:{file}@demo-s", f"noisy:1:head:{file}"):
        renamed = read_reward_name(name).renamed(lambda name: f"{name}:f16")
        assert renamed == f"{name.removesuffix('@demo-s')}@demo-s:f16"
    for name in bundled_heads():
        assert read_reward_name(f"head:{name}").path == resolve_model(name).path
    with pytest.raises(UsageError, match="names no head"):
        read_reward_name("head:")
    with pytest.raises(ModelLoadError, match="there is no likelihood head 'nothing'"):
        read_reward_name("head:nothing")
    file.write_text(head_on(judge, judge="gone.gguf").to_json())
    with pytest.raises(ModelLoadError, match=r"the judge 'gone\.gguf' of the head own\.json is missing") as caught:
        read_reward_name(f"head:{file}")
    assert "@MODEL" in str(caught.value)


def test_a_batch_knows_the_head_by_what_is_in_it(file: Path) -> None:
    for name in (f"head:{file}", f"head:{file} * arithmetic"):
        before = describe_reward(name, None)
        assert describe_reward(name, before) == before
        text = file.read_text()
        file.write_text(head_on(resolve_model(JUDGE).path, scale=0.7).to_json())
        assert describe_reward(name, before)["sha256"] != before["sha256"]
        file.write_text(text)


async def test_scores_step_by_step_are_those_of_one_pass(file: Path) -> None:
    problem = label_stream(range(5, 6))[0]
    steps = tuple((problem.solution or "").splitlines(keepends=True))
    async with AsyncExitStack() as stack:
        policy, reward = await load_models(stack, "demo-m", f"head:{file}", CONFIG)
        assert reward is not None and reward.parameters > 1569 and reward.parameters != policy.parameters
        _, plain = await load_models(stack, "demo-m", f"mean-logprob:{JUDGE}", CONFIG)
        assert plain is not None
        session, other = await reward.open(problem.question), await plain.open(problem.question)
        scores = list[float]()
        for number in range(1, len(steps) + 1):
            step = ScoredStep(node=number, parent=number - 1 or None, path=steps[:number])
            scores += await session.score([step])
            await other.score([step])
        # It reads what the mean log probability reads.
        assert session.usage == other.usage
        fresh = await reward.open(problem.question)
        whole = await fresh.score([ScoredStep(node=1, parent=None, path=steps)])
        # A node with all steps is cut as the policy cuts them.
        joined = await fresh.score([ScoredStep(node=2, parent=None, path=("".join(steps),))])
        assert whole == pytest.approx([scores[-1]], abs=1e-3)
        assert joined == pytest.approx(whole, abs=1e-3)
        await session.release([1, 2])
        for each in (session, other, fresh):
            await each.close()


@pytest.mark.parametrize("name", list(bundled_heads()))
def test_bundled_heads_help_and_fit_their_judges(name: str) -> None:
    head = read_head(bundled_heads()[name])
    head.check_judge(resolve_model(name).path)
    assert head.helps and head.judge == name
    assert bundled_heads()[name].stat().st_size < 12_000


@pytest.mark.parametrize(("temperature", "expected"), [(None, 0.1), (0.4, 0.4)])
async def test_rebase_takes_the_head_s_temperature(file: Path, temperature: float | None, expected: float) -> None:
    file.write_text(head_on(resolve_model(JUDGE).path, temperature=temperature).to_json())
    problem = label_stream(range(2, 3))[0]
    async with Engine("demo-s", f"arithmetic * noisy:0.5:head:{file}", config=CONFIG) as engine:
        found = await engine.solve(problem, strategy="rebase", budget=Budget(nodes=2))
        assert found.strategy["temperature"] == expected
        unsaid = await engine.solve(problem, strategy=Rebase(width=2), budget=Budget(nodes=2))
        assert unsaid.strategy["temperature"] == expected
        given = await engine.solve(problem, strategy=Rebase(width=2, temperature=0.7), budget=Budget(nodes=2))
        assert given.strategy["temperature"] == 0.7


def solution(question: str, right: bool, count: int, answer: int, *, text: str = "step\n") -> LabelledSolution:
    steps = (text, f"The answer is {answer}.")
    return LabelledSolution(id=question, question=question, steps=steps, values=(1.0, float(right)), count=count)


def sampled(number: int) -> list[SolutionFeatures]:
    """A right and two wrong solutions of a problem, of which the wrong ones are surprising."""
    chance = np.random.default_rng(number)
    found = list[SolutionFeatures]()
    for label in (solution(f"q{number}", True, 1, 7), solution(f"q{number}", False, 2, 8)):
        low = -0.3 if label.first_error is None else -6.0
        _, rows = path_features([-0.1, low + 0.1 * chance.normal()], [b"x", b"7"], ["x", "7"])
        found.append(SolutionFeatures(label, np.array(rows)))
    return found


def test_training_separates_and_its_verdict_says_so() -> None:
    pytest.importorskip("torch")
    solutions = [each for number in range(40) for each in sampled(number)]
    head = fit_head(solutions, LikelihoodPlan(epochs=60, batch=16))
    again = fit_head(solutions, LikelihoodPlan(epochs=60, batch=16))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(head.layers, again.layers, strict=True))
    report = held_out_report(head, [each for number in range(40, 60) for each in sampled(number)])
    assert report["helps"] and report["verdict"].startswith("helps: the right path scores higher in 100.0% of 40 pairs")
    assert report["head"]["majority"] == 0.0 and report["head"]["weighted minus majority"][0] == 1.0
    turned = replace(head, layers=(*head.layers[:-1], (-head.layers[-1][0], -head.layers[-1][1])))
    worse = held_out_report(turned, [each for number in range(40, 60) for each in sampled(number)])
    assert not worse["helps"] and worse["verdict"].startswith("does not help")
    written = [replace(each, label=replace(each.label, calculator=True)) for each in sampled(40)]
    assert "note" not in report and "allows" in held_out_report(head, written)["note"]


def test_labels_must_suffice() -> None:
    with pytest.raises(UsageError, match="fewer than two problems"):
        check_labels([solution("a", True, 1, 7), solution("a", False, 1, 8)])
    with pytest.raises(UsageError, match="all labels are the same"):
        check_labels([solution("a", True, 1, 7), solution("b", True, 1, 8)])


@pytest.mark.parametrize("missing", ["torch", "room", "folder", "problems"])
async def test_what_is_missing_is_told_before_the_judge_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def load(*arguments: object) -> None:
        raise AssertionError("the judge was loaded")

    monkeypatch.setattr("ramify.training.judge_features.Runtime", load)
    labels, out = [solution(name, right, 1, 7) for name in "ab" for right in (True, False)], tmp_path / "head.json"
    message = "fewer than two problems"
    if missing == "torch":
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        message = "needs torch"
    elif missing == "room":
        pytest.importorskip("torch")
        monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 0}))
        message = "the disk has"
    elif missing == "folder":
        pytest.importorskip("torch")
        (tmp_path / "file").write_text("")
        out, message = tmp_path / "file" / "head.json", "cannot be made"
    else:
        pytest.importorskip("torch")
        labels = labels[:2]
    with pytest.raises(UsageError, match=message):
        await train_judge_head(labels, JUDGE, out, LikelihoodPlan(), config=CONFIG, cache=tmp_path / "states")


def test_label_train_and_solve(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("sys.stdin", None)
    labels, out = tmp_path / "labels.jsonl", tmp_path / "head.json"
    command = ["reward", "label", "--exact", "-m", "demo-s", "--count", "8", "--solutions", "6", "--threads", "1"]
    assert main([*command, "-o", str(labels)]) == 0
    for row in map(json.loads, labels.read_text().splitlines()):
        assert set(row["values"]) <= {0.0, 1.0} and list(row["values"]) == sorted(row["values"], reverse=True)
    capsys.readouterr()
    train = ["reward", "train", str(labels), "--head", "likelihood", "--threads", "1", "-o", str(out)]
    assert main([*train, "--judge", JUDGE, "--held-out", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "help" in captured.err and captured.out.strip() == str(out)
    assert read_head(out).files == {"demo-s.q8_0.gguf": sha256_of(resolve_model(JUDGE).path)}
    question = label_stream(range(3, 4))[0].question
    search = ["solve", question, "-m", "demo-s", "--reward", f"head:{out} * arithmetic", "--width", "4", "--json"]
    assert main([*search, "--threads", "1", "--no-save"]) in (0, 4)
    assert json.loads(capsys.readouterr().out)["usage"]["reward"]["prompt_tokens"] == 0


@pytest.mark.parametrize("options", [["--hard"], ["--search"], ["--rollouts", "3"]])
def test_exact_labels_need_no_rollouts(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reward", "label", "--exact", *options, "-o", str(tmp_path / "l")]) == 2
    assert "--exact needs no rollouts" in capsys.readouterr().err


def test_exact_labels_need_worked_solutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = tmp_path / "p.jsonl"
    problems.write_text('{"id": "a", "question": "1+1?", "answer": "2"}\n')
    assert main(["reward", "label", "--exact", "--problems", str(problems), "-o", str(tmp_path / "l")]) == 2
    assert "the steps of problem a cannot be checked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("right", "wrong"), [("3 + 4 gives 7", "3 + 4 gives 8"), ("The answer is 1/2.", "The answer is 2.")]
)
def test_votes_read_answers_that_are_not_marked_and_right_ones_are_one(right: str, wrong: str) -> None:
    other = right.replace("1/2", "0.5")
    labels = [
        LabelledSolution(id="1", question="q", steps=(text,), values=(value,))
        for text, value in ((wrong, 0.0), (right, 1.0), (wrong, 0.0), (other, 1.0), (right, 1.0))
    ]
    assert choices(labels, [0.5] * 5)["majority"] == 1.0


def test_a_verdict_without_readable_answers_says_nothing_of_votes() -> None:
    labels = [LabelledSolution(id="1", question="q", steps=("no",), values=(value,)) for value in (0.0, 1.0)]
    facts = choices(labels, [0.1, 0.9])
    assert facts["weighted minus majority"] is None
    assert "no answer can be read" in verdict_on(facts)[1]
