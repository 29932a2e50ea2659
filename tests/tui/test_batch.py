"""Batch screen: items that a limit has cut, told from wrong ones and done again by the command of before."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path

import pytest

from ramify import Budget
from ramify.batch import BatchConfig, run_batch
from ramify.batch.store.identity import _rule
from ramify.cli import main
from ramify.config import RunConfig
from ramify.engine.engine import Engine
from ramify.problem import Problem
from ramify.search.stopping import AllOf, make_stop_rule
from ramify.search.strategies.rebase import Rebase, RoundingRule
from ramify.search.strategies.sampling import Greedy
from ramify.testing import ScriptedModel
from ramify.tui.screens.batch import BatchScreen
from ramify.tui.state.batch_process import BatchCommand, BatchProcess
from ramify.tui.state.batch_view import _rules, item_solution, read_batch, search_options
from ramify.tui.state.spec import RunSpec


def endless(question: str, path: tuple[int, ...]) -> str:
    """The first two questions are never answered, all others with 1."""
    if question in ("Question 0?", "Question 1?"):
        return "and so on\n"
    return "The answer is 1."


@pytest.fixture
async def cut_batch(tmp_path: Path) -> Path:
    """Six items: two cut, three right, one wrong; made by a command that is known."""
    problems = [Problem(id=f"p{number}", question=f"Question {number}?", answer="1") for number in range(5)]
    problems.append(Problem(id="p5", question="Question 5?", answer="2"))
    config = BatchConfig(
        strategy=Greedy(),
        run=RunConfig(budget=Budget(generated_tokens=40)),
        command=("batch", "run", "in.jsonl", "--out", "out", "-s", "greedy"),
    )
    async with Engine(model=ScriptedModel(endless), reward=None) as engine:
        await run_batch(problems, tmp_path / "out", config, engine=engine)
    return tmp_path / "out"


async def test_cut_items_are_told_from_wrong_ones(ui, cut_batch):
    view = read_batch(cut_batch)
    assert (view.done, view.cut, view.failed, view.correct, view.answered) == (6, 2, 0, 3, 4)
    async with ui(batch=cut_batch) as user:
        await user.until(lambda: "6 of 6" in user.text())
        assert "50.0% of 6" in user.text()
        assert "75.0% of the 4 not cut" in user.text()
        assert "2 cut by a limit with no answer" in user.text()
        lines = {line.split()[2]: line.split()[1] for line in user.lines() if " p" in line and "Question" in line}
        assert lines == {"p0": "…", "p1": "…", "p2": "✓", "p3": "✓", "p4": "✓", "p5": "×"}
        assert sum("   cut  " in line for line in user.lines()) == 2


class Started(BatchProcess):
    """In place of a process; notes how it was started and ends when it is stopped."""

    def __init__(self, arguments, folder) -> None:
        self.given = arguments, folder
        self.ended = asyncio.Event()
        super().__init__(arguments, folder)

    async def _drive(self) -> None:
        await self.ended.wait()

    def stop(self) -> None:
        self.stopping = True
        self.ended.set()


async def test_cut_items_are_done_again_with_the_command_of_before(ui, cut_batch, monkeypatch):
    monkeypatch.setattr("ramify.tui.state.batch_process.BatchProcess", Started)
    async with ui(batch=cut_batch) as user:
        await user.until(lambda: "r retry cut" in user.lines()[-1])
        assert "x stop" not in user.lines()[-1]
        await user.press("r")
        await user.until(lambda: "Do 2 cut items again" in user.text())
        await user.press("down", "enter")
        await user.until(lambda: "starting" in user.lines()[0])
        [(out, process)] = user.app.batches.items()
        assert out == cut_batch.resolve()
        made = ("batch", "run", "in.jsonl", "--out", "out", "-s", "greedy")
        assert process.given == ((*made, "--out", str(out), "--parallel", "1", "--retry", "cut"), Path.cwd())
        assert isinstance(user.app.screen, BatchScreen)
        await user.until(lambda: "retry cut" not in user.lines()[-1] and "x stop" in user.lines()[-1])
        await user.press("ctrl+c")
        await user.until(lambda: "finished" in user.lines()[0])
        assert process.stopping


async def test_a_batch_of_an_unknown_command_says_what_to_do(ui, cut_batch):
    manifest = cut_batch / "manifest.json"
    noted = json.loads(manifest.read_text())
    del noted["command"]
    manifest.write_text(json.dumps(noted))
    async with ui(batch=cut_batch) as user:
        await user.until(lambda: "6 of 6" in user.text())
        await user.press("r")
        await user.until(lambda: user.toasts)
        assert "does not say which command made it" in user.toasts[0]


@pytest.mark.parametrize(
    "noted",
    [
        None,
        "batch run",
        {"arguments": "batch run x", "folder": "/"},
        {"arguments": ["solve", "x"], "folder": "/"},
        {"arguments": ["batch", "run"]},
    ],
)
def test_only_a_batch_is_run_again(noted):
    assert BatchCommand.from_manifest({"command": noted}) is None


async def test_an_error_of_the_command_is_told(ui, tmp_path):
    async with ui() as user:
        user.app.start_batch(tmp_path / "out", ["batch", "run", "nowhere.jsonl", "--out", "out"], tmp_path)
        [process] = user.app.batches.values()
        await user.until(lambda: not process.running)
        await user.until(lambda: user.toasts)
        assert "Nowhere.jsonl cannot be read" in user.toasts[0]
        user.app.start_batch(tmp_path / "out", ["batch"], tmp_path / "gone")
        await user.until(lambda: len(user.toasts) == 2)
        assert "cannot be started" in user.toasts[1]


@pytest.mark.parametrize("script", ["exec sleep 600", "trap '' INT\nexec sleep 600"])
async def test_leaving_ends_the_command(monkeypatch, tmp_path, script):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!/bin/sh\n{script}\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(sleeper))
    process = BatchProcess([], tmp_path)
    while process._process is None:
        await asyncio.sleep(0.01)
    assert process.running
    await process.close(1.0)
    assert not process.running
    assert process.error is None
    assert process._process.returncode != 0


def test_the_command_line_is_noted_in_the_manifest(tmp_path, monkeypatch):

    seen = []
    monkeypatch.setattr("ramify.cli.batch.run_interruptibly", lambda *given: seen.append(given[2]))
    problems = tmp_path / "in.jsonl"
    problems.write_text('{"question": "1+1?"}\n')
    made = ["batch", "run", str(problems), "--out", str(tmp_path / "out"), "-r", "none"]
    for more in (["--retry", "cut"], ["--retry=all"], ["--retry-failed"], []):
        assert main([*made, *more]) == 130
    assert {config.command for config in seen} == {tuple(made)}


async def test_a_later_run_from_python_keeps_the_command(cut_batch):
    before = json.loads((cut_batch / "manifest.json").read_text())
    assert before["command"] == {"arguments": list(before["command"]["arguments"]), "folder": str(Path.cwd())}
    problems = [Problem(id=f"p{number}", question=f"Question {number}?", answer="1") for number in range(5)]
    problems.append(Problem(id="p5", question="Question 5?", answer="2"))
    config = BatchConfig(strategy=Greedy(), run=RunConfig(budget=Budget(generated_tokens=40)), retry="cut")
    async with Engine(model=ScriptedModel(endless), reward=None) as engine:
        await run_batch(problems, cut_batch, config, engine=engine)
    after = json.loads((cut_batch / "manifest.json").read_text())
    assert after["command"] == before["command"]
    assert after["configuration_hash"] == before["configuration_hash"]


async def test_an_item_is_asked_again_as_it_was(tmp_path):
    strategy = Rebase(width=2, temperature=0.3, rounding=RoundingRule.LARGEST_REMAINDER)
    limits = Budget(seconds=40, generated_tokens=500)
    run = RunConfig(budget=limits, max_path_tokens=60, stop=make_stop_rule("beta:0.9"), seed=3)
    problem = Problem(id="p", question="Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have?")
    async with Engine("demo-s", "arithmetic") as engine:
        await run_batch([problem], tmp_path, BatchConfig(strategy=strategy, run=run), engine=engine)
    (item,) = read_batch(tmp_path).items
    solution = item_solution(tmp_path, item)
    spec = RunSpec.of(solution, search_options(tmp_path, solution))
    names = ("model", "reward", "strategy", "width", "tree_temperature", "stop", "seed")
    assert [spec.get(name) for name in names] == ["demo-s", "arithmetic", "rebase", 2, 0.3, "beta:0.9", 3]
    assert (spec.get("max_seconds"), spec.get("max_generated_tokens"), spec.get("max_path_tokens")) == (40, 500, 60)
    words = shlex.split(spec.command_line())
    assert words[-1] == problem.question and "rounding=largest_remainder" in words


@pytest.mark.parametrize("text", ["lead", "beta:0.9", "lead,score:0.5", "window:3"])
def test_stop_rules_are_told_as_the_option_takes_them(text):
    rule = _rule(make_stop_rule(text))
    assert make_stop_rule(_rules(rule)) == make_stop_rule(text)
    assert _rules(_rule(AllOf((make_stop_rule("lead"),)))) is None


async def test_the_interval_of_a_batch_with_repeats_is_that_of_its_report(tmp_path):
    problems = [Problem(id=str(n), question=f"Question {n}?", answer="1" if n % 2 else "2") for n in range(6)]
    async with Engine(model=ScriptedModel(lambda *_: "The answer is 1."), reward=None) as engine:
        report = await run_batch(problems, tmp_path, BatchConfig(strategy=Greedy(), repeat=4), engine=engine)
    view = read_batch(tmp_path)
    assert (view.correct, view.graded) == (12, 24)
    assert (view.low, view.high) == (report.low, report.high)
