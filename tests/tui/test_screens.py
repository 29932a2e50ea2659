"""History, comparison and batch screens."""

from __future__ import annotations

import json
import re

import pytest
from textual.content import Content
from textual.widgets import Input, Label, Markdown, Static, TextArea

from ramify.batch import BatchConfig, run_batch
from ramify.engine.engine import Engine
from ramify.problem import Problem
from ramify.testing import ScriptedModel
from ramify.tui.screens.batch import BatchScreen
from ramify.tui.screens.compare import CompareScreen
from ramify.tui.screens.history import HistoryScreen
from ramify.tui.screens.home import HomeScreen, RecentRuns
from ramify.tui.screens.run import RunScreen
from ramify.tui.state.batch_view import read_batch
from ramify.tui.state.saved_session import SavedSession
from ramify.tui.state.spec import RunSpec
from ramify.tui.widgets.choice import Choice, Picker

from .conftest import chain, scores, spec


@pytest.fixture
async def two_runs(store):
    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        for question, strategy in (("How many pears?", "rebase"), ("How many figs?", "majority")):
            solution = await engine.solve(question, strategy=strategy)
            store.save(solution, spec(strategy=strategy).saved())


async def compared(user) -> CompareScreen:
    """Search both sides of a comparison to their ends."""
    await user.press("f3")
    await user.until(lambda: "Compare two searches" in user.text())
    await user.press("ctrl+s")
    await user.until(lambda: isinstance(user.app.screen, CompareScreen))
    screen = user.app.screen
    await user.until(lambda: all(each.task.done() for each in screen.sessions))
    return screen


async def open_history(user) -> HistoryScreen:
    await user.press("f4")
    await user.until(lambda: isinstance(user.app.screen, HistoryScreen) and user.app.screen.selected)
    return user.app.screen


async def test_the_history_is_searched_as_one_types(ui, two_runs):
    async with ui() as user:
        screen = await open_history(user)
        assert "How many figs?" in user.text()
        assert "How many pears?" in user.text()
        await user.press(*"pears")
        await user.until(lambda: "figs" not in user.text())
        await user.until(lambda: screen.selected.question == "How many pears?")


