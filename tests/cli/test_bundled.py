"""The command line as a process on the bundled models: what a user sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ramify import answers_equal, generate_problems

pytestmark = pytest.mark.usefixtures("bundled")

EASY = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"


def test_the_defaults_solve_a_problem(process):
    result = process(EASY)
    assert (result.code, result.out) == (0, "7\n")
    assert result.err.startswith("rebase: ")
    assert "\x1b" not in result.err


def test_the_question_from_stdin_and_the_result_as_json(process):
    head, tail = EASY.split(". How")
    result = process("--json", "--quiet", f"How{tail}", stdin=f"{head}.\n")
    data = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert data["question"] == f"{head}.\n\nHow{tail}"
    assert data["usage"]["reward"]["prompt_tokens"] > 0
    assert data["usage"]["policy"]["reevaluated_tokens"] == data["usage"]["reward"]["reevaluated_tokens"] == 0


def test_the_same_seed_gives_the_same_answer_in_a_thread(process):
    problem = generate_problems(steps=(4, 4), count=1, seed=5)[0]
    runs = [process("--json", "-q", "--isolation", isolation, problem.question) for isolation in ("process", "thread")]
    texts = [[each["text"] for each in json.loads(run.out)["candidates"]] for run in runs]
    assert texts[0] == texts[1]


def test_a_token_limit_is_kept(process):
    problem = generate_problems(steps=(6, 6), count=1, seed=5)[0]
    result = process("--json", "-q", "--max-generated-tokens", "150", problem.question)
    assert json.loads(result.out)["usage"]["policy"]["generated_tokens"] <= 150
    assert result.code in (0, 4)


def test_without_a_reward_model(process):
    result = process("--reward", "none", "--strategy", "majority", "-w", "4", EASY)
    assert (result.code, result.out) == (0, "7\n")


def worker_seconds(parent: int) -> float:
    """Return the processor time of the workers below a process."""
    ticks = 0
    for each in Path("/proc").glob("[0-9]*"):
        try:
            words = (each / "stat").read_text().rpartition(")")[2].split()
            if int(words[1]) == parent and b"runtime.serve.worker" in (each / "cmdline").read_bytes():
                ticks += int(words[11]) + int(words[12])
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processor times are looked up in /proc")
def test_one_interrupt_of_the_process_group_ends_softly(start):
    problem = generate_problems(steps=(8, 8), count=1, seed=5)[0]
    child = start("--json", "-s", "majority", "-r", "none", "-w", "3000", "--max-seconds", "1000", problem.question)
    # The start of a worker takes half a second of the processor, the search minutes.
    while child.poll() is None and worker_seconds(child.pid) < 1.5:
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert json.loads(out)["stop_reason"] == "user"


def test_a_silent_pipe_does_not_hang(start):
    child = start("-q", EASY, stdin=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.read() == "7\n"
    child.communicate(timeout=30)
    assert child.returncode == 0


def test_doctor_runs_a_model(process):
    result = process("doctor", "--json")
    report = json.loads(result.out)
    assert (result.code, result.err, report["problems"]) == (0, "", [])
    assert report["run"]["generated_tokens"] > 0
    assert "test run" in process("doctor", "--no-run").out


def test_doctor_measures_throughput(process):
    rows = json.loads(process("doctor", "--bench", "--json", "--model", "demo-s").out)["throughput"]
    assert [row["lanes"] for row in rows] == [1, 4, 16, 64]
    assert all(0 < row["occupancy"] <= row["lanes"] and row["tokens_per_s"] > 0 for row in rows)
    assert rows[2]["occupancy"] > 4
    assert all(0 < row["different"] <= row["occupancy"] for row in rows)
    assert rows[3]["different"] < rows[3]["occupancy"]


def test_doctor_names_the_model_that_fails(process, tmp_path):
    (tmp_path / "bad.gguf").write_text("no model, but longer than a header would be")
    result = process("doctor", "--model", str(tmp_path / "bad.gguf"))
    assert result.code == 3
    assert "bad.gguf is not a GGUF file" in result.error


def test_answers_of_easy_problems_are_right(process):
    problem = generate_problems(steps=(2, 2), count=1, seed=3)[0]
    answer = process("-q", problem.question).out.strip()
    assert problem.answer is not None
    assert answers_equal(answer, problem.answer)
