"""Home screen: the question, the settings of the search, and the recent runs."""

from __future__ import annotations

import random
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import OptionList, Static, TextArea
from textual.widgets.option_list import Option as ListOption

from ramify.errors import UsageError

from ..common.actions import bindings
from ..common.program import program_of
from ..state.spec import NOTHING, RunSpec, budget_name
from ..widgets.choice import Choice, Option
from ..widgets.footer import ActionFooter
from .base import RamifyScreen
from .form import DEFAULT, FIELDS, FILES, REWARDS_FALLBACK, STRATEGIES, TOLD, form_fields, form_options, shown_value

if TYPE_CHECKING:
    from ramify.engine.history import RunSummary

    from ..state.session import LiveSession

RECENT = 30


class QuestionBox(TextArea):
    """A text box in which enter asks and ctrl+j makes a new line; pasted lines stay lines."""

    @property
    def help_text(self) -> str:
        """Help text of the widget for F1."""
        example = program_of(self).sign("example")
        return (
            f"Write or paste a question. Enter searches for the answer, ctrl+j begins a new line, {example} writes an "
            "example. Tab goes on to the settings."
        )

    class Submitted(Message):
        """The question is to be searched."""

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.post_message(self.Submitted())
        elif event.key == "ctrl+j":
            event.stop()
            event.prevent_default()
            self.insert("\n")


class RecentRuns(OptionList):
    """The newest runs; enter opens one."""

    BORDER_TITLE = "Recent runs"

    @property
    def help_text(self) -> str:
        """Help text of the widget for F1."""
        history = program_of(self).sign("history")
        return f"The newest saved runs with their answers. Enter opens one with its tree; {history} searches all."


class HomeScreen(RamifyScreen):
    """Ask a question."""

    area = "home"
    BINDINGS: ClassVar[list[BindingType]] = bindings("home")

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self._spec = spec
        self._gold: tuple[str, str] | None = None
        self.models: list[Option] = []
        self.rewards: list[Option] = []
        self._recent: list[RunSummary] = []
        self._listed: list[LiveSession | str] = []
        """What each line of the list stands for: a running search, or the id of a saved one."""

    def compose(self) -> ComposeResult:
        """Lay out title, question, settings, recent runs and footer."""
        yield Static(id="title")
        box = QuestionBox(self._spec.question, id="question", highlight_cursor_line=False, compact=True)
        box.placeholder = (
            "Ask something that takes several steps …\n\n"
            f"Enter searches · {self.program.sign('example')} writes an example · Tab to the settings"
        )
        box.border_title = "Question"
        with Vertical(id="form"):
            yield box
            with Container(id="choices"):
                yield from form_fields()
            yield RecentRuns(id="recent", compact=True)
        yield ActionFooter(self.area)

    def on_mount(self) -> None:
        """Show the screen at once; files are read after the first paint."""
        self._title()
        self.query_one(QuestionBox).focus()
        self.set_spec(self._spec)
        self.call_after_refresh(self.reload)

    def on_screen_resume(self) -> None:
        """Read the history again, as runs may have been added."""
        super().on_screen_resume()
        self._title()
        self.reload()

    # Question and settings

    @property
    def spec(self) -> RunSpec:
        """The question and settings as they stand on the screen."""
        messages, examples = (self.query_one(f"#choice-{name}", Choice).value for name in FILES)
        spec = self._spec.with_options(**form_options(self.query(Choice), self._spec)).with_told(messages, examples)
        if spec.get("strategy") != self._spec.get("strategy"):
            spec = spec.fitted()
        question = self.query_one(QuestionBox).text.strip()
        gold = self._gold[1] if self._gold is not None and self._gold[0] == question else None
        return spec.with_question(question, gold)

    def _checked_spec(self) -> RunSpec | None:
        """Return the question and settings; a value that is none is told, and None."""
        try:
            return self.spec
        except UsageError as error:
            self.program.complain(error)
            return None

    def set_spec(self, spec: RunSpec) -> None:
        """Fill the form."""
        self._spec = spec
        if spec.asks:
            self.query_one(QuestionBox).text = spec.question
        if spec.gold is not None:
            self._gold = spec.question.strip(), spec.gold
        values = {
            "model": str(spec.get("model")),
            "reward": str(spec.get("reward")),
            "strategy": spec.get("strategy") or DEFAULT,
            "width": str(spec.get("width") or DEFAULT),
            "budget": budget_name(spec),
            "stop": spec.get("stop") or "never",
            **{key: shown_value(key, spec.get(key)) for key in FIELDS},
            **dict(zip(FILES, spec.told, strict=True)),
        }
        for name, value in values.items():
            choice = self.query_one(f"#choice-{name}", Choice)
            choice.value = value
            if name in FILES:
                choice.options = [Option(each, help) for each, help in TOLD.items() if each in (NOTHING, value)]

    # Actions

    @on(QuestionBox.Submitted)
    def action_search(self) -> None:
        """Search for the answer."""
        self._start(paused=False)

    def action_search_paused(self) -> None:
        """Begin a search that waits for a key before each round."""
        self._start(paused=True)

    def _start(self, *, paused: bool) -> None:
        spec = self._checked_spec()
        if spec is None:
            return
        if not spec.asks:
            self.program.complain(self.program.no_question())
            self.query_one(QuestionBox).focus()
            return
        self.program.start_run(spec, paused=paused)

    async def action_example(self) -> None:
        """Write an example problem into the box."""
        import asyncio

        problem = await asyncio.to_thread(_example)
        self._gold = problem[0].strip(), problem[1]
        box = self.query_one(QuestionBox)
        box.text = problem[0]
        box.move_cursor(box.document.end)
        box.focus()

    def action_compare(self) -> None:
        """Set up two searches on the question."""
        spec = self._checked_spec()
        if spec is not None:
            self.program.open_compare(spec)

    def action_history(self) -> None:
        """Open the history."""
        self.program.open_history()

    def action_batch(self) -> None:
        """Open a batch."""
        self.program.ask_batch()

    # Recent runs and models

    def reload(self) -> None:
        """Read the history and the models, in a thread."""
        if self.is_mounted:
            self.run_worker(self._read, group="read", exclusive=True, exit_on_error=False)

    async def _read(self) -> None:
        import asyncio

        models, rewards, strategies = await asyncio.to_thread(_models)
        self.models, self.rewards = models, rewards
        self.query_one("#choice-strategy", Choice).options = strategies
        self.query_one("#choice-model", Choice).options = models
        self.query_one("#choice-reward", Choice).options = rewards
        store = self.program.store
        if store is not None:
            try:
                self._recent = (await asyncio.to_thread(store.scan, "", RECENT)).runs
            except UsageError as error:
                self.program.complain(error)
        self._fill()

    def _fill(self) -> None:
        listed = self.query_one(RecentRuns)
        listed.clear_options()
        running = [session for session in self.program.live_sessions if not session.view.phase.over]
        self._listed = [*running, *(run.id for run in self._recent)]
        lines = [_running_line(session.view.question, session.spec.title()) for session in running]
        listed.add_options([*map(ListOption, lines), *(ListOption(_recent_line(run)) for run in self._recent)])
        if not listed.option_count:
            listed.add_option(ListOption(Content.styled("  no runs yet: they are kept here", "$faint"), disabled=True))

    @on(OptionList.OptionSelected, "#recent")
    def open_recent(self, event: OptionList.OptionSelected) -> None:
        """Open a run."""
        run = self._listed[event.option_index]
        if isinstance(run, str):
            self.program.open_saved(run)
        else:
            self.program.show_session(run)

    @on(Choice.Changed)
    def settings_changed(self) -> None:
        """Say at once when settings do not go together."""
        self._title()

    def _title(self) -> None:
        text = Content.assemble(("ramify", "bold $accent"), ("   think in trees, within a budget", "$faint"))
        self.query_one("#title", Static).update(text)


