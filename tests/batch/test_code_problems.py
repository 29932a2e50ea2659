"""Problems whose answers are programs: reading of their tests, and batches of them."""

from __future__ import annotations

import gzip
import json
import sys

import pytest

import ramify
from ramify.answers.checkers import PYTHON_TESTS
from ramify.batch import BatchConfig, read_problems, run_batch
from ramify.batch.grading import grade_records
from ramify.engine.testing import ScriptedModel
from ramify.errors import BadInput, UsageError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

ROW = {
    "task_id": "HumanEval/900",
    "prompt": 'def twice(n: int) -> int:\n    """ Double n.\n    >>> twice(2)\n    4\n    """\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    #### numbers\n    assert candidate(5) == 10\n",
}


def written(path, *rows):
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_humaneval_is_read_as_it_is(tmp_path, name):
    (problem,) = read_problems(written(tmp_path / name, ROW))
    assert (problem.id, problem.check) == ("HumanEval/900", PYTHON_TESTS)
    assert ROW["prompt"].strip() in problem.question and "candidate" not in problem.question
    assert problem.answer.endswith("check(twice)") and "#### numbers" in problem.answer
    assert dict(problem.metadata) == {"canonical_solution": ROW["canonical_solution"]}


def test_tests_may_be_a_list_of_assertions(tmp_path):
    row = {"prompt": "Write a function twice.", "test_list": ["assert twice(1) == 2", "assert twice(0) == 0"]}
    (problem,) = read_problems(written(tmp_path / "a.jsonl", row))
    assert problem.answer == "assert twice(1) == 2\nassert twice(0) == 0" and problem.check == PYTHON_TESTS


def test_a_column_test_alone_is_metadata(tmp_path):
    (problem,) = read_problems(written(tmp_path / "a.jsonl", {"question": "1 + 1?", "answer": "2", "test": "yes"}))
    assert (problem.check, problem.answer, dict(problem.metadata)) == ("math", "2", {"test": "yes"})


def test_files_that_are_not_whole_are_refused(tmp_path):
    path = written(tmp_path / "a.jsonl.gz", ROW)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UsageError, match="no whole gzip file"):
        read_problems(path)
    path.write_bytes(b"{}")
    with pytest.raises(UsageError, match="no whole gzip file"):
        read_problems(path)


def test_tests_of_the_wrong_type_are_refused(tmp_path):
    with pytest.raises(BadInput, match="neither text nor a number"):
        read_problems(written(tmp_path / "a.jsonl", {**ROW, "test": [1, 2]}))


WRONG = "```python\ndef twice(n):\n    return n + 2\n```"
BROKEN = "```python\ndef twice(n):\n    return m * 2\n```"
RIGHT = ("```python\ndef twice(n):\n    return n + n\n```", "```python\ndef twice(n):\n    return n * 2\n```")


def script(question, path):
    return (BROKEN, WRONG, *RIGHT)[path[0] % 4]


@pytest.mark.slow
async def test_programs_vote_by_what_they_return(tmp_path):
    problems = read_problems(written(tmp_path / "a.jsonl", ROW))
    async with ramify.Engine(ScriptedModel(script), None) as engine:
        engine.policy.ends_at_answer = False
        solution = await engine.solve(problems[0], strategy=ramify.MajorityVote(width=4))
        assert solution.answer in {each.split("\n", 1)[1].rpartition("\n")[0] for each in RIGHT}
        assert [each.votes for each in solution.candidates] == [0, 1, 2, 2]
        assert (str(solution.reading.kind), solution.reading.chosen_by) == ("program", "majority")
        config = BatchConfig(strategy=ramify.MajorityVote(width=4))
        report = await run_batch(problems, tmp_path / "out", config, engine=engine)
    assert (report.correct, report.graded) == (1, 1)
    row = json.loads((tmp_path / "out" / "items.jsonl").read_text())
    assert row["check"] == PYTHON_TESTS and row["correct"] is True
    assert [each.correct for each in grade_records(tmp_path / "out" / "items.jsonl")] == [True]
