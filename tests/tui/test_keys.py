"""The user's own keys: what they do, where they are shown, and what is said about wrong ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ramify.errors import UsageError
from ramify.tui.common.actions import ACTIONS
from ramify.tui.common.keymap import TREE_KEYS, remapped, sign_of
from ramify.tui.widgets.tree import TreeView


def test_the_usual_keys_do_not_clash_and_are_left_alone():
    assert remapped({}) == ACTIONS


@pytest.mark.parametrize(
    ("action", "written", "keys", "sign"),
    [
        ("stop", "s", "s", "s"),
        ("stop", "R", "R", "R"),
        ("stop", "F7", "f7", "F7"),
        ("stop", "ctrl+r", "ctrl+r", "^r"),
        ("stop", "ctrl+R", "ctrl+r", "^r"),
        ("stop", "shift+up", "shift+up", "shift+up"),
        ("expand", ["+", "insert"], "plus,insert", "+"),
        ("stop", ["?"], "question_mark", "?"),
        ("replay_back", "left_square_bracket", "left_square_bracket", "["),
        ("pause", "space", "space", "space"),
        ("go_back", "escape", "escape", "esc"),
        ("quit", ["f10", "ctrl+q"], "f10,ctrl+q", "F10"),
    ],
)
def test_a_key_is_written_by_name_or_character(action: str, written: Any, keys: str, sign: str):
    found = next(each for each in remapped({action: written}) if each.id == action)
    assert (found.keys, found.sign) == (keys, sign)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda each: each.id)
def test_signs_of_the_usual_keys_are_those_of_the_registry(action):
    shown = "enter" if action.id == "search" else action.sign
    assert shown in ("enter", sign_of(action.keys.split(",")[0]))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"paus": "s"}, "there is no action 'paus'; did you mean 'pause'?"),
        ({"zzz": "s"}, "there is no action 'zzz'; the actions are batch, compare"),
        ({"stop": "banana"}, "stop cannot have the key 'banana'; there is none of this name; write one such as"),
        ({"stop": "hyperspace+s"}, "stop cannot have the key 'hyperspace+s'"),
        ({"stop": ""}, "stop cannot have the key ''"),
        ({"stop": []}, "stop has no key"),
        ({"quit": "q"}, "quit cannot have the key 'q', which would never reach a text field"),
        (
            {"open_run": "s"},
            "open_run cannot have the key 's', which the text field takes first; give it",
        ),
        ({"example": "f7"}, "example cannot have the key 'f7', which the text field takes first"),
        ({"stop": "a"}, "stop cannot have the key 'a', which is that of pin on the run screen"),
        ({"stop": "f1"}, "stop cannot have the key 'f1', which is that of help on the run screen"),
    ],
)
def test_wrong_actions_and_keys_are_told_apart(keys, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        remapped(keys)


def test_two_actions_can_change_places():
    found = {each.id: each.keys for each in remapped({"stop": "n", "step": "x"})}
    assert (found["stop"], found["step"]) == ("n", "x")


async def test_own_keys_act_and_the_usual_ones_of_these_actions_do_not(ui):
    async with ui(keys={"pause": "z", "example": "f11", "search_paused": "f10"}) as user:
        await user.press("f2")
        assert not user.app.home.query_one("#question").text
        await user.press("f11")
        await user.until(lambda: user.app.home.query_one("#question").text)
        # A priority key acts though a text field has the focus.
        await user.press("f10")
        await user.until(lambda: user.app.screen.area == "run" and user.view.phase == "paused")
        await user.press("space")
        await user.pilot.pause()
        assert user.view.phase == "paused"
        await user.press("z")
        await user.over()


async def test_footer_help_and_palette_show_the_keys_in_force(ui):
    async with ui(keys={"copy": "ctrl+y", "help": "f12"}) as user:
        assert "F12 help" in user.lines()[-1]
        await user.ask()
        await user.over()
        assert "^y copy" in user.lines()[-1]
        titles = {command.title for command in user.app.get_system_commands(user.app.screen)}
        assert "Copy  (^y)" in titles
        await user.press("f12")
        await user.until(lambda: "^y  Copy answer" in user.text())


async def test_texts_name_the_keys_in_force(ui):
    async with ui(keys={"example": "f11"}) as user:
        assert "F11 writes an example" in user.text()
        await user.press("enter")
        await user.until(lambda: any("press F11 for an example" in toast for toast in user.toasts))
        await user.press("f1")
        await user.until(lambda: "begins a new line, F11 writes" in user.text())


@pytest.mark.parametrize("opened", [None, "f1", "f5", "ctrl+p", "f9"])
async def test_ctrl_c_pressed_twice_quits_from_wherever_it_is(ui, opened):
    async with ui() as user:
        if opened is not None:
            await user.press(opened)
            await user.until(lambda: len(user.app.screen_stack) > 1)
        await user.press("ctrl+c")
        await user.pilot.pause()
        assert user.app.is_running and not user.app._exit
        await user.press("ctrl+c")
        await user.until(lambda: user.app._exit)


async def test_ctrl_c_copies_what_is_selected(ui):
    async with ui() as user:
        await user.press("f2")
        await user.until(lambda: user.app.home.query_one("#question").text)
        field = user.app.home.query_one("#question")
        field.focus()
        field.select_all()
        await user.press("ctrl+c")
        await user.press("ctrl+c")
        await user.pilot.pause()
        assert user.app.clipboard == field.text and not user.app._exit


@pytest.mark.parametrize(("action", "key"), [("pause", "j"), ("hide_pruned", "home"), ("pause", "left")])
def test_keys_that_move_in_the_tree_are_refused(action, key):
    with pytest.raises(UsageError, match="the tree takes first"):
        remapped({action: key})


def test_the_keys_of_the_tree_are_those_of_its_bindings():
    found = {key for each in TreeView.BINDINGS for key in each.key.split(",")}
    assert found - {"enter"} == set(TREE_KEYS)
