from __future__ import annotations

import json
import os
import signal
from xml.etree import ElementTree

import networkx as nx
import pytest

from ramify import Solution
from ramify.search.tree import SearchTree
from ramify.testing import ScriptedModel, ScriptedStep

ANSWERS = ("5", "7", "7", "6")


def steps(question: str, path: tuple[int, ...]) -> str:
    return "First a step.\n" if len(path) == 1 else f"The answer is {ANSWERS[path[0] % 4]}."


def prefer_five(question: str, path: tuple[str, ...]) -> float:
    return 0.9 if "5" in path[-1] else 0.2


@pytest.fixture
def model(scripted) -> ScriptedModel:
    model = ScriptedModel(steps)
    scripted(model, prefer_five)
    return model


def test_stdout_is_the_answer_and_nothing_else(ramify, model):
    result = ramify("solve", "How many?", "--reward", "none", "--width", "4")
    assert (result.code, result.out) == (0, "7\n")
    assert result.err.startswith("majority: 2 of 4 finished paths agree · ")
    assert result.err.endswith(" · completed · seed 0\n")


def test_the_question_alone_means_solve(ramify, model):
    assert ramify("How many?", "--reward", "none", "-w", "4", "--quiet").out == "7\n"


def test_quiet_writes_nothing_to_stderr(ramify, model):
    assert ramify("solve", "-q", "-w", "4", "-r", "none", "How many?").err == ""


@pytest.mark.parametrize(
    ("strategy", "answer"), [("majority", "7"), ("weighted", "5"), ("best-of-n", "5"), ("greedy", "5"), ("rebase", "5")]
)
def test_strategies(ramify, model, strategy, answer):
    width = [] if strategy == "greedy" else ["--width", "4"]
    result = ramify("solve", "--strategy", strategy, *width, "-q", "How many?")
    assert (result.code, result.out, result.err) == (0, f"{answer}\n", "")


def test_rebase_is_the_default_with_a_reward_model(ramify, model):
    data = json.loads(ramify("--json", "-w", "4", "--tree-temperature", "0.3", "How many?").out)
    assert {key: data["strategy"][key] for key in ("name", "width", "temperature")} == {
        "name": "rebase",
        "width": 4,
        "temperature": 0.3,
    }


def test_without_a_reward_model_majority_takes_over_and_says_so(ramify, scripted):
    scripted(ScriptedModel(steps), None)
    result = ramify("solve", "-w", "4", "--model", "my.gguf", "How many?")
    assert (result.code, result.out) == (0, "7\n")
    assert result.err.splitlines()[0] == (
        "note: the majority of the paths decides, because no reward was given and none goes with my.gguf; "
        "name one with --reward"
    )


def test_json_is_the_solution_without_its_tree(ramify, model):
    result = ramify("solve", "--json", "-r", "none", "-w", "4", "--seed", "3", "How many?")
    data = json.loads(result.out)
    assert result.out.count("\n") == 1
    assert "tree" not in data
    solution = Solution.from_dict(data)
    assert (solution.answer, solution.seed, solution.question) == ("7", 3, "How many?")
    assert solution.to_dict() == data


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (["--max-nodes", "5"], "budget_nodes"),
        (["--max-generated-tokens", "0.06k"], "budget_generated_tokens"),
        (["--max-total-tokens", "60"], "budget_total_tokens"),
        (["--max-flops", "120M"], "budget_flops"),
    ],
)
def test_limits_arrive(ramify, model, limit, reason):
    data = json.loads(ramify("--json", "-r", "none", "-s", "majority", "-w", "40", *limit, "How many?").out)
    assert data["stop_reason"] == reason


def test_lengths_arrive(ramify, model):
    result = ramify("--json", "-r", "none", "-w", "2", "--max-step-tokens", "1", "--max-path-tokens", "3", "How many?")
    assert result.code == 4
    assert json.loads(result.out)["usage"]["policy"]["generated_tokens"] == 6


@pytest.mark.parametrize("ending", [".json", ".graphml", ".dot", ".mmd", ".svg"])
def test_the_tree_is_saved(ramify, model, tmp_path, ending):
    file = tmp_path / f"tree{ending}"
    assert ramify("-r", "none", "-w", "4", "-q", "--save-tree", str(file), "How many?").code == 0
    text = file.read_text("utf-8")
    if ending == ".json":
        assert len(SearchTree.from_dict(json.loads(text)).finished_nodes()) == 4
    elif ending == ".graphml":
        graph = nx.parse_graphml(text)
        assert sum(graph.nodes[node]["winning"] for node in graph) == 3
    elif ending == ".dot":
        assert text.startswith("digraph search {")
        assert text.count("penwidth=3") == 3 + 2
    elif ending == ".mmd":
        assert text.startswith("flowchart LR\n")
        assert text.count("\n  style ") == 3
    else:
        assert ElementTree.fromstring(text).findall(".//{*}title")[1].text == "How many?"
        assert text.count("on the winning path") == 2


def test_no_answer_is_exit_code_4_and_says_what_to_raise(ramify, scripted):
    scripted(ScriptedModel(lambda question, path: "More words of no use here.\n"))
    result = ramify("solve", "-r", "none", "-w", "4", "--max-generated-tokens", "100", "-q", "How many?")
    assert (result.code, result.out.replace("More words of no use here.\n", "")) == (4, "More words of no\n")
    assert result.err.splitlines()[-1] == (
        "error: no answer: the budget ended before a path finished with one; raise --max-generated-tokens"
    )


