"""Borders of the run screen's panels, dragged by the mouse."""

from __future__ import annotations

import pytest
from textual.events import MouseDown, MouseMove, MouseUp

from ramify.tui.widgets.budget import BudgetPanel
from ramify.tui.widgets.detail import NodeDetail

from .conftest import Ui, spec


async def mouse(user: Ui, kind: type, x: int, y: int, button: int = 1) -> None:
    """Let an event of the mouse come from the terminal."""
    user.app.post_message(kind(None, x, y, 0, 0, button, False, False, False, x, y))
    await user.pilot.pause()


async def drag(user: Ui, start: tuple[int, int], end: tuple[int, int]) -> None:
    await mouse(user, MouseMove, *start, button=0)
    await mouse(user, MouseDown, *start)
    # Not in one go, as a hand does.
    await mouse(user, MouseMove, (start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
    await mouse(user, MouseMove, *end)
    await mouse(user, MouseUp, *end)


async def opened(user: Ui) -> tuple[NodeDetail, object, BudgetPanel]:
    await user.ask()
    await user.over()
    return user.run.query_one(NodeDetail), user.run.query_one("#side"), user.run.query_one(BudgetPanel)


ONE = {"strategy": "majority", "width": 4}


async def test_the_border_of_the_panels_follows_the_mouse(ui):
    async with ui(spec=spec(**ONE)) as user:
        detail, side, budget = await opened(user)
        tree = user.run.branches
        width = side.region.width
        await drag(user, (side.region.x, 8), (side.region.x - 9, 8))
        await user.until(lambda: side.region.width == width + 9)
        assert tree.region.right == side.region.x
        height = detail.region.height
        await drag(user, (20, detail.region.y - 1), (20, detail.region.y + 3))
        await user.until(lambda: detail.region.height == height - 4)
        height = budget.region.height
        await drag(user, (budget.region.x + 5, budget.region.y), (budget.region.x + 5, budget.region.y - 2))
        await user.until(lambda: budget.region.height == height + 2)
        # The keys go on from there.
        await user.press("greater_than_sign")
        await user.until(lambda: side.region.width == width + 5)


@pytest.mark.parametrize("size", [(80, 24), (80, 40), (120, 40), (170, 50)])
async def test_no_border_leaves_the_screen(ui, size):
    async with ui(size=size, spec=spec(**ONE)) as user:
        detail, side, budget = await opened(user)
        for panel in (side, detail, budget):
            for end in ((0, 0), (size[0] - 1, size[1] - 1)):
                if not panel.display:
                    continue
                region = panel.region
                await drag(user, (region.x, region.y + 2), end)
                await drag(user, (region.x + 4, region.y), end)
                tree = user.run.branches.region
                assert tree.width >= 20 and tree.height >= 4, (panel, end, tree)
                shown = [each.region for each in (side, detail, budget) if each.display]
                assert all(each.width >= 20 and each.height >= 3 for each in shown), (panel, end, shown)
                assert all(each.right <= size[0] and each.bottom <= size[1] for each in shown)


async def test_what_is_moved_on_one_run_stays_moved_on_the_next(ui):
    async with ui(spec=spec(**ONE)) as user:
        _, side, _ = await opened(user)
        width = side.region.width
        await drag(user, (side.region.x - 1, 8), (side.region.x - 11, 8))
        await user.until(lambda: side.region.width == width + 10)
        await user.press("escape")
        _, side, _ = await opened(user)
        await user.until(lambda: side.region.width == width + 10)


async def test_dragging_selects_no_text_and_a_press_beside_a_border_moves_nothing(ui):
    async with ui(spec=spec(**ONE)) as user:
        detail, side, _ = await opened(user)
        await drag(user, (20, detail.region.y), (40, detail.region.y - 4))
        assert not user.run.get_selected_text()
        assert user.app.mouse_captured is None
        size = side.region.size
        await drag(user, (side.region.x + 6, 6), (side.region.x - 6, 6))
        await drag(user, (side.region.x - 4, 6), (side.region.x - 20, 6))
        assert side.region.size == size
        await mouse(user, MouseMove, side.region.x, 8, 0)
        await user.until(lambda: side.has_class("-grip-width"))
        await mouse(user, MouseMove, 5, 8, 0)
        await user.until(lambda: not side.has_class("-grip-width"))
