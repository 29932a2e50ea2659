"""The whole flow on the bundled models: example, search, steering, history."""

from __future__ import annotations

import pytest

from ramify.tui.screens.history import HistoryScreen
from ramify.tui.state.engine_host import make_engine

pytestmark = pytest.mark.usefixtures("bundled")


async def test_an_example_is_searched_steered_saved_and_replayed(ui, store):
    async with ui(engine=make_engine) as hand:
        await hand.press("f2")
        await hand.until(lambda: hand.app.home.spec.question)
        await hand.press("f6")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        await hand.until(lambda: hand.view.phase == "paused")
        await hand.press("n")
        await hand.until(lambda: hand.view.step_count == 16 and not hand.view.tree.pending_count)
        await hand.until(lambda: hand.view.scored)
        await hand.still()
        await hand.press("home", "down", "p")
        await hand.until(lambda: hand.view.tree.pruned_count == 1)
        await hand.press("space")
        await hand.over()
        assert hand.view.answer is not None
        assert hand.session.models == "demo-m + ramify-demo-prm"
        question = hand.view.question
        await hand.press("escape", "f4")
        await hand.until(lambda: isinstance(hand.app.screen, HistoryScreen) and hand.app.screen.selected)
        await hand.press("f6")
        await hand.until(lambda: hasattr(hand.app.screen, "session"))
        assert hand.view.question == question
    assert store.list()[0].answer is not None