def test_a_start_that_takes_all_the_time_is_told(ramify, scripted):
    scripted(ScriptedModel(lambda question, path: ScriptedStep(text="So \\boxed{1}.", end=True)))
    result = ramify("solve", "-r", "none", "-w", "4", "--max-seconds", "1e-7", "-q", "How many?")
    assert (result.code, result.out) == (4, "")
    assert result.err.splitlines()[-1] == (
        "error: no answer: the start, loading and the question took all the time; raise --max-seconds"
    )


def test_no_answer_without_a_budget_is_exit_code_4_too(ramify, scripted):
    scripted(ScriptedModel(lambda question, path: ScriptedStep(text="I do not know.", end=True)))
    result = ramify("solve", "-r", "none", "-w", "4", "--json", "-q", "How many?")
    assert result.code == 4
    assert json.loads(result.out)["answer"] is None
    assert result.error.startswith("error: no answer: no path finished with one; ")


def test_an_interrupt_writes_the_best_answer_so_far(ramify, scripted):
    def slow(question: str, path: tuple[int, ...]) -> str:
        if path == (3,):
            os.kill(os.getpid(), signal.SIGINT)
        return "The answer is 7." if path[0] < 4 else "A step.\n"

    scripted(ScriptedModel(slow, delay_s=0.001))
    result = ramify("solve", "-r", "none", "-w", "500", "How many?")
    assert (result.code, result.out) == (130, "7\n")
    assert " · user · " in result.err


def test_an_interrupt_before_any_answer(ramify, scripted):
    def slow(question: str, path: tuple[int, ...]) -> str:
        if path == (0,):
            os.kill(os.getpid(), signal.SIGINT)
        return "A step.\n"

    scripted(ScriptedModel(slow, delay_s=0.001))
    result = ramify("solve", "-r", "none", "-w", "500", "-q", "How many?")
    assert (result.code, result.out.replace("A step.\n", "")) == (130, "")
    assert result.err.splitlines()[-1] == "error: interrupted before any path finished"


class Deaf(ScriptedModel):
    """A model that does not stop when it is interrupted, and is interrupted once more by its user."""

    async def open(self, question):
        session = await super().open(question)
        session.interrupt = self.ignore
        return session

    async def ignore(self):
        os.kill(os.getpid(), signal.SIGINT)


def test_a_second_interrupt_does_not_wait(ramify, scripted):
    def slow(question: str, path: tuple[int, ...]) -> str:
        if path == (0,):
            os.kill(os.getpid(), signal.SIGINT)
        return "A step.\n"

    scripted(Deaf(slow, delay_s=0.001))
    result = ramify("solve", "-r", "none", "-w", "500", "-q", "How many?")
    assert (result.code, result.out.replace("A step.\n", "")) == (130, "")


def test_a_second_interrupt_writes_the_text_so_far(ramify, scripted):
    def slow(question: str, path: tuple[int, ...]) -> str:
        if len(path) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return f"Step {len(path)}.\n"

    scripted(Deaf(slow, delay_s=0.001))
    result = ramify("solve", "-r", "none", "-s", "greedy", "--json", "-q", "How many?")
    assert result.code == 130
    assert json.loads(result.out)["text"].startswith("Step 1.\nStep 2.\n")
    assert result.err.splitlines()[-1] == "error: interrupted before any path finished"


def test_a_bug_shows_its_traceback_and_is_exit_code_1(ramify, scripted):
    scripted(ScriptedModel({}))
    result = ramify("solve", "-r", "none", "How many?")
    assert (result.code, result.out) == (1, "")
    assert "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1].startswith("error: this is a bug in ramify (KeyError)")


class Ordinary(ScriptedModel):
    """A scripted model that is not one of ramify's own: its paths go on after an answer."""

    ends_at_answer = False


def written(*texts: str) -> Ordinary:
    return Ordinary(lambda question, path: ScriptedStep(text=texts[path[0] % len(texts)], end=True))


def test_a_text_is_printed_whole_and_the_summary_says_what_the_answer_is(ramify, scripted):
    scripted(written("Je t'aime.\nVraiment.", "Je t'aime beaucoup.", "Je t'aime.\nBeaucoup."), None)
    result = ramify("solve", "-w", "3", "--model", "my.gguf", "Translate to French: I love you.")
    assert (result.code, result.out) == (0, "Je t'aime.\nBeaucoup.\n")
    note, summary = result.err.splitlines()
    assert note.startswith("note: the text that is most like the others is the answer, because no reward was given")
    assert "majority: most like the others of 3 texts, similarity 0." in summary
    assert "answer: the whole text (guessed)" in summary


def test_code_is_printed_without_its_fence(ramify, scripted):
    scripted(written("Here:\n```python\nprint(1)\n```\nDone."), prefer_five)
    result = ramify("solve", "-w", "2", "-s", "best-of-n", "Write a Python function that prints 1.")
    assert (result.code, result.out) == (0, "print(1)\n")
    assert "best-of-n: the best score of 2 texts · answer: a block of code (guessed)" in result.err


def test_a_number_that_nothing_marks_is_said_to_be_a_last_resort(ramify, scripted):
    scripted(written("3 + 4 makes 7 apples"), None)
    result = ramify("solve", "-w", "2", "-r", "none", "How many apples?")
    assert (result.code, result.out) == (0, "7\n")
    assert "note: no finished path states an answer, so it is taken from the last number of the text" in result.err
    asked = ramify("solve", "-w", "2", "-r", "none", "--answer", "box", "How many apples?")
    assert (asked.code, asked.out) == (4, "3 + 4 makes 7 apples\n")
    data = json.loads(ramify("solve", "-w", "2", "-r", "none", "--json", "How many apples?").out)
    assert data["reading"] == {"kind": "number", "guessed": True, "last_resort": True, "chosen_by": "majority"}
    assert ramify("solve", "--answer", "poem", "q").code == 2
