from __future__ import annotations

import io
import sys

import pytest

from ramify.cli import terminal
from ramify.cli.progress import SearchProgress
from ramify.events import AnswerUpdate, BudgetUsed, NodeAdded, RunStarted, StepProgress
from ramify.search.node import FinishReason, NodeState
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
