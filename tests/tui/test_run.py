"""Runs on the screen, with questions typed and answers read."""

from __future__ import annotations

import asyncio

import pytest

from ramify.engine.engine import Engine
from ramify.errors import ModelCrashed, ModelLoadError
from ramify.testing import ScriptedModel
from ramify.tui.screens.home import HomeScreen
from ramify.tui.state.saved_session import SavedSession
from ramify.tui.state.spec import RunSpec
from ramify.tui.widgets.detail import NodeDetail
from ramify.tui.widgets.tree import TreeView

from .conftest import Ui, chain, scores, spec


async def test_a_question_typed_is_answered_and_saved(ui, store):
    async with ui() as user:
        await user.press(*"How many?")
        await user.press("enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.over()
        assert "✓ 0 · done" in user.lines()[0]
        assert "48 steps" in user.text()
    [saved] = store.list()
    assert (saved.question, saved.answer, saved.strategy) == ("How many?", "0", "rebase")


async def test_a_question_from_the_command_line_starts_at_once(ui):
    async with ui(spec=RunSpec("How many?"), ask=True) as user:
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.over()
        assert user.view.answer == "0"


async def test_ctrl_j_makes_a_new_line_and_pasted_lines_stay(ui):
    async with ui() as user:
        await user.press("a", "ctrl+j", "b")
        assert user.app.home.spec.question == "a\nb"


async def test_without_a_question_a_toast_says_what_to_do(ui):
    async with ui() as user:
        await user.press("enter")
        await user.until(lambda: user.toasts)
        assert user.toasts == ["Wrong usage: There is no question yet.\nWrite one, or press F2 for an example."]
        assert isinstance(user.app.screen, HomeScreen)


async def test_an_example_comes_with_its_right_answer(ui):
    async with ui() as user:
        await user.press("f2")
        await user.until(lambda: user.app.home.spec.question)
        gold = user.app.home.spec.gold
        assert gold is not None
        await user.press("enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.over()
        wanted = "that is the right answer" if gold == "0" else f"the right answer is {gold}"
        assert wanted in user.text()


async def test_settings_reach_the_search(ui, store):
    async with ui(spec=RunSpec(options={"strategy": "majority", "width": 4, "seed": 3})) as user:
        await user.ask()
        await user.over()
        assert user.view.strategy == "majority"
        assert user.view.tree.finished_count == 4
        assert not user.view.scored
    saved = store.load("last")
    assert saved.options["width"] == 4
    assert saved.solution.seed == 3


async def test_a_setting_is_changed_with_arrows_and_from_a_list(ui):
    async with ui() as user:
        await user.press("tab", "tab", "tab", "right")
        assert user.app.home.spec.get("strategy") == "rebase"
        await user.press("enter")
        await user.press(*"major")
        await user.press("enter")
        assert user.app.home.spec.get("strategy") == "majority"


async def test_a_wrong_value_is_refused_where_it_is_typed(ui):
    async with ui() as user:
        user.app.home.query_one("#choice-budget").focus()
        await user.press("enter")
        await user.press(*"lots")
        await user.press("enter")
        assert "is no budget" in user.text()
        await user.press("escape")
        assert user.app.home.query_one("#choice-budget").value == "balanced"


async def test_prompt_and_sampling_are_set_on_the_home_screen(ui, store):
    given = {"system_prompt": "Be brief.", "temperature": 0.3}
    async with ui(spec=RunSpec(options=given)) as user:
        home = user.app.home
        shown = {key: home.query_one(f"#choice-{key}").value for key in ("system_prompt", "temperature", "top_p")}
        assert shown == {"system_prompt": "Be brief.", "temperature": "0.3", "top_p": "default"}
        for key, typed in (
            ("top_p", "0.9"),
            ("prompt_preset", "gsm8k"),
            ("system_prompt", "Think first; then answer."),
        ):
            home.query_one(f"#choice-{key}").focus()
            await user.press("enter", *typed, "enter")
        wanted = given | {"top_p": 0.9, "prompt_preset": "gsm8k", "system_prompt": "Think first; then answer."}
        assert {key: home.spec.get(key) for key in wanted} == wanted
        home.query_one("#choice-top_p").focus()
        await user.press("enter", "2", "enter")
        assert "is not in the range" in user.text()
        await user.press("escape")
        home.query_one("#choice-prompt_preset").focus()
        await user.press("enter", *"nonsense", "enter")
        assert "there is no prompt preset" in user.text().lower()
        await user.press("escape")
        home.query_one("#choice-system_prompt").take("none")
        await user.ask(key="ctrl+s")
        await user.over()
    assert store.load("last").options["system_prompt"] == ""


async def test_settings_that_do_not_go_together_are_a_toast(ui):
    async with ui(spec=RunSpec("q", {"strategy": "rebase", "reward": "none"})) as user:
        await user.press("enter")
        await user.until(lambda: user.toasts)
        assert "needs a reward model" in user.toasts[0]
        assert isinstance(user.app.screen, HomeScreen)


async def test_a_model_that_cannot_be_loaded_is_a_toast_with_the_next_step(ui, store):
    class Broken(Engine):
        async def __aenter__(self) -> Engine:
            raise ModelLoadError("there is no model 'x'", "did you mean 'demo-m'?")

    async with ui(engine=lambda plan: Broken(model=ScriptedModel(chain))) as user:
        await user.ask()
        await user.until(lambda: user.toasts)
        assert user.toasts == ["Model cannot be loaded: There is no model 'x'.\nDid you mean 'demo-m'?."]
        await user.until(lambda: "failed" in user.lines()[0])
        await user.until(lambda: "× There is no model 'x'. Did you mean 'demo-m'?" in user.text())
        await user.until(lambda: user.session.run_id)
        saved = store.load("last").solution
        assert (saved.question, str(saved.stop_reason), saved.answer) == ("How many?", "failed", None)
        await user.press("escape", "f4")
        await user.until(lambda: "× failed" in user.text())
        await user.press("enter")
        await user.until(lambda: isinstance(getattr(user.app.screen, "session", None), SavedSession))
        await user.until(lambda: "× There is no model 'x'." in user.text())
        assert "failed" in user.lines()[0]
        await user.press("r")
        assert user.app.home.spec.question == "How many?"


async def test_a_run_without_a_reward_shows_none(ui):
    model = "/some where/else.gguf"
    model_words = ScriptedModel(lambda question, path: "and so on\n")
    options = {"strategy": "greedy", "reward": "none", "max_nodes": 1, "answer": "box"}
    async with ui(spec=RunSpec(options=options), model=model_words) as user:
        await user.ask()
        await user.over()
        assert "Tree · 1 step " in user.text()
        assert "– no answer · step limit" in user.lines()[0]
        assert "reward" not in user.text()
        assert "not scored" not in user.text()
        choice = user.app.home.query_one("#choice-model")
        choice.value = model
        await user.press("escape")
        await user.until(lambda: " else " in user.text())
        assert user.app.home.spec.get("model") == model


async def test_loading_can_be_called_off(ui):
    class Slow(Engine):
        async def __aenter__(self) -> Engine:
            await asyncio.sleep(60)
            raise AssertionError

    async with ui(engine=lambda plan: Slow(model=ScriptedModel(chain))) as user:
        await user.ask()
        await user.until(lambda: "loading" in user.lines()[0])
        await user.press("x")
        await user.until(lambda: user.view.phase.over)
        assert "Loading cancelled" in user.toasts[0] or "cancelled" in user.toasts[0]


async def test_a_crashed_worker_is_a_toast_and_the_next_run_gets_a_new_engine(ui, store):
    made = list[ScriptedModel]()

    def crash_once(question: str, path: tuple[int, ...]) -> str:
        if len(made) == 1 and len(path) == 2:
            raise ModelCrashed("the model's process died twice", "use less memory")
        return chain(question, path)

    def engine(plan: object) -> Engine:
        made.append(ScriptedModel(crash_once))
        return Engine(model=made[-1], reward=scores)

    async with ui(engine=engine) as user:
        await user.ask()
        await user.until(lambda: user.view.phase == "failed")
        await user.until(lambda: user.toasts)
        assert "Model crashed: The model's process died twice.\nUse less memory." in user.toasts
        assert "× The model's process died twice. Use less memory." in user.text()
        saved = store.load("last").solution
        assert saved.stop is not None
        assert (str(saved.stop_reason), saved.stop.reason) == (
            "failed",
            "The model's process died twice. Use less memory.",
        )
        assert saved.tree is not None
        assert len(saved.tree) > 1
        await user.press("r", "enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.over()
        assert (user.view.answer, len(made)) == ("0", 2)


async def test_the_engine_is_loaded_once_for_many_runs(ui):
    made = list[object]()

    def engine(plan: object) -> Engine:
        made.append(plan)
        return Engine(model=ScriptedModel(chain), reward=scores)

    async with ui(engine=engine) as user:
        for _ in range(2):
            await user.ask()
            await user.over()
            await user.press("escape")
        assert len(made) == 1


async def test_the_path_of_the_selected_step_is_shown_with_scores(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        await user.press("home", "down", "down")
        node = user.view.tree.node(user.run.branches.cursor)
        assert user.run.query_one(NodeDetail).border_title == f"Path to step {node.id}"
        assert f"{node.score:.3f}" in user.text()


async def test_enter_opens_the_path_on_the_whole_screen(ui):
    async with ui(size=(80, 24)) as user:
        await user.ask()
        await user.over()
        await user.press("g", "enter")
        assert "The answer is 0." in user.text()
        await user.press("escape")
        assert user.run


async def test_a_click_selects_a_step_and_a_second_opens_it(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        await user.press("home")
        await user.pilot.click(TreeView, offset=(20, 4))
        selected = user.run.branches.cursor
        assert selected == user.run.branches.rows[3].node
        await user.pilot.click(TreeView, offset=(20, 4))
        assert f"Path to step {selected}" in user.text()


async def test_folding_hides_what_is_below_and_counts_it(ui):
    async with ui(spec=spec(strategy="majority", width=4)) as user:
        await user.ask()
        await user.over()
        await user.press("home", "down", "left")
        await user.until(lambda: "▸ 2 more" in user.text())
        rows = len(user.run.branches.rows)
        await user.press("right")
        assert len(user.run.branches.rows) == rows + 2


async def test_back_leaves_a_search_running_and_home_shows_it(ui):
    async with ui() as user:
        await user.ask(key="f6")
        await user.until(lambda: user.view.phase == "paused")
        await user.press("escape")
        assert isinstance(user.app.screen, HomeScreen)
        await user.until(lambda: "● running" in user.text())
        user.app.home.query_one("#recent").focus()
        await user.press("down", "enter")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        assert user.view.phase == "paused"


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ("answer", "0"),
        ("path", "step"),
        ("command", "ramify solve 'How many?'"),
        ("python", "await engine.solve("),
    ],
)
async def test_copying(ui, choice, wanted):
    async with ui() as user:
        await user.ask()
        await user.over()
        await user.press("c", *choice, "enter")
        await user.pilot.pause()
        assert wanted in user.app.clipboard
        assert any("Copied" in toast for toast in user.toasts)


async def test_what_was_given_up_can_be_hidden(ui):
    async with ui() as user:
        await user.ask(key="f6")
        await user.until(lambda: user.view.phase == "paused")
        await user.press("n")
        await user.still()
        await user.press("home", "down", "p")
        await user.until(lambda: user.view.tree.pruned_count == 1)
        await user.until(lambda: "pruned by hand" in user.text())
        await user.press("h", "end")
        assert "pruned by hand" not in user.text()
        await user.press("h")
        await user.until(lambda: "pruned by hand" in user.text())


async def follow_best(user: Ui) -> None:
    await user.until(lambda: user.run.branches.cursor == user.view.best())


async def test_following_keeps_the_best_path_selected_until_a_key_moves(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        await follow_best(user)
        assert "following the best path" in user.text()
        await user.press("up")
        assert not user.run.branches.follow
        await user.press("f")
        await follow_best(user)


async def test_the_stop_rule_says_how_far_it_is(ui):
    def uneven(question: str, path: tuple[int, ...]) -> str:
        return chain(question, (0, 0, 0)) if path[0] < 3 else chain(question, path)

    rules = spec(strategy="majority", width=8, stop="lead,beta:0.9999")
    async with ui(model=ScriptedModel(uneven), spec=rules) as user:
        await user.ask(key="f6")
        await user.until(lambda: user.view.phase == "paused")
        await user.until(lambda: "stop lead,beta:0.9999: not settled yet" in user.text())
        await user.press("n")
        await user.until(lambda: "stop lead 3 with 5 left, beta 0.93 of" in user.text())
        assert user.live.stop_rule_text() == "lead 3 with 5 left, beta 0.93 of 0.9999"
        await user.press("space")
        await user.over()
        assert "stopped early: the" in user.text()


async def test_whole_texts_are_said_to_be_chosen_without_votes(ui):
    def prose(question: str, path: tuple[int, ...]) -> str:
        return f"Rain falls on the {('hills', 'hills', 'sea', 'hills and woods')[path[0] % 4]} all day."

    given = {"strategy": "majority", "width": 4, "answer": "text"}
    async with ui(spec=RunSpec(options=given), model=ScriptedModel(prose)) as user:
        await user.ask("Write about the rain.")
        await user.over()
        await user.until(lambda: "most like the other texts" in user.text())


async def test_a_first_path_that_was_decoded_greedily_is_said_and_saved(ui, store):
    # By its size a path of this model takes 8.5 s.
    slow = ScriptedModel(chain, parameters=500_000_000)
    async with ui(spec=spec(strategy="majority", max_seconds=10.0), model=slow) as user:
        await user.ask()
        await user.over()
        await user.until(lambda: "short of time: first path greedy" in user.text())
    [saved] = store.list()
    assert "greedily" in store.load(saved.id).solution.note


async def test_an_answer_that_is_read_late_is_drawn(ui):
    async with ui(spec=RunSpec("How many?"), ask=True) as user:
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.over()
        await user.until(lambda: "= 0" in user.text())
        for node in user.view.tree.finished_nodes():
            user.view.tree.read_again(node.id, "77")
        user.view.touch()
        user.app.screen.query_one(TreeView).refresh_view()
        await user.until(lambda: "= 77" in user.text())
