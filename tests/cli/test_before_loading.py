"""Wrong input is told before a model is loaded, by every command that loads one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from ramify.cli.options import SearchPlan
from ramify.engine.runtime.serve import processes
from ramify.engine.runtime.serve.client import Runtime
from ramify.errors import RamifyError, UsageError
from ramify.files import lock
from ramify.problem import Problem
from ramify.training.likelihood_training import choose_temperature
from ramify.tui.state.engine_host import EngineHost
from ramify.tui.state.spec import RunSpec

ROW = '{"id": "a", "question": "What is 3 + 4?", "answer": "7"}\n'
INPUTS = {
    "none.jsonl": None,
    "empty.jsonl": "",
    "blank.jsonl": "\n \n",
    "binary.jsonl": b"\xff\xfe\x00\x01",
    "text.jsonl": "What is 3 + 4?\n",
    "column.jsonl": '{"id": "a", "body": "What is 3 + 4?"}\n',
    "list.jsonl": "[1, 2]\n",
}
REWARDS = ("nonsense", "mean-lograob", "noisy:x:demo-prm", "mean-logprob:none.gguf", "demo-m")


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let any load fail the test; work in a folder with the inputs and good.jsonl."""

    def refuse(*arguments: object, **more: object) -> Any:
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(Runtime, "load", refuse)
    monkeypatch.setattr(Runtime, "begin_load", refuse)
    monkeypatch.setattr(processes, "_warm", lambda *arguments: None)
    monkeypatch.chdir(tmp_path)
    for name, content in INPUTS.items():
        if content is not None:
            Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    Path("good.jsonl").write_text(ROW)


def told(result: Any, *codes: int) -> None:
    """Check that there is one error, and no answer."""
    assert result.code in codes, result.err
    assert not result.out
    assert "Traceback" not in result.err and "a model is loaded" not in result.err
    assert any(line.startswith(("error:", "Error:")) for line in result.err.splitlines()), result.err


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize(
    "command",
    [
        "batch run {} --out run",
        "reward label --problems {} --out labels.jsonl",
        "reward eval demo-prm --problems {}",
        "reward eval demo-prm --labels {}",
        "reward check demo-prm --cases {}",
        "reward train {} --judge demo-m --out head.json",
        "calibrate --problems {} --out profile.json",
    ],
)
def test_inputs_that_cannot_be_read(ramify: Any, command: str, name: str) -> None:
    told(ramify(*command.format(name).split()), 2)


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    "command",
    [
        "solve What -r {}",
        "batch run good.jsonl --out run -r {}",
        "reward eval {} --problems good.jsonl",
        "reward check {}",
        "calibrate --problems good.jsonl -r {} --out profile.json",
        "bench scaling --quick --out run --rewards {} --policies demo-s --no-plots",
    ],
)
def test_rewards_that_are_none(ramify: Any, command: str, reward: str) -> None:
    told(ramify(*command.format(reward).split()), 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out good.jsonl/profile.json", "cannot be made"),
        ("--out .", "is a folder"),
        ("--out p.json --plot good.jsonl/plot.png", "cannot be made"),
        ("--out p.json --strategies nonsense", "nonsense"),
        ("--out p.json --strategies rebase --reward none", "need a reward"),
        ("--out p.json --plot-cost cost", "needs prices"),
        ("--out p.json --plot-cost joules -m openai:http://localhost:1/v1#m", "energy, which cannot be measured"),
        ("--out p.json --problems unanswered.jsonl", "has no answer"),
        ("--out p.json -m none.gguf", "none.gguf"),
    ],
)
def test_calibrations_that_cannot_be_measured(ramify: Any, options: str, message: str) -> None:
    Path("unanswered.jsonl").write_text('{"question": "What is 3 + 4?"}\n')
    problems = "" if "--problems" in options else "--problems good.jsonl "
    found = ramify(*f"calibrate {problems}{options}".split())
    told(found, 2, 3)
    assert message in found.err


def test_a_calibration_holds_its_profile(ramify: Any) -> None:
    with lock(Path("p.json.lock")):
        found = ramify("calibrate", "--out", "p.json")
    told(found, 2)
    assert "another calibration writes p.json" in found.err


def test_the_problems_of_a_training_need_answers(ramify: Any) -> None:
    rows = [
        {"id": str(number), "question": f"What is {number}?", "steps": ["a"], "values": [float(number)]}
        for number in range(2)
    ]
    Path("labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("unanswered.jsonl").write_text('{"question": "What is 3 + 4?"}\n')
    command = "reward train labels.jsonl --judge demo-m --policy demo-m --problems unanswered.jsonl --out head.json"
    found = ramify(*command.split())
    told(found, 2)
    assert "has no answer" in found.err
    with pytest.raises(UsageError, match="has no answer"):
        anyio.run(choose_temperature, None, Path("head.json"), "demo-m", [Problem(question="What is 3 + 4?")])


@pytest.mark.parametrize(
    "command", ["solve", "solve -", "solve --quiet", "batch run good.jsonl --map question=Body --out run"]
)
def test_questions_that_are_missing(ramify: Any, command: str) -> None:
    told(ramify(*command.split()), 2)


@pytest.mark.parametrize("options", [{"reward": each} for each in REWARDS] + [{"model": "none.gguf"}])
async def test_the_terminal_ui(options: dict[str, str]) -> None:
    plan = SearchPlan.from_options(RunSpec("What is 3 + 4?").with_options(**options).complete())
    host = EngineHost()
    with pytest.raises(RamifyError):
        await host.acquire(plan)
    await host.close(5)


PROMPTS = (
    "--prompt-preset wrong.toml",
    "--prompt-preset none.toml",
    "--prompt-preset maths",
    "--step-format lines",
    "--answer regex:(",
    "--stop-text []",
    "--messages wrong.toml",
    "--examples wrong.toml",
    "--system @none",
)


@pytest.mark.parametrize("given", PROMPTS)
def test_wrong_prompts(given: str, ramify: Any, bundled: None) -> None:
    Path("wrong.toml").write_text("answer = 'best'")
    told(ramify("solve", "-q", *given.split(), "What is 3 + 4?"), 2)
