from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ramify import generate_problems


def test_problems_are_json_lines_and_the_seed_fixes_them(ramify):
    result = ramify("problems", "--steps", "2-3", "--count", "5", "--seed", "7")
    assert (result.code, result.err) == (0, "")
    expected = generate_problems(steps=(2, 3), count=5, seed=7)
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert lines == [{"id": each.id, "question": each.question, "answer": each.answer} for each in expected]


def test_solutions_on_request(ramify):
    line = json.loads(ramify("problems", "--count", "1", "--solutions").out)
    assert line["solution"].endswith(f"The answer is {line['answer']}.")


def test_no_problems_is_no_output(ramify):
    result = ramify("problems", "--count", "0")
    assert (result.code, result.out, result.err) == (0, "", "")


@pytest.mark.parametrize("arguments", [["--steps", "8-2"], ["--steps", "0-3"], ["--steps", "x"], ["--count", "-1"]])
def test_wrong_arguments(ramify, arguments):
    result = ramify("problems", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error.startswith("error: ")


def test_a_reader_that_has_seen_enough_is_no_error():
    shell = f"{sys.executable} -m ramify problems --count 3000 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["id"] == "0-0"


def test_the_second_task_says_how_it_is_checked(ramify):
    result = ramify("problems", "--task", "lists", "--count", "3", "--seed", "7", "--solutions")
    expected = generate_problems(count=3, seed=7, task="lists")
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["solution"] for line in lines] == [each.solution for each in expected]
    assert {(line["check"], line["task"]) for line in lines} == {("exact", "lists")}
