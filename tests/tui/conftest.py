"""The terminal UI without a terminal, on a scripted model whose trees are known."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
from textual.events import Key
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from ramify.cli.options import SearchPlan
from ramify.engine.engine import Engine
from ramify.engine.history import RunStore
from ramify.engine.library.catalog import list_bundled
from ramify.testing import ScriptedModel
from ramify.tui.app import RamifyApp
from ramify.tui.screens.run import RunScreen
from ramify.tui.state.run_view import RunView
from ramify.tui.state.session import LiveSession, Session
from ramify.tui.state.spec import RunSpec

SNAPSHOTS = Path(__file__).parent / "snapshots"
PATIENCE_S = 30.0
UPDATE = "RAMIFY_UPDATE_SNAPSHOTS"
GRANULARITY_S = 0.01
"""Time in which a program that is idle uses next to no processor; textual's own tests take twice as much."""


def chain(question: str, path: tuple[int, ...]) -> str:
    """Every path has three steps; most answer 0, some 1."""
    answer = 1 if path[0] % 4 == 3 else 0
    return f"step {'.'.join(map(str, path))} of the path\n" if len(path) < 3 else f"The answer is {answer}."


def scores(question: str, steps: list[str]) -> float:
    """Longer paths are better, and none like another."""
    return min(1.0, 0.2 * len(steps) + (sum(map(ord, steps[-1])) % 37) / 100)


@dataclass
class Ui:
    """The program under test, driven as by a user."""

    app: RamifyApp
    pilot: Pilot[None]
    model: ScriptedModel
    patience_s: float = PATIENCE_S

    async def press(self, *keys: str) -> None:
        """Press keys; characters for a text field come as from a fast typist."""
        for key, after in zip_longest(keys, keys[1:], fillvalue=""):
            if len(key) == len(after) == 1 and isinstance(self.app.focused, Input | TextArea):
                self.send(key)
            else:
                await self.pilot.press(key)

    async def hold(self, key: str, times: int) -> None:
        """Press a key that repeats."""
        for _ in range(times - 1):
            self.send(key)
        await self.pilot.press(key)

    def send(self, key: str) -> None:
        """Press a key, and do not wait."""
        event = Key(key if key.isidentifier() else _character_to_key(key), key if len(key) == 1 else None)
        event.set_sender(self.app)
        assert self.app._driver is not None
        self.app._driver.send_message(event)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something is so; after `patience_s` the test fails and shows the screen."""
        deadline_s = time.monotonic() + self.patience_s
        while not condition():
            assert time.monotonic() < deadline_s, f"{self.toasts}\n{self.text()}"
            await self.pilot.pause(0.02)
        await self.pilot.pause()

    async def ask(self, question: str = "How many?", key: str = "enter") -> RunScreen:
        """Type a question on the home screen and search."""
        self.app.home.query_one("#question").text = question  # type: ignore[attr-defined]
        await self.press(key)
        await self.until(lambda: isinstance(self.app.screen, RunScreen))
        return self.run

    @property
    def run(self) -> RunScreen:
        assert isinstance(self.app.screen, RunScreen), self.app.screen
        return self.app.screen

    @property
    def session(self) -> Session:
        return self.run.session

    @property
    def live(self) -> LiveSession:
        assert isinstance(self.session, LiveSession)
        return self.session

    @property
    def view(self) -> RunView:
        return self.session.view

    async def over(self) -> None:
        """Wait until the run on the screen is over and saved."""
        session = self.live
        await self.until(lambda: session.task.done())
        await self.until(lambda: "searching" not in self.text() and "paused" not in self.lines()[0])

    async def still(self) -> None:
        """Wait until a paused run stands still."""
        await self.until(lambda: self.view.phase == "paused" and not self.view.tree.pending_count)
        seen = -1
        while seen != self.view.version:
            seen = self.view.version
            for _ in range(5):
                await self.pilot.pause(0.02)
        # Frames that cost much are drawn less often, so that the rows may come later than the steps.
        await self.until(lambda: self.run._drawn is not None and self.run._drawn[1] == self.view.version)

    def lines(self) -> list[str]:
        """What is on the screen."""
        strips = self.app.screen._compositor.render_strips(self.app.size)
        return [strip.text.rstrip() for strip in strips]

    def text(self) -> str:
        return "\n".join(self.lines())

    @property
    def toasts(self) -> list[str]:
        return [f"{toast.title}: {toast.message}" for toast in self.app._notifications]


Open = Callable[..., AbstractAsyncContextManager[Ui]]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "runs")


@pytest.fixture
def ui(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open the program: `model` is what searches, further options are those of RamifyApp."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("textual._wait.SLEEP_GRANULARITY", GRANULARITY_S)

    @asynccontextmanager
    async def start(
        *, size: tuple[int, int] = (120, 40), model: ScriptedModel | None = None, engine: Any = None, **options: Any
    ) -> AsyncIterator[Ui]:
        scripted = model or ScriptedModel(chain)

        def make(plan: Any) -> Engine:
            return Engine(model=scripted, reward=None if plan.reward is None else scores)

        options = {"store": store, "make_engine": engine or make} | options
        app = RamifyApp(SearchPlan.from_options, **options)
        async with app.run_test(size=size, notifications=True) as pilot:
            user = Ui(app, pilot, scripted)
            app.home.query_one("#question").cursor_blink = False  # type: ignore[attr-defined]
            await user.until(lambda: app.home.models)
            yield user
            await app.action_quit()

    return start


@pytest.fixture
def bundled() -> None:
    """Skip where the model files are left out of the checkout."""
    if {"demo-m", "demo-prm"} - {entry.name for entry in list_bundled()}:
        pytest.skip("the bundled models are not in this checkout")


_VARYING = (
    (re.compile(r"\d+(\.\d+)? m?s\b"), "# s"),
    (re.compile(r"[━─╸╺]+(?= +# s)"), "(bar)"),
    (re.compile(r"[\d,]+ tokens/s.*?(?=[│|]|$)", re.M), "# tokens/s "),
    (re.compile(r"\b[0-9a-f]{8}\b"), "########"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d|\d\d [A-Z][a-z]{2} \d\d:\d\d"), "(date)"),
)


@pytest.fixture
def snap(request: pytest.FixtureRequest) -> Callable[[Ui], None]:
    """Compare the screen with the one of before, times and ids aside; RAMIFY_UPDATE_SNAPSHOTS=1 writes it anew."""

    def check(ui: Ui) -> None:
        text = ui.text()
        for pattern, instead in _VARYING:
            text = pattern.sub(instead, text)
        lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
        found = "\n".join(lines) + "\n"
        path = SNAPSHOTS / f"{request.node.name}.txt"
        if os.environ.get(UPDATE):
            path.parent.mkdir(exist_ok=True)
            path.write_text(found, "utf-8")
        assert found == path.read_text("utf-8")

    return check


def spec(**options: Any) -> RunSpec:
    return RunSpec("How many?").with_options(**options)
