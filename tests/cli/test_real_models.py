"""The command line on a real model: plain calls, limits, Ctrl-C, batches, rewards and reports."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]

BOXED = "What is 12 + 30? Put the final answer in a box."
WORDS = "Tom has 3 apples and buys 4 more. How many apples does he have now?"
PATIENCE_S = 190.0
SHORT = ("--prompt-preset", "gsm8k", "-w", "2", "--max-generated-tokens", "200")
"""Options with which SmolLM2 answers WORDS in a few tokens."""


@pytest.fixture(scope="module")
def smollm2(real_model) -> str:
    return str(real_model("smollm2"))


@pytest.fixture
def call(process):
    return partial(process, timeout=PATIENCE_S)


def test_the_plain_call_answers(smollm2, call):
    result = call(BOXED, "-m", smollm2)
    assert result.code == 0, result.err
    assert result.out.strip()
    assert "paths" in result.err and "Traceback" not in result.err


def test_a_call_without_an_answer_prints_the_furthest_path(smollm2, call):
    result = call(WORDS, "-m", smollm2, "--max-generated-tokens", "20")
    assert result.code == 4, result.err
    assert result.out.startswith("Tom has")
    assert "no path finished" in result.err and "raise --max-generated-tokens" in result.err


def test_the_result_as_json_has_the_text_without_an_answer(smollm2, call):
    result = call(WORDS, "-m", smollm2, "--max-generated-tokens", "20", "--json", "-q")
    data = json.loads(result.out)
    assert (result.code, data["answer"], data["stop_reason"]) == (4, None, "budget_generated_tokens")
    assert data["text"].strip()


@pytest.mark.parametrize("reward", ["self-certainty", "mean-logprob:{}"])
def test_likelihoods_guide_a_search(reward, smollm2, call):
    result = call(WORDS, "-m", smollm2, "-r", reward.format(smollm2), "--json", *SHORT)
    assert result.code == 0, result.err
    data = json.loads(result.out)
    assert data["strategy"]["name"] == "rebase" and 0 < data["score"] < 1


@pytest.mark.parametrize("reward", ["none", "self-certainty", "mean-logprob:{}"])
def test_a_batch_of_two_problems(reward, smollm2, call, tmp_path: Path):
    problems, out = tmp_path / "problems.jsonl", tmp_path / "out"
    rows = [{"question": WORDS, "answer": "7"}, {"question": WORDS.replace("Tom", "Tim"), "answer": "7"}]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["batch", "run", str(problems), "--out", str(out), "-m", smollm2, *SHORT]
    result = call(*command, "-r", reward.format(smollm2))
    assert result.code == 0, result.err
    items = [json.loads(line) for line in (out / "items.jsonl").read_text("utf-8").splitlines()]
    assert [item["status"] for item in items] == ["ok", "ok"]
    assert all(item["answer"] is not None and item["correct"] in (True, False) for item in items)
    assert (reward == "none") == all(item["score"] is None for item in items)
    if reward == "none":
        again = call(*command, "-r", reward)
        assert again.code == 0, again.err
        assert len((out / "items.jsonl").read_text("utf-8").splitlines()) == 2
        assert "of 2" in call("batch", "report", str(out)).out


class Terminal:
    """The command line with its progress on a terminal and its result in a pipe."""

    def __init__(self, *arguments: str) -> None:
        self._own, other = pty.openpty()
        self.child = subprocess.Popen(
            [sys.executable, "-m", "ramify", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=other,
            text=True,
            start_new_session=True,
            env=os.environ | {"TERM": "xterm"},
        )
        os.close(other)
        self.shown = ""

    def until(self, pattern: str) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline_s, self.shown
            self.shown += os.read(self._own, 4096).decode(errors="replace")

    def interrupt(self) -> tuple[int, str]:
        """Press Ctrl-C; return the exit code and the result."""
        os.killpg(self.child.pid, signal.SIGINT)
        out, _ = self.child.communicate(timeout=PATIENCE_S)
        return self.child.returncode, out

    def close(self) -> None:
        with self.child:
            self.child.kill()
        os.close(self._own)


@pytest.fixture
def searching(smollm2) -> Iterator[Terminal]:
    terminal = Terminal(WORDS, "-m", smollm2, "-s", "majority", "-w", "16", "--max-seconds", "140", "--json")
    yield terminal
    terminal.close()


def test_ctrl_c_gives_the_best_text(searching):
    searching.until(r"(?:[5-9]|\d\d) tokens")
    code, out = searching.interrupt()
    data = json.loads(out)
    assert (code, data["stop_reason"]) == (130, "user")
    assert data["text"].strip()


def test_doctor_shows_the_plan_and_models_info_what_will_be_used(smollm2, call):
    report = call("doctor", "-m", smollm2)
    assert report.code == 0, report.err
    info = call("models", "info", smollm2)
    assert info.code == 0, info.err
    for name in ("preset", "sampling"):
        assert re.search(rf"^{name} .*\w", report.out, re.M), report.out
    assert "<|im_start|>user" in report.out and "temperature 0.7, top-p 0.95" in report.out
    for line in info.out.splitlines():
        assert not re.search(r"\s-$", line), line
