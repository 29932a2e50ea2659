"""The program as screens and widgets see it: settings, runs, messages, and the way to other screens."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.segment import Segment
from textual.app import App
from textual.color import Color
from textual.filter import LineFilter
from textual.message_pump import MessagePump

from ramify.errors import RamifyError, UsageError
from ramify.text import printable

from ..state.spec import NOTHING_GIVEN, Plan, RunSpec
from .actions import Action
from .keymap import keymap_of, remapped

if TYPE_CHECKING:
    from ramify.engine.history import RunStore

    from ..state.batch_process import BatchProcess
    from ..state.engine_host import EngineHost, MakeEngine
    from ..state.session import LiveSession, Session
    from .logs import LogLines

log = logging.getLogger("ramify.tui")


class _Cleaned(LineFilter):
    """Filter of every line that is drawn: texts of models, files and servers move and restyle nothing.

    Controls have no width in the layout, so they are left out rather than replaced.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments of one line without control characters."""
        if all(segment.control or segment.text.isprintable() for segment in segments):
            return segments
        return [
            segment if segment.control else segment._replace(text=printable(segment.text, sign=""))
            for segment in segments
        ]


MakePlan = Callable[[dict[str, Any]], Plan]


class Program(App[None]):
    """Shared state of all screens; the application derives from it and provides the navigation.

    `plan` turns options into a plan; `store` None keeps no history, and without `keep` it is only read. `keys` are the
    user's own, by the actions' ids, and `given` the options that the user's settings set. `batches` are the batch
    commands that were started here, by their run folders. `room` holds by how many columns or rows the user has moved
    the borders of panels.

    Raises:
        UsageError: if there is no such action or key, or two actions of one screen have the same.
    """

    def __init__(
        self,
        plan: MakePlan,
        *,
        store: RunStore | None = None,
        keep: bool = True,
        keys: Mapping[str, str | Sequence[str]] | None = None,
        logs: LogLines | None = None,
        make_engine: MakeEngine | None = None,
        given: Mapping[str, str] = NOTHING_GIVEN,
    ) -> None:
        super().__init__()
        self.given = given
        self.make_plan = plan
        self.store = store
        self._keep = keep
        self.logs = logs
        self.live_sessions: list[LiveSession] = []
        self.batches: dict[Path, BatchProcess] = {}
        self.room: dict[str, int] = {}
        self.actions: tuple[Action, ...] = remapped(keys or {})
        self.set_keymap(keymap_of(self.actions))
        self._make_engine = make_engine
        self._host: EngineHost | None = None
        self._cleaned = _Cleaned()

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the filters of drawn lines: the one that leaves out controls, then Textual's own."""
        return (self._cleaned, *super().get_line_filters())

    # Runs

    @property
    def host(self) -> EngineHost:
        """The loaded engines."""
        if self._host is None:
            from ..state.engine_host import EngineHost, make_engine

            self._host = EngineHost(self._make_engine or make_engine)
        return self._host

    def new_session(self, spec: RunSpec, *, paused: bool = False) -> LiveSession | None:
        """Start a search; a wrong setting or a missing model file is a toast and None."""
        from ..state.session import LiveSession

        try:
            plan = self.make_plan(spec.complete())
            if self._make_engine is None:
                from ..state.engine_host import check_model

                check_model(plan)
            session = LiveSession(spec, plan, self.host, self.store if self._keep else None, paused=paused)
        except Exception as error:
            self.complain(error)
            return None
        self.live_sessions = [each for each in self.live_sessions if not each.task.done()] + [session]
        session.task.add_done_callback(lambda _: self.session_ended(session))
        return session

    def session_ended(self, session: LiveSession) -> None:
        """Take note that a search is over and saved."""
        raise NotImplementedError

    def start_batch(self, out: Path, arguments: Sequence[str], folder: Path) -> None:
        """Start a batch command that writes the run folder `out`, in a process of its own."""
        from ..state.batch_process import BatchProcess

        batch = self.batches[out] = BatchProcess(arguments, folder)
        batch.task.add_done_callback(lambda _: None if batch.error is None else self.complain(batch.error))

    # Messages

    def complain(self, error: BaseException) -> None:
        """Show an error as a toast with its cause and the next step."""
        title, message = explain(error)
        if not isinstance(error, RamifyError):
            log.error("%s: %s", type(error).__name__, error, exc_info=error)
        severity = "warning" if isinstance(error, UsageError) else "error"
        self.notify(message, title=title, severity=severity, timeout=8, markup=False)

    def copy(self, what: str, text: str) -> None:
        """Put a text on the clipboard and say so."""
        self.copy_to_clipboard(text)
        self.notify(f"{len(text):,} characters", title=f"Copied {what}", timeout=3, markup=False)

    def sign(self, action_id: str) -> str:
        """Return how the key of an action is shown."""
        return next(action.sign for action in self.actions if action.id == action_id)

    def no_question(self) -> UsageError:
        """Return the error for an action that needs a question."""
        return UsageError("there is no question yet", f"write one, or press {self.sign('example')} for an example")

    # Navigation, which the application provides

    def start_run(self, spec: RunSpec, *, paused: bool = False) -> None:
        """Start a search and show it."""
        raise NotImplementedError

    def show_session(self, session: Session) -> None:
        """Show a run."""
        raise NotImplementedError

    def open_saved(self, run_id: str, *, replay: bool = False) -> None:
        """Read a run from the history and show it, with `replay` from its first step."""
        raise NotImplementedError

    def open_compare(self, spec: RunSpec) -> None:
        """Set up a comparison."""
        raise NotImplementedError

    def start_compare(self, left: RunSpec, right: RunSpec) -> None:
        """Start two searches and show them side by side."""
        raise NotImplementedError

    def open_history(self) -> None:
        """Show the saved runs."""
        raise NotImplementedError

    def ask_batch(self) -> None:
        """Ask for the folder of a batch and show it."""
        raise NotImplementedError

    def open_batch(self, folder: Path) -> None:
        """Show a batch."""
        raise NotImplementedError

    def go_home(self, spec: RunSpec | None = None) -> None:
        """Leave all other screens; `spec` fills the form."""
        raise NotImplementedError


def program_of(part: MessagePump) -> Program:
    """Return the program that a screen or a widget belongs to; Textual does not know its type."""
    return cast("Program", part.app)  # pyright: ignore[reportUnknownMemberType]


def explain(error: BaseException) -> tuple[str, str]:
    """Return title and message of an error: the cause, and on a second line the next step."""
    if isinstance(error, RamifyError):
        return error.title, f"{_sentence(error.message)}\n{_sentence(error.next_step)}".strip()
    name = type(error).__name__
    return "This is a bug in ramify", f"{name}: {error}\nF9 shows the log; please report it with those lines."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
