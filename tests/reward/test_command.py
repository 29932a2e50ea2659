"""`ramify reward` on the bundled models."""

from __future__ import annotations

import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ramify.cli import main
from ramify.cli.reward_cases import bundled_cases, read_cases
from ramify.engine.library.catalog import resolve_model
from ramify.errors import UsageError
from ramify.models.tasks.arithmetic_steps import with_error
from ramify.reward.likelihood_head import read_head
from ramify.reward.spec_loading import BUILTIN_SPECS, parse_spec
from ramify.reward.specs import RewardSpec


def test_an_error_is_carried_through_to_the_answer() -> None:
    lines = ["Ann has 2+3=5 pens.", "Bob has 5*4=20 pens.", "They have 5+20=25 pens.", "The answer is 25."]
    assert with_error(lines, 0, 1) == [
        "Ann has 2+3=6 pens.", "Bob has 6*4=24 pens.", "They have 6+24=30 pens.", "The answer is 30.",
    ]  # fmt: skip
    assert with_error(lines, 2, -3)[2:] == ["They have 5+20=22 pens.", "The answer is 22."]
    # A number that would not be positive errs to the other side.
    assert with_error(["A has 3-2=1 pens.", "The answer is 1."], 0, -1) == ["A has 3-2=2 pens.", "The answer is 2."]


@pytest.mark.parametrize("task", ["arithmetic", "lists"])
def test_bundled_cases_come_in_pairs_that_part_at_the_error(task: str) -> None:
    cases = bundled_cases(20, seed=3, task=task)
    assert len(cases) == 40
    for right, wrong in zip(cases[::2], cases[1::2], strict=True):
        error = wrong.first_error
        assert error is not None and right.first_error is None
        assert right.question == wrong.question
        assert right.steps[:error] == wrong.steps[:error]
        assert right.steps[error] != wrong.steps[error]
        # An exchange of two items does not touch the answer to every question about a list.
        assert task == "lists" or right.steps[-1] != wrong.steps[-1]


def test_the_list_of_formats_and_one_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reward", "specs"]) == 0
    assert capsys.readouterr().out.splitlines() == list(BUILTIN_SPECS)
    assert main(["reward", "specs", "rlhflow"]) == 0
    assert parse_spec(capsys.readouterr().out) == BUILTIN_SPECS["rlhflow"]
    assert main(["reward", "specs", "nothing"]) == 3
    assert "built-in are ramify-demo-prm" in capsys.readouterr().err