async def test_a_saved_run_opens_with_its_tree(ui, two_runs, snap):
    async with ui() as user:
        await open_history(user)
        await user.press("down", "enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.until(lambda: "steps" in user.text())
        assert user.view.question == "How many pears?"
        assert user.view.best() in [node.id for node in user.view.tree.finished_nodes()]
        snap(user)


async def test_a_run_is_replayed_step_by_step(ui, two_runs):
    async with ui() as user:
        await open_history(user)
        await user.press("f6")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        assert isinstance(user.session, SavedSession)
        assert user.view.step_count == 0
        await user.press("right_square_bracket", "right_square_bracket")
        assert user.view.step_count == 2
        assert "replay 3 of" in user.lines()[0]
        await user.press("left_square_bracket")
        assert user.view.step_count == 1


async def test_a_run_is_asked_again_with_its_settings(ui, two_runs):
    async with ui() as user:
        await open_history(user)
        await user.press("f2")
        await user.until(lambda: isinstance(user.app.screen, HomeScreen))
        asked = user.app.home.spec
        assert (asked.question, asked.get("strategy")) == ("How many figs?", "majority")


async def test_deleting_asks_twice(ui, two_runs, store):
    async with ui() as user:
        screen = await open_history(user)
        doomed = screen.selected.id
        await user.press("f8")
        await user.until(lambda: user.toasts)
        assert len(store.list()) == 2
        await user.press("f8")
        await user.until(lambda: len(store.list()) == 1)
        assert store.list()[0].id != doomed


async def test_an_unreadable_run_is_a_toast(ui, two_runs, store):
    newest = sorted(store.folder.iterdir())[-1]
    newest.write_text(newest.read_text().split("\n")[0] + "\nbroken\n")
    async with ui() as user:
        await open_history(user)
        await user.press("enter")
        await user.until(lambda: user.toasts)
        assert "cannot be read" in user.toasts[0]


async def test_without_a_history_the_screen_says_so(ui):
    async with ui(store=None) as user:
        await user.press("f4")
        await user.until(lambda: "there are no runs yet" in user.text())


async def test_two_strategies_run_side_by_side(ui, store):
    async with ui(spec=spec(width=4)) as user:
        screen = await compared(user)
        await user.until(lambda: "1 against 0" in user.text())
        assert [each.view.strategy for each in screen.sessions] == ["rebase", "majority"]
        await user.press("enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        assert user.session is screen.sessions[0]
    assert sorted(run.strategy for run in store.list()) == ["majority", "rebase"]


async def test_keys_act_on_both_sides(ui):
    async with ui(spec=spec(width=4), model=ScriptedModel(chain, delay_s=0.15)) as user:
        await user.press("f3", "ctrl+s")
        await user.until(lambda: isinstance(user.app.screen, CompareScreen))
        screen = user.app.screen
        await user.until(lambda: all(each.view.phase == "running" for each in screen.sessions))
        await user.press("space")
        await user.until(lambda: all(each.view.phase == "paused" for each in screen.sessions))
        user.model.delay_s = 0.5
        await user.press("space")
        await user.until(lambda: all(each.view.phase == "running" for each in screen.sessions))
        await user.press("x")
        await user.until(lambda: all(each.view.solution for each in screen.sessions))
        assert {each.view.solution.stop_reason for each in screen.sessions} == {"user"}


@pytest.fixture
async def batch(tmp_path):
    problems = [Problem(id=f"p{number}", question=f"Question {number}?", answer=str(number % 2)) for number in range(6)]
    config = BatchConfig(save_trees=True)
    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        await run_batch(problems, tmp_path / "out", config, engine=engine)
    return tmp_path / "out"


async def test_a_batch_shows_progress_accuracy_and_items(ui, batch):
    async with ui(batch=batch) as user:
        await user.until(lambda: "6 of 6" in user.text())
        assert isinstance(user.app.screen, BatchScreen)
        assert "50.0% of 6" in user.text()
        assert user.text().count("Question") == 6
        await user.press("enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.until(lambda: "steps" in user.text())
        assert user.view.step_count > 6


async def test_items_that_come_later_appear(ui, batch):
    items = batch / "items.jsonl"
    rows = items.read_text().splitlines(keepends=True)
    items.write_text("".join(rows[:2]))
    async with ui(batch=batch) as user:
        await user.until(lambda: "2 of 6" in user.text())
        items.write_text("".join(rows) + '{"torn')
        await user.until(lambda: "6 of 6" in user.text())


async def test_an_item_without_a_saved_tree_shows_its_paths(ui, batch):
    for path in (batch / "trees").iterdir():
        path.unlink()
    async with ui(batch=batch) as user:
        await user.until(lambda: "6 of 6" in user.text())
        await user.press("enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        assert {node.depth for node in user.view.tree} == {0, 1}
        assert user.view.answer == user.view.tree.node(user.view.best()).answer


async def test_a_folder_that_is_no_batch_is_refused_where_it_is_typed(ui, tmp_path):
    async with ui() as user:
        await user.press("f5")
        await user.until(lambda: "Folder of a batch" in user.text())
        await user.press(*"/nowhere", "enter")
        await user.until(lambda: "holds no batch" in user.text())


def test_a_batch_that_has_not_changed_is_not_read_again(batch):
    first = read_batch(batch)
    assert read_batch(batch, first).items is first.items
    with (batch / "items.jsonl").open("a") as file:
        row = first.items[0].row | {"id": "another", "key": "0" * 16}
        file.write(json.dumps(row) + "\n")
    assert read_batch(batch, first).done == 7


HOSTILE = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eanswer\r"


async def test_no_widget_lets_controls_through(ui):
    async with ui() as user:
        await user.app.screen.mount_all(
            [Static(Content(HOSTILE)), Markdown(HOSTILE), Label(HOSTILE, markup=False), TextArea(HOSTILE)]
        )
        user.app.notify(HOSTILE, title=HOSTILE, markup=False)
        await user.pilot.pause()
        drawn = user.text()
        assert "answer" in drawn
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", drawn)


@pytest.mark.parametrize("model", ["/no/such/model.gguf", "no-such-model"])
async def test_a_missing_model_is_a_toast_at_once_and_the_form_stays(ui, store, model):
    async with ui(make_engine=None, spec=RunSpec("How many?").with_options(model=model)) as user:
        await user.press("enter")
        await user.until(lambda: user.toasts)
        assert "There is no" in user.toasts[0]
        assert isinstance(user.app.screen, HomeScreen)
        assert not user.app.live_sessions and not store.list()


@pytest.mark.parametrize(
    ("name", "value", "typed", "taken"),
    [
        ("width", "default", "6", "6"),
        ("width", "default", "2", "2"),
        ("width", "64", "4", "4"),
        ("width", "8", "", "8"),
        ("temperature", "1.2", "1", "1"),
        ("strategy", "rebase", "maj", "majority"),
        ("stop", "never", "lea", "lead"),
        ("reward", "default", "mean-logprob", "mean-logprob"),
    ],
)
async def test_a_typed_value_is_taken_as_it_is_and_else_looked_for(ui, name, value, typed, taken):
    async with ui() as user:
        await user.until(lambda: user.app.home.rewards)
        choice = user.app.home.query_one(f"#choice-{name}", Choice)
        choice.value = value
        choice.action_choose()
        await user.until(lambda: isinstance(user.app.screen, Picker))
        if typed:
            await user.press(*typed)
            await user.until(lambda: user.app.screen.query_one(Input).value == typed)
        await user.press("enter")
        await user.until(lambda: not isinstance(user.app.screen, Picker))
        assert choice.value == taken


async def test_the_list_of_recent_runs_follows_the_end_of_a_search(ui, store):
    async with ui(spec=spec(width=2), model=ScriptedModel(chain, delay_s=0.3)) as user:
        await user.ask("First question?")
        session = user.live
        await user.press("escape")
        await user.until(lambda: session.task.done())
        listed = user.app.home.query_one(RecentRuns)
        await user.until(lambda: [*map(type, user.app.home._listed)] == [str])
        listed.focus()
        listed.highlighted = 0
        await user.press("enter")
        await user.until(lambda: isinstance(user.app.screen, RunScreen))
        assert user.view.question == "First question?"


async def test_a_setting_that_cannot_be_read_is_a_toast(ui):
    async with ui(spec=spec(prompt_preset="./gone.toml")) as user:
        user.app.home.query_one("#question").text = "Why?"
        choice = user.app.home.query_one("#choice-prompt_preset", Choice)
        choice.value = "./gone-too.toml"
        for key in ("f3", "ctrl+s"):
            await user.press(key)
            await user.until(lambda: any("gone-too.toml" in each for each in user.toasts))
            assert user.app.screen is user.app.home
            user.app.clear_notifications()


async def test_a_value_that_was_not_touched_stays_as_it_is(ui):
    given = spec(system_prompt="@all be brief", temperature=0.1234567)
    async with ui(spec=given) as user:
        assert user.app.home.spec.get("system_prompt") == "@all be brief"
        assert user.app.home.spec.get("temperature") == 0.1234567


async def test_a_strategy_that_is_chosen_leaves_out_what_it_has_not(ui):
    async with ui(spec=spec(strategy="rebase", tree_temperature=0.2, strategy_extras={"rounding": "ceil"})) as user:
        home = user.app.home
        assert home.spec.get("tree_temperature") == 0.2
        home.query_one("#choice-strategy", Choice).value = "majority"
        assert home.spec.get("tree_temperature") is None and home.spec.get("strategy_extras") == {}
        home.query_one("#choice-strategy", Choice).value = "rebase"
        home.query_one("#question").text = "Why?"
        await compared(user)


async def test_a_history_that_is_only_read_gets_no_runs(ui, two_runs, store):
    before = [run.id for run in store.list()]
    async with ui(spec=spec(width=2), keep=False) as user:
        await user.until(lambda: user.app.home.query_one(RecentRuns).option_count == len(before))
        await user.ask("Not kept?")
        await user.over()
    assert [run.id for run in store.list()] == before
