from __future__ import annotations

import io
import sys
from dataclasses import replace

import pytest

from ramify.answers.extract import extract_answer
from ramify.cli import terminal
from ramify.cli.progress import SearchProgress, votes_line
from ramify.engine.control.votes import voted_fields
from ramify.events import AnswerUpdate, BudgetUsed, NodeAdded, RunStarted, StepProgress
from ramify.search.node import FinishReason, NodeState, Origin, PruneReason
from ramify.search.stopping import StopReason
from ramify.search.tree import ROOT, SearchTree
from ramify.search.votes import VoteRule, candidates, decide_by_text
from ramify.solution import Solution
from ramify.usage import Usage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def events():
    yield RunStarted(question="q", strategy="rebase", prompt_tokens=5)
    yield StepProgress(node=1, generated_tokens=30, text="x")
    yield NodeAdded(
        node=1,
        parent=0,
        depth=1,
        text="x",
        generated_tokens=40,
        logprob=None,
        state=NodeState.FINISHED,
        finish_reason=FinishReason.EOS,
        answer="7",
    )
    yield StepProgress(node=2, generated_tokens=10, text="y")
    yield BudgetUsed(usage=Usage(), fraction=0.25)
    yield AnswerUpdate(answer="7", groups=(("7", 2, 1.5), ("5", 1, 0.5)))


def test_where_a_run_stands_in_one_line():
    clock = Clock()
    progress = SearchProgress(clock=clock)
    for event in events():
        progress.take(event)
    clock.now = 2.0
    assert progress.line() == "50 tokens · 25 tokens/s · budget 25% · 3 finished · leading answer 7"


def test_tokens_in_the_making_count_towards_the_limit():
    progress = SearchProgress(limit_tokens=100, clock=Clock())
    for event in events():
        progress.take(event)
    assert "50 tokens · budget 50%" in progress.line()


def test_elsewhere_than_on_a_terminal_lines_are_rare(capsys):
    clock = Clock()
    progress = SearchProgress(clock=clock)
    for number, event in enumerate(events()):
        clock.now = number * 2.0
        progress.take(event)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_on_a_terminal_the_line_is_rewritten_and_cut_to_its_width(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    clock = Clock()
    progress = SearchProgress(clock=clock)
    for number, event in enumerate(events()):
        clock.now = number * 2.0
        progress.take(event)
    progress.clear()
    frames = screen.getvalue().split(terminal.CLEAR_LINE)
    assert "\n" not in screen.getvalue()
    assert len(frames) > 3
    assert max(map(len, frames)) <= 29
    assert frames[-1] == ""


@pytest.mark.parametrize(("no_color", "decorated"), [("", True), ("1", False)])
def test_no_color_is_honoured(monkeypatch, no_color, decorated):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    terminal.error("cause; next step")
    assert ("\x1b[" in screen.getvalue()) is decorated


def solution_of(*ends: tuple[str, FinishReason, PruneReason | None]) -> Solution:
    """A majority vote of one path for each text; one with a reason to prune has not finished."""
    tree = SearchTree()
    for text, finish, prune in ends:
        node = tree.complete(tree.add_pending(ROOT).id, text, (1,), None, finish)
        if prune is None:
            tree.finish(node.id, extract_answer(text))
        else:
            tree.prune(node.id, prune)
    paths = candidates(tree)
    vote = decide_by_text(paths, VoteRule.MAJORITY)
    return Solution(
        **voted_fields(paths, vote),
        problem_id="p",
        question="q",
        stop_reason=StopReason.COMPLETED,
        usage=Usage(),
        seed=0,
        strategy={"name": "majority"},
        model={},
        tree=tree,
    )


def test_the_summary_says_how_many_paths_ended_without_an_answer():
    answered = ("The answer is 7.", FinishReason.EOS, None)
    silent = ("No idea.", FinishReason.EOS, None)
    long = ("and so on", FinishReason.STEP, PruneReason.PATH_LENGTH)
    cut = ("half a", FinishReason.BUDGET, PruneReason.BUDGET)
    given_up = ("worse", FinishReason.STEP, PruneReason.ALLOCATION)
    assert votes_line(solution_of(answered, given_up)) == "1 of 1 finished paths agree"
    assert votes_line(solution_of(answered, silent, long, long)) == (
        "1 of 1 finished paths agree, 3 ended without an answer"
    )
    assert votes_line(solution_of(answered, answered, cut)) == "2 of 2 finished paths agree, 1 cut short"
    assert votes_line(solution_of(silent, cut)) == (
        "no path finished with an answer, 1 ended without an answer, 1 cut short"
    )
    without_tree = replace(solution_of(answered, silent, cut), tree=None)
    assert votes_line(without_tree) == "1 of 1 finished paths agree, 1 ended without an answer"


def test_a_path_that_was_finished_after_a_cut_is_not_cut_short():
    found = solution_of(("half a", FinishReason.BUDGET, PruneReason.BUDGET))
    tree = found.tree
    assert tree is not None
    rescue = tree.complete(tree.add_pending(ROOT, origin=Origin.RESCUE).id, "half", (1,), None, FinishReason.BUDGET)
    tree.prune(rescue.id, PruneReason.BUDGET)
    assert votes_line(found) == "no path finished with an answer, 1 cut short"
