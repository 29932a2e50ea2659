"""The terminal UI's application: start, screens, and a quit that saves running searches. No model loads at start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.actions import SkipAction
from textual.app import SystemCommand
from textual.binding import BindingType
from textual.driver import Driver
from textual.screen import Screen
from textual.widgets import Input, TextArea

from .common.actions import COPY_KEY, actions_of, bindings
from .common.program import MakePlan, Program
from .common.terminal_driver import enduring
from .common.themes import DARK, FALLBACKS, LIGHT
from .screens.base import RamifyScreen
from .screens.home import HomeScreen
from .state.spec import NOTHING_GIVEN, RunSpec

if TYPE_CHECKING:
    from ramify.engine.history import RunStore

    from .common.logs import LogLines
    from .state.engine_host import MakeEngine
    from .state.session import LiveSession, Session

QUIT_GRACE_S = 0.7
"""Longest time in seconds for a run to end softly when the program is left."""
CLOSE_S = 0.6
"""Longest time in seconds for the engines to close then, before the screen is given back."""


class RamifyApp(Program):
    """The terminal UI. `plan` turns options into a plan; `store` None keeps no history.

    Without `keep` the history is only read. `spec` fills the home screen; with `ask` its question is searched at
    once. `batch` opens a batch's folder and `saved` a saved run. `keys` are the user's own, by the actions' ids.
    `make_engine` is for tests.

    Raises:
        UsageError: if there is no such action or key, or two actions of one screen have the same.
    """

    TITLE = "ramify"
    CSS_PATH = "ramify.tcss"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")

    def __init__(
        self,
        plan: MakePlan,
        *,
        spec: RunSpec | None = None,
        store: RunStore | None = None,
        keep: bool = True,
        ask: bool = False,
        batch: Path | None = None,
        saved: str | None = None,
        theme: str | None = None,
        keys: Mapping[str, str | Sequence[str]] | None = None,
        logs: LogLines | None = None,
        make_engine: MakeEngine | None = None,
        given: Mapping[str, str] = NOTHING_GIVEN,
    ) -> None:
        super().__init__(plan, store=store, keep=keep, keys=keys, logs=logs, make_engine=make_engine, given=given)
        self._spec = spec or RunSpec()
        self._ask = ask
        self._batch = batch
        self._saved = saved
        self._leaving = False
        self._pressed_to_quit = False
        self._quitting: asyncio.Task[None] | None = None
        self.register_theme(DARK)
        self.register_theme(LIGHT)
        self.theme = theme or DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return our own variables for themes that lack them."""
        return dict(FALLBACKS)

    def get_driver_class(self) -> type[Driver]:
        """Return the driver that outlives its terminal."""
        return enduring(super().get_driver_class())

    def get_default_screen(self) -> Screen[Any]:
        """Return the home screen."""
        return HomeScreen(self._spec)

    def on_mount(self) -> None:
        """Begin the requested action, after the first paint."""
        self.call_after_refresh(self._begin)
        if not self.is_headless:
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, self._quit_on_signal)

    def _quit_on_signal(self) -> None:
        # Not Textual's own worker, which leaving the program would cancel.
        self._quitting = asyncio.create_task(self.action_quit())

    def _begin(self) -> None:
        if self._batch is not None:
            self.open_batch(self._batch)
        elif self._saved is not None:
            self.open_saved(self._saved)
        elif self._ask and self._spec.asks:
            self.start_run(self._spec)

    @property
    def home(self) -> HomeScreen:
        """The home screen."""
        screen = self.screen_stack[0]
        assert isinstance(screen, HomeScreen)
        return screen

    # Runs and screens

    def start_run(self, spec: RunSpec, *, paused: bool = False) -> None:
        """Start a search and show it."""
        session = self.new_session(spec, paused=paused)
        if session is not None:
            self.show_session(session)

    def session_ended(self, session: LiveSession) -> None:
        """Report the error of a failed search, and draw the screens again."""
        if session.error is not None and not self._leaving:
            self.complain(session.error)
        for screen in self.screen_stack:
            if isinstance(screen, RamifyScreen):
                screen.wake()
        self.home.reload()

    def show_session(self, session: Session) -> None:
        """Show a run."""
        from .screens.run import RunScreen

        self.push_screen(RunScreen(session))

    def open_saved(self, run_id: str, *, replay: bool = False) -> None:
        """Read a run from the history and show it."""
        self.run_worker(partial(self._open_saved, run_id, replay), group="open", exclusive=True, exit_on_error=False)

    async def _open_saved(self, run_id: str, replay: bool) -> None:
        from .state.saved_session import SavedSession

        if self.store is None:
            return
        try:
            saved = await asyncio.to_thread(self.store.load, run_id)
            spec = RunSpec.of(saved.solution, saved.options)
            session = await asyncio.to_thread(SavedSession, spec, saved.solution, saved.id)
        except Exception as error:
            self.complain(error)
            return
        if replay:
            session.seek(1)
        self.show_session(session)

    def open_compare(self, spec: RunSpec) -> None:
        """Set up a comparison."""
        from .screens.compare import CompareSetup

        if not spec.asks:
            self.complain(self.no_question())
            return
        self.push_screen(CompareSetup(spec, models=self.home.models, rewards=self.home.rewards))

    def start_compare(self, left: RunSpec, right: RunSpec) -> None:
        """Start two searches and show them side by side."""
        from .screens.compare import CompareScreen

        first = self.new_session(left)
        second = None if first is None else self.new_session(right)
        if first is not None and second is not None:
            self.push_screen(CompareScreen(first, second))
        elif first is not None:
            first.cancel()

    def open_history(self) -> None:
        """Show the saved runs."""
        from .screens.history import HistoryScreen

        self.push_screen(HistoryScreen())

    def ask_batch(self) -> None:
        """Ask for the folder of a batch and show it."""
        from .screens.batch import pick_folder

        pick_folder(self, self.open_batch)

    def open_batch(self, folder: Path) -> None:
        """Show a batch."""
        from .screens.batch import BatchScreen

        self.push_screen(BatchScreen(folder))

    def go_home(self, spec: RunSpec | None = None) -> None:
        """Leave all other screens; `spec` fills the form."""
        while len(self.screen_stack) > 1:
            self.pop_screen()
        if spec is not None:
            self.home.set_spec(spec)

    # Actions

    def action_help(self) -> None:
        """Explain the screen and the widget with the focus."""
        from .screens.dialogs import HelpScreen

        area = self.screen.area if isinstance(self.screen, RamifyScreen) else "home"
        self.push_screen(HelpScreen(area, self.actions, self.screen.focused))

    def action_console(self) -> None:
        """Show log lines."""
        from .screens.dialogs import ConsoleScreen

        self.push_screen(ConsoleScreen(self.logs))

    def action_debug(self) -> None:
        """Show the facts for a bug report."""
        from .screens.dialogs import DebugScreen

        self.push_screen(DebugScreen())

    async def action_interrupt(self) -> None:
        """Stop the search on the screen, or below its dialog; without one, ask for a second press and quit."""
        if self._copies_instead():
            raise SkipAction
        screen = next((each for each in reversed(self.screen_stack) if not each.is_modal), self.screen)
        stop = getattr(screen, "stop_if_running", None)
        if stop is not None and stop():
            return
        if self._pressed_to_quit:
            await self.action_quit()
            return
        self._pressed_to_quit = True
        self.notify(f"Press {self.sign('interrupt')} again to quit.", timeout=3)
        self.set_timer(3, self._forget_press)

    def _copies_instead(self) -> bool:
        """Tell whether text is selected that the key copies."""
        keys = next(action.keys for action in self.actions if action.id == "interrupt")
        if COPY_KEY not in keys.split(","):
            return False
        focused = self.screen.focused
        in_field = focused.selected_text if isinstance(focused, Input | TextArea) else ""
        return bool(in_field or self.screen.get_selected_text())

    def _forget_press(self) -> None:
        self._pressed_to_quit = False

    async def action_quit(self) -> None:
        """Stop running searches, save them, close the engines and leave."""
        if self._leaving:
            return
        self._leaving = True
        running = [session for session in self.live_sessions if not session.task.done()]
        batches = [batch for batch in self.batches.values() if batch.running]
        if running or batches:
            self.notify("Stopping and saving …", timeout=5)
        await asyncio.gather(
            *(session.close(QUIT_GRACE_S) for session in running), *(batch.close(QUIT_GRACE_S) for batch in batches)
        )
        if self._host is not None:
            await self._host.close(CLOSE_S)
        self.exit()

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield every action of the screen that can be taken now, then those of the program."""
        area = screen.area if isinstance(screen, RamifyScreen) else "home"
        for action in actions_of(area, self.actions):
            if screen.check_action(action.id, ()) is True and action.id != "interrupt":
                owner = "screen" if hasattr(screen, f"action_{action.id}") else "app"
                call = f"{owner}.{action.id}"
                yield SystemCommand(
                    f"{action.title.capitalize()}  ({action.sign})", action.help, self._caller(screen, call)
                )
        yield SystemCommand("Theme", "Change the colours.", self.action_change_theme)
        yield SystemCommand("Debug info", "Versions and paths for a bug report.", self.action_debug)
        yield SystemCommand("Screenshot", "Save the screen as an SVG file.", self._take_screenshot)

    def _caller(self, screen: Screen[Any], call: str) -> Callable[[], Any]:
        return lambda: screen.run_action(call)

    def _take_screenshot(self) -> None:
        self.set_timer(0.2, self.deliver_screenshot)
