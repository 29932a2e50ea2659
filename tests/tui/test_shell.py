"""Quitting, palette, help, log, themes, sizes, and what is imported when."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time

import pytest

from ramify.testing import ScriptedModel
from ramify.tui.common.actions import ACTIONS, actions_of
from ramify.tui.common.logs import LogLines
from ramify.tui.screens.batch import BatchScreen
from ramify.tui.screens.compare import CompareScreen
from ramify.tui.screens.history import HistoryScreen
from ramify.tui.screens.home import HomeScreen
from ramify.tui.screens.run import RunScreen
from ramify.tui.state.spec import RunSpec
from ramify.tui.widgets.tree import TreeView

from .conftest import chain, spec

SCREENS = {
    "home": HomeScreen,
    "run": RunScreen,
    "compare": CompareScreen,
    "history": HistoryScreen,
    "batch": BatchScreen,
}


@pytest.mark.parametrize("area", SCREENS)
def test_every_action_is_bound_and_done_by_its_screen_or_the_program(area):
    from ramify.tui.app import RamifyApp

    keys = list[str]()
    for action in actions_of(area):
        assert hasattr(SCREENS[area], f"action_{action.id}") or hasattr(RamifyApp, f"action_{action.id}"), action
        keys += action.keys.split(",")
    assert len(keys) == len(set(keys))


def test_every_action_says_what_it_does():
    assert [each.id for each in ACTIONS if not (each.help.endswith(".") and each.title and each.sign)] == []


async def test_quitting_in_mid_run_saves_it(ui, store):
    async with ui(model=ScriptedModel(chain, delay_s=0.2)) as user:
        await user.ask()
        await user.until(lambda: user.view.tree.child_count(0) > 4)
        await user.press("ctrl+q")
        await user.until(lambda: store.list())
    [run] = store.list()
    assert run.stop_reason == "user"


async def test_a_step_that_takes_too_long_is_not_waited_for_and_the_rest_is_saved(ui, store):
    slow = ScriptedModel(chain)

    async with ui(model=slow, spec=spec(strategy="majority", width=2)) as user:
        await user.ask(key="f6")
        await user.until(lambda: user.view.phase == "paused")
        await user.press("n")
        await user.until(lambda: user.view.step_count == 2)
        await user.still()
        slow.delay_s = 60.0
        await user.press("n")
        await user.until(lambda: user.view.tree.pending_count)
        began_s = time.monotonic()
        await user.app.action_quit()
        assert time.monotonic() - began_s < 30
    saved = store.load("last").solution
    assert [node.depth for node in saved.tree][:3] == [0, 1, 1]


async def test_the_palette_offers_the_actions_that_can_be_taken(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        commands = {command.title for command in user.app.get_system_commands(user.app.screen)}
        assert "Copy  (c)" in commands
        assert "Theme" in commands
        assert not any(title.startswith("Prune") for title in commands)
        await user.press("ctrl+p")
        await user.press(*"hide")
        await user.until(lambda: "Hide the steps that were given up" in user.text())
        await user.press("enter")
        await user.until(lambda: isinstance(user.app.screen, RunScreen) and not user.run.branches.keep_pruned)


async def test_f1_explains_the_screen_and_what_has_the_focus(ui, snap):
    async with ui() as user:
        await user.press("f1")
        # The screen below may be drawn after the help.
        await user.until(lambda: "Keys" in user.text() and "think in trees" in user.text())
        snap(user)
        await user.press("escape", "tab", "f1")
        await user.until(lambda: "The policy: a bundled name or the path of a .gguf file." in user.text())


async def test_the_log_shows_what_was_reported(ui):
    lines = LogLines()
    logger = logging.getLogger("ramify.test")
    logger.addHandler(lines)
    try:
        async with ui(logs=lines) as user:
            logger.warning("something happened")
            await user.press("f9")
            await user.until(lambda: "something happened" in user.text())
            logger.warning("and again")
            await user.until(lambda: "and again" in user.text())
    finally:
        logger.removeHandler(lines)


async def test_debug_info_is_copied(ui):
    async with ui() as user:
        user.app.action_debug()
        await user.until(lambda: "llama-cpp-python" in user.text())
        await user.press("c")
        assert "textual" in user.app.clipboard


async def test_a_theme_without_our_colours_works(ui):
    async with ui(theme="textual-light") as user:
        await user.ask()
        await user.over()
        user.app.theme = "ramify-light"
        await user.pilot.pause()
        assert "steps" in user.text()


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60), (40, 12)])
async def test_every_size_shows_the_tree_the_answer_and_the_keys(ui, size):
    async with ui(size=size, spec=RunSpec("How many?")) as user:
        assert user.app.home.query_one("#question").size.height >= 1
        await user.ask("How many? " * 30)
        await user.over()
        width, height = size
        assert all(len(line) <= width for line in user.lines())
        assert user.run.query_one(TreeView).size.height >= (3 if height > 12 else 1)
        assert "✓ 0" in user.lines()[0]
        if width >= 80:
            assert re.search(r"● 0 .* votes", user.text())
            assert "F1 help" in user.lines()[-1]


async def test_resizing_draws_everything_again(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        await user.pilot.resize_terminal(80, 24)
        await user.until(lambda: user.lines()[0].rstrip().endswith(" s"))
        assert "✓ 0" in user.lines()[0]


async def test_the_screen_rests_when_nothing_happens(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        await user.until(lambda: user.run._frames is not None and not user.run._frames._active.is_set())


def test_nothing_heavy_is_imported_before_the_first_paint():
    code = "import sys, ramify.tui.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "textual.app" in loaded
    heavy = {"llama_cpp", "numpy", "networkx", "torch", "pydantic", "sympy", "matplotlib", "ramify.engine.engine"}
    assert not loaded & heavy


def test_the_package_itself_imports_no_ui_library():
    code = "import sys, ramify.tui, ramify.tui.state.run_view, ramify.tui.state.spec; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"textual", "rich"} & set(done.stdout.split())


@pytest.mark.parametrize("arguments", [["tui"], ["tui", "How many?"]])
def test_without_a_terminal_the_command_says_what_to_use(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "ramify", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TERM": "dumb"},
    )
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr
    assert done.stdout == ""