def _example() -> tuple[str, str]:
    from ramify.models.tasks import generate_problems

    problem = generate_problems(steps=(3, 6), count=1, seed=random.randrange(1_000_000))[0]
    return problem.question, problem.answer or ""


def _models() -> tuple[list[Option], list[Option], list[Option]]:
    """Return policies, reward models and strategies; imports the next screen, as this runs in a thread."""
    import_module("ramify.tui.screens.run")
    from ramify.engine.library.catalog import list_bundled, list_user_models
    from ramify.search.registry import strategy_names

    entries = [*list_bundled(), *list_user_models()]
    policies = [Option(each.name, each.description) for each in entries if each.role != "reward"]
    rewards = [*REWARDS_FALLBACK]
    rewards += [Option(each.name, each.description) for each in entries if each.role != "policy"]
    rewards += [
        Option(f"mean-logprob:{each.name}", f"how likely {each.name} finds the path")
        for each in entries
        if each.role == "policy"
    ]
    named = [*STRATEGIES, *(name for name in strategy_names() if name not in STRATEGIES)]
    return policies, rewards, [Option(name, STRATEGIES.get(name, "")) for name in named]


def _running_line(question: str, title: str) -> Content:
    from ramify.text import one_line

    return Content.assemble((" ● running  ", "$accent"), (f"{title}  ", "$faint"), one_line(question))


def _recent_line(run: RunSummary) -> Content:
    from ramify.text import one_line, padded

    from .history import answer_text

    answer = answer_text(run)
    return Content.assemble(
        (f" {run.created.astimezone():%d %b %H:%M}  ", "$faint"),
        (f"{answer}  ", "bold $foreground"),
        (f"{padded(run.strategy, 10)}  ", "$faint"),
        (one_line(run.question), "$foreground 85%"),
    )
