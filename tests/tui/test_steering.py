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
        async with ui(spec=spec(strategy="majority", width=4, **options)) as hand:
            await hand.ask(key="f6")
            await hand.until(lambda: hand.view.phase == "paused")
            await hand.press("n")
            await hand.until(lambda: hand.view.step_count == 4)
            await hand.still()
            yield hand

    return start


def depths(hand: Ui) -> list[int]:
    tree = hand.view.tree
    return sorted(node.depth for node in tree if not tree.child_count(node.id) and node.parent is not None)


async def test_step_goes_on_for_one_round_and_resume_to_the_end(paused):
    async with paused() as hand:
        assert depths(hand) == [1] * 4
        await hand.press("n")
        await hand.until(lambda: hand.view.step_count == 8)
        await hand.still()
        assert depths(hand) == [2] * 4
        assert "‖ paused" in hand.lines()[0]
        await hand.press("space")
        await hand.over()
        assert hand.view.answer == "0"


async def test_space_pauses_a_search_that_runs(ui):
    from ramify.testing import ScriptedModel

    from .conftest import chain

    async with ui(model=ScriptedModel(chain, delay_s=0.03)) as hand:
        await hand.ask()
        await hand.until(lambda: hand.view.phase == "running")
        await hand.press("space")
        await hand.until(lambda: hand.view.phase == "paused")
        assert hand.live.run.paused
        await hand.press("space")
        await hand.until(lambda: hand.view.phase != "paused")


async def test_stop_takes_the_best_answer_so_far(paused, store):
    async with paused() as hand:
        await hand.press("n")
        await hand.until(lambda: hand.view.step_count == 8)
        await hand.press("x")
        await hand.over()
        assert hand.view.solution.stop_reason == "user"
        assert "stopped by you" in hand.lines()[0]
    assert store.list()[0].stop_reason == "user"


async def test_prune_gives_up_the_selected_step(paused):
    async with paused() as hand:
        await hand.press("home", "down", "p")
        await hand.until(lambda: hand.view.tree.node(1).state is NodeState.PRUNED)
        await hand.until(lambda: "pruned by hand" in hand.text())
        await hand.press("space")
        await hand.over()
        assert hand.view.tree.finished_count == 3


async def test_expand_writes_more_children(paused):
    async with paused() as hand:
        await hand.press("home", "down", "plus")
        await hand.press("2", "enter")
        await hand.press("n")
        await hand.until(lambda: hand.view.tree.child_count(1) == 2)
        await hand.press("space")
        await hand.over()


async def test_an_edited_step_is_marked_and_gone_on_from(paused):
    async with paused() as hand:
        await hand.press("home", "down", "e")
        await hand.press(*" indeed")
        await hand.press("ctrl+s")
        await hand.until(lambda: any(node.origin is Origin.HAND for node in hand.view.tree))
        [mine] = [node for node in hand.view.tree if node.origin is Origin.HAND]
        assert mine.text == "step 0 of the path indeed\n"
        await hand.until(lambda: "✎ step 0 of the path indeed" in hand.text())
        await hand.until(lambda: hand.run.branches.cursor == mine.id)
        await hand.press("n")
        await hand.until(lambda: hand.view.tree.child_count(mine.id))


async def test_leaving_the_editor_changes_nothing(paused):
    async with paused() as hand:
        await hand.press("home", "down", "e", "x", "escape")
        assert not any(node.origin is Origin.HAND for node in hand.view.tree)


async def test_a_pinned_path_is_the_result(paused):
    async with paused() as hand:
        await hand.press("n")
        await hand.until(lambda: hand.view.step_count == 8)
        await hand.still()
        await hand.press("n")
        await hand.until(lambda: hand.view.tree.finished_count == 4)
        [other] = [node.id for node in hand.view.tree.finished_nodes() if node.answer == "1"]
        hand.run.branches.follow = False
        hand.run.branches.select(other)
        await hand.press("a")
        await hand.until(lambda: hand.view.pinned == other)
        await hand.until(lambda: "⚑" in hand.text())
        await hand.press("space")
        await hand.over()
        assert hand.view.answer == "1"


async def test_another_budget(paused):
    async with paused() as hand:
        await hand.press("b")
        await hand.press(*"5k tokens, 90 s")
        await hand.press("enter")
        await hand.until(lambda: hand.live.run.budget.generated_tokens == 5000)
        assert hand.live.run.budget.seconds == 90
        await hand.until(lambda: "of 5,000" in hand.text())


async def test_the_budget_list_offers_multiples_of_the_limits(paused):
    async with paused() as hand:
        await hand.press("b", "enter")
        await hand.until(lambda: hand.live.run.budget.generated_tokens == 2 * 8192)


async def test_what_cannot_be_done_now_is_not_offered_and_does_nothing(ui):
    async with ui() as hand:
        await hand.ask()
        await hand.over()
        able = {each.id for each in actions_of("run") if hand.run.check_action(each.id, ()) is True}
        assert not able & {"pause", "step", "stop", "raise_budget", "prune", "expand", "edit", "pin"}
        version = hand.view.version
        await hand.press("space", "n", "x", "p")
        assert hand.view.version == version
        assert "pause" not in hand.lines()[-1]


async def test_the_footer_follows_the_state_and_can_be_clicked(paused):
    async with paused() as hand:
        footer = hand.lines()[-1]
        assert footer.startswith(" space resume   n step   x stop   b budget")
        await hand.pilot.click("#footer", offset=(footer.index("x stop"), 0))
        await hand.over()
        assert hand.view.solution.stop_reason == "user"


async def test_ctrl_c_stops_the_search_first_and_then_quits(paused):
    async with paused() as hand:
        await hand.press("ctrl+c")
        await hand.over()
        assert hand.app.is_running
        await hand.press("ctrl+c")
        assert any("again to quit" in toast for toast in hand.toasts)
        await hand.press("ctrl+c")
        await hand.until(lambda: not hand.app.is_running or hand.app._exit)
