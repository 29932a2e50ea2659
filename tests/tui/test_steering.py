"""Steering by keys: each is the engine's call, and shows on the screen."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from ramify.search.node import NodeState, Origin
from ramify.tui.common.actions import actions_of

from .conftest import Ui, spec


@pytest.fixture
def paused(ui):
    """A run that has made its first round and stands still."""

    @asynccontextmanager
    async def start(**options):
        async with ui(spec=spec(strategy="majority", width=4, **options)) as user:
            await user.ask(key="f6")
            await user.until(lambda: user.view.phase == "paused")
            await user.press("n")
            await user.until(lambda: user.view.step_count == 4)
            await user.still()
            yield user

    return start


def depths(user: Ui) -> list[int]:
    tree = user.view.tree
    return sorted(node.depth for node in tree if not tree.child_count(node.id) and node.parent is not None)


async def test_step_goes_on_for_one_round_and_resume_to_the_end(paused):
    async with paused() as user:
        assert depths(user) == [1] * 4
        await user.press("n")
        await user.until(lambda: user.view.step_count == 8)
        await user.still()
        assert depths(user) == [2] * 4
        assert "‖ paused" in user.lines()[0]
        await user.press("space")
        await user.over()
        assert user.view.answer == "0"


async def test_space_pauses_a_search_that_runs(ui):
    from ramify.testing import ScriptedModel

    from .conftest import chain

    async with ui(model=ScriptedModel(chain, delay_s=0.03)) as user:
        await user.ask()
        await user.until(lambda: user.view.phase == "running")
        await user.press("space")
        await user.until(lambda: user.view.phase == "paused")
        assert user.live.run.paused
        await user.press("space")
        await user.until(lambda: user.view.phase != "paused")


async def test_stop_takes_the_best_answer_so_far(paused, store):
    async with paused() as user:
        await user.press("n")
        await user.until(lambda: user.view.step_count == 8)
        await user.press("x")
        await user.over()
        assert user.view.solution.stop_reason == "user"
        assert "stopped by you" in user.lines()[0]
    assert store.list()[0].stop_reason == "user"


async def test_prune_gives_up_the_selected_step(paused):
    async with paused() as user:
        await user.press("home", "down", "p")
        await user.until(lambda: user.view.tree.node(1).state is NodeState.PRUNED)
        await user.until(lambda: "pruned by hand" in user.text())
        await user.press("space")
        await user.over()
        assert user.view.tree.finished_count == 3


async def test_expand_writes_more_children(paused):
    async with paused() as user:
        await user.press("home", "down", "plus")
        await user.press("2", "enter")
        await user.press("n")
        await user.until(lambda: user.view.tree.child_count(1) == 2)
        await user.press("space")
        await user.over()


async def test_an_edited_step_is_marked_and_gone_on_from(paused):
    async with paused() as user:
        await user.press("home", "down", "e")
        await user.press(*" indeed")
        await user.press("ctrl+s")
        await user.until(lambda: any(node.origin is Origin.HAND for node in user.view.tree))
        [mine] = [node for node in user.view.tree if node.origin is Origin.HAND]
        assert mine.text == "step 0 of the path indeed\n"
        await user.until(lambda: "✎ step 0 of the path indeed" in user.text())
        await user.until(lambda: user.run.branches.cursor == mine.id)
        await user.press("n")
        await user.until(lambda: user.view.tree.child_count(mine.id))


async def test_a_step_by_hand_is_said_to_be_scored_on_par_and_can_be_pinned(ui):
    async with ui(spec=spec(strategy="rebase", width=4)) as user:
        await user.ask(key="f6")
        await user.until(lambda: user.view.phase == "paused")
        await user.press("n")
        await user.until(lambda: user.view.step_count == 4)
        await user.still()
        said, notify = list[str](), user.app.notify
        user.app.notify = lambda message, **options: (said.append(message), notify(message, **options))
        # The path of step 3 answers 1, and all others 0.
        await user.press("home", "down", "down", "down", "down", "e", "!", "ctrl+s")
        await user.until(lambda: any("scored like the model's own" in message for message in said))
        [mine] = [node for node in user.view.tree if node.origin is Origin.HAND]
        await user.until(lambda: user.run.branches.cursor == mine.id)
        await user.until(lambda: "by hand, scored like a step of the model" in user.text())
        await user.press("a")
        await user.until(lambda: f"the first answer below step {mine.id} decides" in user.text())
        await user.press("a")
        await user.until(lambda: "decides" not in user.text())
        await user.press("a", "space")
        await user.over()
        assert user.view.pinned is not None
        assert mine.id in {node.id for node in user.view.tree.path_nodes(user.view.pinned)}
        assert user.view.solution.answer == user.view.tree.node(user.view.pinned).answer


async def test_leaving_the_editor_changes_nothing(paused):
    async with paused() as user:
        await user.press("home", "down", "e", "x", "escape")
        assert not any(node.origin is Origin.HAND for node in user.view.tree)


async def test_a_pinned_path_is_the_result(paused):
    async with paused() as user:
        await user.press("n")
        await user.until(lambda: user.view.step_count == 8)
        await user.still()
        await user.press("n")
        await user.until(lambda: user.view.tree.finished_count == 4)
        [other] = [node.id for node in user.view.tree.finished_nodes() if node.answer == "1"]
        user.run.branches.follow = False
        user.run.branches.select(other)
        await user.press("a")
        await user.until(lambda: user.view.pinned == other)
        await user.until(lambda: "⚑" in user.text())
        await user.press("space")
        await user.over()
        assert user.view.answer == "1"


async def test_another_budget(paused):
    async with paused() as user:
        await user.press("b")
        await user.press(*"5k tokens, 90 s")
        await user.press("enter")
        await user.until(lambda: user.live.run.budget.generated_tokens == 5000)
        assert user.live.run.budget.seconds == 90
        await user.until(lambda: "of 5,000" in user.text())


async def test_the_budget_list_offers_multiples_of_the_limits(paused):
    async with paused() as user:
        await user.press("b", "enter")
        await user.until(lambda: user.live.run.budget.generated_tokens == 2 * 8192)


async def test_what_cannot_be_done_now_is_not_offered_and_does_nothing(ui):
    async with ui() as user:
        await user.ask()
        await user.over()
        able = {each.id for each in actions_of("run") if user.run.check_action(each.id, ()) is True}
        assert not able & {"pause", "step", "stop", "raise_budget", "prune", "expand", "edit", "pin"}
        version = user.view.version
        await user.press("space", "n", "x", "p")
        assert user.view.version == version
        assert "pause" not in user.lines()[-1]


async def test_the_footer_follows_the_state_and_can_be_clicked(paused):
    async with paused() as user:
        footer = user.lines()[-1]
        assert footer.startswith(" space resume   n step   x stop   b budget")
        await user.pilot.click("#footer", offset=(footer.index("x stop"), 0))
        await user.over()
        assert user.view.solution.stop_reason == "user"


async def test_ctrl_c_stops_the_search_first_and_then_quits(paused):
    async with paused() as user:
        await user.press("ctrl+c")
        await user.over()
        assert user.app.is_running
        await user.press("ctrl+c")
        assert any("again to quit" in toast for toast in user.toasts)
        await user.press("ctrl+c")
        await user.until(lambda: not user.app.is_running or user.app._exit)


async def test_ctrl_c_in_the_help_stops_the_search_below_it(paused):
    async with paused() as user:
        await user.press("f1")
        await user.until(lambda: user.app.screen.is_modal)
        await user.press("ctrl+c")
        await user.press("escape")
        await user.over()
        assert not user.app._exit
