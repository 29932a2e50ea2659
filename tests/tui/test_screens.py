"""History, comparison and batch screens."""

from __future__ import annotations

import json

import pytest

from ramify.batch import BatchConfig, run_batch
from ramify.engine.engine import Engine
from ramify.problem import Problem
from ramify.testing import ScriptedModel
from ramify.tui.screens.batch import BatchScreen
from ramify.tui.screens.compare import CompareScreen
from ramify.tui.screens.history import HistoryScreen
from ramify.tui.screens.home import HomeScreen
from ramify.tui.state.batch_view import read_batch
from ramify.tui.state.session import SavedSession

from .conftest import chain, scores, spec


@pytest.fixture
async def two_runs(store):
    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        for question, strategy in (("How many pears?", "rebase"), ("How many figs?", "majority")):
            solution = await engine.solve(question, strategy=strategy)
            store.save(solution, spec(strategy=strategy).saved())


async def open_history(hand) -> HistoryScreen:
    await hand.press("f4")
    await hand.until(lambda: isinstance(hand.app.screen, HistoryScreen) and hand.app.screen.selected)
    return hand.app.screen


async def test_the_history_is_searched_as_one_types(ui, two_runs):
    async with ui() as hand:
        screen = await open_history(hand)
        assert "How many figs?" in hand.text()
        assert "How many pears?" in hand.text()
        await hand.press(*"pears")
        await hand.until(lambda: "figs" not in hand.text())
        assert screen.selected.question == "How many pears?"


async def test_a_saved_run_opens_with_its_tree(ui, two_runs, snap):
    async with ui() as hand:
        await open_history(hand)
        await hand.press("down", "enter")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        await hand.until(lambda: "steps" in hand.text())
        assert hand.view.question == "How many pears?"
        assert hand.view.best() in [node.id for node in hand.view.tree.finished_nodes()]
        snap(hand)


async def test_a_run_is_replayed_step_by_step(ui, two_runs):
    async with ui() as hand:
        await open_history(hand)
        await hand.press("f6")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        assert isinstance(hand.session, SavedSession)
        assert hand.view.step_count == 0
        await hand.press("right_square_bracket", "right_square_bracket")
        assert hand.view.step_count == 2
        assert "replay 3 of" in hand.lines()[0]
        await hand.press("left_square_bracket")
        assert hand.view.step_count == 1


async def test_a_run_is_asked_again_with_its_settings(ui, two_runs):
    async with ui() as hand:
        await open_history(hand)
        await hand.press("f2")
        await hand.until(lambda: isinstance(hand.app.screen, HomeScreen))
        asked = hand.app.home.spec
        assert (asked.question, asked.get("strategy")) == ("How many figs?", "majority")


async def test_deleting_asks_twice(ui, two_runs, store):
    async with ui() as hand:
        screen = await open_history(hand)
        doomed = screen.selected.id
        await hand.press("f8")
        await hand.until(lambda: hand.toasts)
        assert len(store.list()) == 2
        await hand.press("f8")
        await hand.until(lambda: len(store.list()) == 1)
        assert store.list()[0].id != doomed


async def test_an_unreadable_run_is_a_toast(ui, two_runs, store):
    newest = sorted(store.folder.iterdir())[-1]
    newest.write_text(newest.read_text().split("\n")[0] + "\nbroken\n")
    async with ui() as hand:
        await open_history(hand)
        await hand.press("enter")
        await hand.until(lambda: hand.toasts)
        assert "cannot be read" in hand.toasts[0]


async def test_without_a_history_the_screen_says_so(ui):
    async with ui(store=None) as hand:
        await hand.press("f4")
        await hand.until(lambda: "there are no runs yet" in hand.text())


async def test_two_strategies_run_side_by_side(ui, store):
    async with ui(spec=spec(width=4)) as hand:
        await hand.press("f3")
        await hand.until(lambda: "Compare two searches" in hand.text())
        await hand.press("ctrl+s")
        await hand.until(lambda: isinstance(hand.app.screen, CompareScreen))
        screen = hand.app.screen
        await hand.until(lambda: all(each.task.done() for each in screen.sessions))
        await hand.until(lambda: "1 against 0" in hand.text())
        assert [each.view.strategy for each in screen.sessions] == ["rebase", "majority"]
        await hand.press("enter")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        assert hand.session is screen.sessions[0]
    assert sorted(run.strategy for run in store.list()) == ["majority", "rebase"]


async def test_keys_act_on_both_sides(ui):
    async with ui(spec=spec(width=4), model=ScriptedModel(chain, delay_s=0.15)) as hand:
        await hand.press("f3", "ctrl+s")
        await hand.until(lambda: isinstance(hand.app.screen, CompareScreen))
        screen = hand.app.screen
        await hand.until(lambda: all(each.view.phase == "running" for each in screen.sessions))
        await hand.press("space")
        await hand.until(lambda: all(each.view.phase == "paused" for each in screen.sessions))
        hand.model.delay_s = 0.5
        await hand.press("space")
        await hand.until(lambda: all(each.view.phase == "running" for each in screen.sessions))
        await hand.press("x")
        await hand.until(lambda: all(each.view.solution for each in screen.sessions))
        assert {each.view.solution.stop_reason for each in screen.sessions} == {"user"}


@pytest.fixture
async def batch(tmp_path):
    problems = [Problem(id=f"p{number}", question=f"Question {number}?", answer=str(number % 2)) for number in range(6)]
    config = BatchConfig(save_trees=True)
    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        await run_batch(problems, tmp_path / "out", config, engine=engine)
    return tmp_path / "out"


async def test_a_batch_shows_progress_accuracy_and_items(ui, batch):
    async with ui(batch=batch) as hand:
        await hand.until(lambda: "6 of 6" in hand.text())
        assert isinstance(hand.app.screen, BatchScreen)
        assert "50.0% of 6" in hand.text()
        assert hand.text().count("Question") == 6
        await hand.press("enter")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        await hand.until(lambda: "steps" in hand.text())
        assert hand.view.step_count > 6


async def test_items_that_come_later_appear(ui, batch):
    items = batch / "items.jsonl"
    rows = items.read_text().splitlines(keepends=True)
    items.write_text("".join(rows[:2]))
    async with ui(batch=batch) as hand:
        await hand.until(lambda: "2 of 6" in hand.text())
        items.write_text("".join(rows) + '{"torn')
        await hand.until(lambda: "6 of 6" in hand.text())


async def test_an_item_without_a_saved_tree_shows_its_paths(ui, batch):
    for path in (batch / "trees").iterdir():
        path.unlink()
    async with ui(batch=batch) as hand:
        await hand.until(lambda: "6 of 6" in hand.text())
        await hand.press("enter")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        assert {node.depth for node in hand.view.tree} == {0, 1}
        assert hand.view.answer == hand.view.tree.node(hand.view.best()).answer


async def test_a_folder_that_is_no_batch_is_refused_where_it_is_typed(ui, tmp_path):
    async with ui() as hand:
        await hand.press("f5")
        await hand.until(lambda: "Folder of a batch" in hand.text())
        await hand.press(*"/nowhere", "enter")
        await hand.until(lambda: "holds no batch" in hand.text())


def test_a_batch_that_has_not_changed_is_not_read_again(batch):
    first = read_batch(batch)
    assert read_batch(batch, first).items is first.items
    with (batch / "items.jsonl").open("a") as file:
        row = dict(first.items[0].row)
        file.write(json.dumps(row) + "\n")
    assert read_batch(batch, first).done == 7
