"""The whole flow on the bundled models: example, search, steering, history."""

from __future__ import annotations

import pytest

from ramify.tui.screens.history import HistoryScreen
from ramify.tui.state.engine_host import make_engine

pytestmark = pytest.mark.usefixtures("bundled")


async def test_an_example_is_searched_steered_saved_and_replayed(ui, store):
    async with ui(engine=make_engine) as user:
        await user.press("f2")
        await user.until(lambda: user.app.home.spec.question)
        await user.press("f6")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        await user.until(lambda: user.view.phase == "paused")
        await user.press("n")
        await user.until(lambda: user.view.step_count == 16 and not user.view.tree.pending_count)
        await user.until(lambda: user.view.scored)
        await user.still()
        await user.press("home", "down", "p")
        await user.until(lambda: user.view.tree.pruned_count == 1)
        await user.press("space")
        await user.over()
        assert user.view.answer is not None
        assert user.session.models == "demo-m + head:demo-l * arithmetic:exact * totals"
        question = user.view.question
        await user.press("escape", "f4")
        await user.until(lambda: isinstance(user.app.screen, HistoryScreen) and user.app.screen.selected)
        await user.press("f6")
        await user.until(lambda: hasattr(user.app.screen, "session"))
        assert user.view.question == question
    assert store.list()[0].answer is not None