def test_check_reports_by_step_and_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reward", "check", "demo-prm", "--count", "4", "--threads", "1"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["STEP", "RIGHT", "WRONG", "MEAN", "RIGHT", "MEAN", "WRONG", "AUC"]
    assert main(["reward", "check", "demo-prm", "--count", "4", "--threads", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["cases"], report["reward"]) == (8, "ramify-demo-prm")
    assert len(out) == len(report["steps"]) + 3
    assert report["usage"]["evaluated_tokens"] < report["full_tokens"]


def test_label_train_and_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    problems, labels, out = tmp_path / "p.jsonl", tmp_path / "l.jsonl", tmp_path / "own.json"
    assert main(["problems", "--steps", "2-3", "--count", "12", "--seed", "5"]) == 0
    problems.write_text(capsys.readouterr().out, "utf-8")
    label = ["reward", "label", "-m", "demo-s", "--problems", str(problems), "--solutions", "4", "--out", str(labels)]
    assert main(label) == 0
    written = labels.read_text("utf-8")
    assert main(label) == 0
    assert "0 problems labelled, 12 were there already" in capsys.readouterr().err
    assert labels.read_text("utf-8") == written
    train = ["reward", "train", str(labels), "--out", str(out), "--threads", "1", "--json"]
    # The judge is the model that wrote the solutions, unless another one is named.
    assert main(train) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["path"] == str(out) and facts["problems"] == 2
    assert read_head(out).judge == "demo-s"
    assert main(["reward", "check", f"head:{out}", "--count", "2", "--threads", "1"]) == 0
    assert str(out) in capsys.readouterr().out
    assert main([*train, "-m", "demo-m"]) == 0
    assert read_head(out).judge == "demo-m"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head", "linear"], "'linear' is not one of 'likelihood', 'states'"),
        (["--head", "mlp"], "'mlp' is not one of 'likelihood', 'states'"),
        ([], "needs --judge MODEL"),
        (["--judge", "demo-m", "--out", "m.gguf"], "write it to m.json"),
        (["--judge", "demo-m", "--problems", __file__], "name it with --policy"),
    ],
)
def test_a_training_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], message: str
) -> None:
    labels = tmp_path / "l.jsonl"
    labels.write_text("", "utf-8")
    assert main(["reward", "train", str(labels), "--out", "head.json", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture(autouse=True)
def empty_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())


QUESTION = "Mia has 85 cookies. Mia sells 59 cookies. How many cookies does Mia have?"


def test_solve_takes_a_format_of_ones_own(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    spec = tmp_path / "mine.toml"
    spec.write_text(
        'name = "mine"\nprompt_template = "<|user|>{question}<|assistant|>"\nstep_template = "{step}<|step|>"\n'
        'tag = "<|step|>"\ngood = "<|good|>"\nbad = "<|bad|>"\ncontext_limit = 512\n',
        "utf-8",
    )
    common = ["solve", QUESTION, "--threads", "1", "--isolation", "thread", "--width", "4", "--json", "--quiet"]
    found: list[dict[str, Any]] = []
    for options in (["--reward", "demo-prm"], ["--reward", "demo-prm", "--reward-spec", str(spec)]):
        assert main([*common, *options]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[1]["model"]["reward"] == "mine"
    assert found[1]["score"] == pytest.approx(found[0]["score"], abs=1e-3)
    spec.write_text(spec.read_text("utf-8").replace("<|good|>", "<|bad|>"), "utf-8")
    assert main([*common, "--reward", "demo-prm", "--reward-spec", str(spec)]) == 2
    assert "good and bad are the same token" in capsys.readouterr().err


@pytest.mark.parametrize("reward", ["self-certainty", "mean-logprob"])
def test_solve_without_a_reward_model(capsys: pytest.CaptureFixture[str], reward: str) -> None:
    options = ["--threads", "1", "--isolation", "thread", "--width", "4", "--strategy", "rebase", "--json", "--quiet"]
    assert main(["solve", QUESTION, "--reward", reward, *options]) == 0
    solution = json.loads(capsys.readouterr().out)
    assert solution["model"]["reward"] == reward
    assert 0 < solution["score"] <= 1
    assert solution["usage"]["reward"]["flops"] >= 0


def test_a_head_that_another_model_reads_stays_when_one_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    from .head_files import copy_with_head

    monkeypatch.setenv("RAMIFY_MODELS_DIR", str(tmp_path))
    fields = {"head": "mlp", "head_file": "prm.head.safetensors", "good": 0, "bad": None, "activation": "sigmoid"}
    spec = BUILTIN_SPECS["ramify-demo-prm"].model_copy(update=fields)
    assert isinstance(spec, RewardSpec)
    layers = {"0.weight": np.zeros((1, 128), np.float32), "0.bias": np.zeros(1, np.float32)}
    copy_with_head(resolve_model("demo-m").path, tmp_path / "prm.gguf", spec, layers=layers)
    shutil.copy(tmp_path / "prm.gguf", tmp_path / "prm-q8_0.gguf")
    assert (tmp_path / "prm.head.safetensors").is_file()
    assert main(["models", "remove", "prm", "--yes"]) == 0
    assert {each.name for each in tmp_path.iterdir()} == {"prm-q8_0.gguf", "prm.head.safetensors"}
    shutil.copy(tmp_path / "prm-q8_0.gguf", tmp_path / "prm.gguf")
    assert main(["models", "remove", "prm-q8_0", "--yes"]) == 0
    assert main(["models", "remove", "prm", "--yes"]) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_head_that_is_not_beside_its_model_is_missed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from .head_files import copy_with_head

    fields = {"head": "mlp", "head_file": "m.head.safetensors", "good": 0, "bad": None, "activation": "sigmoid"}
    spec = BUILTIN_SPECS["ramify-demo-prm"].model_copy(update=fields)
    assert isinstance(spec, RewardSpec)
    layers = {"0.weight": np.zeros((1, 128), np.float32), "0.bias": np.zeros(1, np.float32)}
    copy_with_head(resolve_model("demo-m").path, tmp_path / "m.gguf", spec, layers=layers)
    check = ["reward", "check", str(tmp_path / "m.gguf"), "--count", "1", "--threads", "1"]
    assert main(check) == 0
    assert "all scores are the same" in capsys.readouterr().err
    (tmp_path / "m.head.safetensors").unlink()
    assert main(check) == 3
    assert "m.gguf needs its head m.head.safetensors beside it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1: question: Field required"),
        ('{"question":"q","steps":[]}', "line 1: steps"),
        ('{"question":"q","steps":["a"],"first_error":1}', "first_error is 1 and there are 1 steps"),
        ("", "has no lines"),
    ],
)
def test_cases_that_are_none_are_named_with_their_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(line, "utf-8")
    with pytest.raises(UsageError, match=message):
        read_cases(path)


def test_cases_may_hold_any_line_separator_of_unicode_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_bytes('\n{"question": "a\u2028b", "steps": ["c\x85"]}\r\n'.encode())
    (case,) = read_cases(path)
    assert (case.question, case.steps) == ("a\u2028b", ("c\x85",))
    path.write_text('\n{"question": "a", "steps": ["b"]}\n\n{}\n', "utf-8")
    with pytest.raises(UsageError, match="line 4: question"):
        read_cases(path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["check", "demo-m"], 3, "demo-m does not say how it reads steps"),
        (["check", "demo-prm", "--reward-spec", "nothing.toml"], 2, "neither a built-in reward spec nor a readable"),
        (["convert", "nothing", "--out", "x.gguf"], 2, "there is no folder nothing"),
        (["check", "openai:nowhere"], 2, "names no judge"),
        (["check", "mean-logprob"], 2, "reads the policy"),
    ],
)
def test_mistakes_are_one_line_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert main(["reward", *arguments]) == code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]


def test_labels_that_are_none_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text('{"question": 1}\n', "utf-8")
    assert main(["reward", "train", str(path), "--judge", "demo-m", "--out", str(tmp_path / "o.json")]) == 2
    assert "holds no labels" in capsys.readouterr().err
