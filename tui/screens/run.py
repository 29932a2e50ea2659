"""Run screen: tree, selected path, answers and budget; a running search can be steered."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.widgets import Static

from ramify.errors import UsageError
from ramify.search.budget import Budget
from ramify.search.node import NodeState
from ramify.search.tree import ROOT
from ramify.text import cut, duration_text, one_line, printable

from ..common.actions import Action, bindings
from ..state.panels import END_TEXTS
from ..state.run_view import Phase, RunView
from ..state.saved_session import SavedSession
from ..state.session import LiveSession, Session
from ..state.spec import LIMITS, RunSpec, parse_budget, python_code
from ..widgets.answers import AnswersPanel
from ..widgets.budget import BudgetPanel
from ..widgets.choice import Option, Picker
from ..widgets.detail import NodeDetail
from ..widgets.footer import ActionFooter
from ..widgets.tree import TreeView
from .dialogs import EditStep, PathReader
from .run_layout import PanelScreen

STEERING = ("pause", "step", "stop", "raise_budget", "prune", "expand", "edit", "pin")
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class RunScreen(PanelScreen):
    """Watch a run, and steer it while it is alive."""

    area = "run"
    BINDINGS: ClassVar[list[BindingType]] = bindings("run")

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._drawn: tuple[int, int, int | None] | None = None
        self._phase: Phase | None = None
        self._frame_count = 0

    def compose(self) -> ComposeResult:
        """Lay out head, question, tree, path, answers, budget and footer."""
        yield Static(id="head")
        yield Static(Content(printable(one_line(self.session.view.question))), id="asked")
        yield Static(id="failure")
        with Container(id="body"):
            with Container(id="main"):
                with Vertical(id="side"):
                    yield AnswersPanel(self.session, id="answers")
                    yield BudgetPanel(self.session, id="budget")
                yield TreeView(id="tree")
            yield NodeDetail(id="detail")
        yield ActionFooter(self.area)

    def on_mount(self) -> None:
        """Begin to draw."""
        tree = self.branches
        tree.follow = self.session.live or not self._replaying
        tree.focus()
        tree.show(self.view)
        self.frame()
        self.animate_frames()

    @property
    def view(self) -> RunView:
        """The run as it is shown."""
        return self.session.view

    @property
    def _replaying(self) -> bool:
        return isinstance(self.session, SavedSession) and self.session.position < len(self.session)

    # Drawing

    def frame(self) -> bool:
        """Draw all changes; False once the run is over and shown."""
        session, view = self.session, self.view
        session.tick()
        self._frame_count += 1
        over = view.phase.over
        drawn = (id(view), view.version, None if over else self._frame_count)
        if drawn == self._drawn:
            return not over
        changed = self._drawn is None or drawn[:2] != self._drawn[:2]
        self._drawn = drawn
        self.query_one("#head", Static).update(self._head(), layout=False)
        if over or self._frame_count % 2:
            self.query_one(BudgetPanel).refresh()
        if changed:
            self.query_one(AnswersPanel).refresh_votes()
            self.branches.refresh_view()
            self._show_detail()
        if view.phase is not self._phase:
            self._phase = view.phase
            self._phase_changed()
        # A run that has ended may still get its id from the history.
        return not over or (isinstance(session, LiveSession) and not session.task.done())

    def redraw(self) -> None:
        """Draw everything with the next frame."""
        self._drawn = None
        self.wake()

    def _phase_changed(self) -> None:
        failure, line = self.session.failure, self.query_one("#failure", Static)
        line.display = bool(failure)
        if failure:
            line.update(Content.assemble(("× ", "$error"), (printable(failure), "$error")))
        self.refresh_footer()
        self.query_one(AnswersPanel).border_title = (
            "Answer" if self.view.phase is Phase.FINISHED and self.view.answer is not None else "Answers"
        )

    def _show_detail(self) -> None:
        detail = self.query_one(NodeDetail)
        if detail.display:
            detail.show(self.view, self.branches.cursor)

    def _head(self) -> Content:
        spec, session, width = self.session.spec, self.session, self.size.width - 4
        sign, tone, words = self._status()
        name = self.view.strategy or spec.title()
        facts = [name, session.models, f"seed {spec.get('seed')}"]
        if session.run_id is not None and width >= 96:
            facts.append(f"run {session.run_id}")
        left = " · ".join(facts)
        room = width - len(words) - 4
        left = left if len(left) <= room else left[: max(0, room - 1)] + "…"
        gap = " " * max(1, width - len(left) - len(words) - 2)
        return Content.assemble((left, "$foreground 80%"), gap, (f"{sign} ", tone), (words, f"bold {tone}"))

    def _status(self) -> tuple[str, str, str]:
        """Return a sign, its colour and words for the state of the run."""
        view, session = self.view, self.session
        if isinstance(session, SavedSession) and self._replaying:
            return "▷", "$primary", f"replay {session.position} of {len(session)}"
        spinner = SPINNER[self._frame_count % len(SPINNER)]
        match view.phase:
            case Phase.WAITING:
                return spinner, "$primary", f"loading {session.loading_text()}, {duration_text(session.waited_s)}"
            case Phase.RUNNING:
                return spinner, "$success", f"searching, {duration_text(session.seconds)}"
            case Phase.PAUSED:
                writing = view.tree.pending_count
                busy = f"paused, {writing} being written" if writing else "paused"
                return "‖", "$warning", busy
            case Phase.STOPPING:
                return spinner, "$warning", "stopping"
            case Phase.FAILED:
                said = "failed" if session.failure else "cancelled"
                return "×", "$error", said if view.answer is None else f"{cut(view.answer, 20)} · {said}"
            case _:
                reason = "" if view.solution is None else str(view.solution.stop_reason)
                said = END_TEXTS.get(reason, reason)
                took = duration_text(session.seconds)
                if view.answer is None:
                    return "–", "$warning", f"no answer · {said}, {took}"
                return "✓", "$success", f"{cut(view.answer, 20)} · {said}, {took}"

    @on(TreeView.Selected)
    def selection_changed(self) -> None:
        """Show the selected path."""
        self._show_detail()
        self.refresh_footer()

    @on(TreeView.Opened)
    def action_open_node(self) -> None:
        """Show the selected path on the whole screen."""
        detail = self.query_one(NodeDetail)
        reader = PathReader(self.session, self.branches.cursor, plain=detail.plain, unfolded=detail.unfolded)
        self.program.push_screen(reader)

    # Possible actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether an action makes sense in this run now."""
        session, phase = self.session, self.view.phase
        if action in STEERING:
            if not isinstance(session, LiveSession):
                return False
            if action == "stop":
                return not phase.over
            return phase.live and self._fits(action)
        if action in ("replay_back", "replay_next"):
            return isinstance(session, SavedSession)
        if action == "follow":
            return session.live or self._replaying or not self.branches.follow
        return True

    def _fits(self, action: str) -> bool:
        tree, cursor = self.view.tree, self.branches.cursor
        node = tree.node(cursor) if cursor in tree else None
        if node is None or action in ("pause", "step", "raise_budget"):
            return True
        match action:
            case "expand":
                return node.state is NodeState.OPEN
            case "pin":
                ended = node.state is NodeState.PRUNED or (node.state is NodeState.FINISHED and node.answer is None)
                return node.id != ROOT and (not ended or self.view.pinned is not None)
            case _:
                return node.id != ROOT

    def title_of(self, action: Action) -> str:
        """Return the present title of an action in the footer."""
        if action.id == "pause" and self.view.phase is Phase.PAUSED:
            return "resume"
        if action.id == "hide_pruned" and not self.branches.keep_pruned:
            return "show all"
        if action.id == "unfold" and self.query_one(NodeDetail).unfolded:
            return "fold"
        if action.id == "plain" and self.query_one(NodeDetail).plain:
            return "formatted"
        return action.title

    def stop_if_running(self) -> bool:
        """Stop the run; False if it is over."""
        if isinstance(self.session, LiveSession) and not self.view.phase.over:
            self.action_stop()
            return True
        return False

    # Steering

    def action_pause(self) -> None:
        """Pause, or go on."""
        self._do(lambda live: live.toggle_pause())

    def action_step(self) -> None:
        """Go on for one round."""
        self._do(lambda live: live.step())

    def action_stop(self) -> None:
        """End with the best answer so far."""
        self._do(lambda live: live.stop())

    def action_prune(self) -> None:
        """Give up the selected step and all below it."""
        self._do(lambda live: live.run.prune(self.branches.cursor))

    def action_pin(self) -> None:
        """Pin the selected path, or unpin it."""
        node, session = self.branches.cursor, self.session
        waiting = isinstance(session, LiveSession) and session.pin_below == node
        pin = None if waiting or self.view.pinned == node else node
        if not self._do(lambda live: live.pin(pin)):
            return
        if pin is None:
            self.notify("The vote decides again.", title="Unpinned", timeout=3)
        elif isinstance(session, LiveSession) and session.pin_below == node:
            self.notify("The first answer below it will be the result.", title=f"Pinned step {node}", timeout=4)
        else:
            self.notify("Its answer will be the result.", title=f"Pinned step {self.view.pinned or node}", timeout=3)

    def action_expand(self) -> None:
        """Ask for more children of the selected step."""
        node = self.branches.cursor
        counts = [Option(str(each), f"{each} more children of step {node}") for each in (1, 2, 4, 8, 16)]
        picker = Picker(f"Expand step {node} by", counts, "4", free=True, check=_count)
        self.program.push_screen(picker, lambda text: self._expand(node, text))

    def _expand(self, node: int, text: str | None) -> None:
        if text is not None:
            self._do(lambda live: live.run.expand(node, _count(text)))

    def action_raise_budget(self) -> None:
        """Ask for another budget."""
        now = self.view.budget or Budget()
        options = [
            Option(_budget_text(_scaled(now, factor)), f"{factor} times the limits of now") for factor in (2, 4, 10)
        ]
        options += [Option("deep", "32,768 tokens, 600 s"), Option("balanced", "8,192 tokens, 120 s")]
        picker = Picker(f"Budget, now {now.describe()}", options, free=True, check=parse_budget)
        self.program.push_screen(picker, self._raise)

    def _raise(self, text: str | None) -> None:
        if text is None:
            return
        limits = {name.removeprefix("max_"): value for name, value in parse_budget(text).items()}
        if self._do(lambda live: live.raise_budget(Budget(**limits))):
            self.notify(Budget(**limits).describe(), title="New budget", timeout=3)

    def action_edit(self) -> None:
        """Write the selected step by hand."""
        node = self.view.tree.node(self.branches.cursor)
        self.program.push_screen(EditStep(node.id, self.view.text_of(node)), lambda text: self._edit(node.id, text))

    def _edit(self, node: int, text: str | None) -> None:
        if text is None:
            return
        added = list[int]()
        if self._do(lambda live: added.append(live.run.edit(node, text))):
            self.branches.select(added[0])
            scored = "It is scored like the model's own steps, which may be low for words that are not the model's. "
            said = f"{self.program.sign('pin')} makes the first answer below it the result, whatever its score."
            self.notify((scored if self.session.has_reward else "") + said, title="Step by hand", timeout=12)

    def _do(self, call: Callable[[LiveSession], object]) -> bool:
        """Steer the run; a failure is a toast and False."""
        try:
            if not isinstance(self.session, LiveSession):
                again = self.program.sign("rerun")
                raise UsageError("this run is over", f"press {again} to ask again with the same settings")
            call(self.session)
        except Exception as error:
            self.program.complain(error)
            return False
        self.wake()
        return True

    # Selection, replay and copying

    def action_replay_back(self) -> None:
        """Show the run one step earlier."""
        self._seek(-1)

    def action_replay_next(self) -> None:
        """Show the run one step later; from its end, begin again."""
        self._seek(1)

    def _seek(self, by: int) -> None:
        session = self.session
        if not isinstance(session, SavedSession):
            return
        at_end = session.position >= len(session)
        session.seek(1 if at_end and by > 0 else session.position + by)
        tree = self.branches
        tree.follow = not self._replaying
        tree.show(self.view)
        self.query_one(AnswersPanel).show(session)
        if self._replaying:
            tree.select(self.view.step_count)
        self.wake()
        self.frame()

    def action_follow(self) -> None:
        """Keep the best path selected, or not."""
        tree = self.branches
        tree.follow = not tree.follow
        tree.refresh_view(force=True)
        self._show_detail()

    def action_go_best(self) -> None:
        """Select the best path."""
        best = self.view.best()
        if best is not None:
            self.branches.select(best)

    def action_hide_pruned(self) -> None:
        """Hide the steps that were given up, or show them."""
        tree = self.branches
        tree.keep_pruned = not tree.keep_pruned
        tree.refresh_view(force=True)
        self.refresh_footer()

    def action_plain(self) -> None:
        """Show texts as they were written, or as they are meant."""
        detail = self.query_one(NodeDetail)
        self.branches.plain = detail.plain = not detail.plain
        self.branches.show(self.view)
        self._show_detail()
        self.refresh_footer()

    def action_unfold(self) -> None:
        """Show thoughts and calls of tools whole in the path, or on one line each."""
        self.query_one(NodeDetail).toggle_folds()
        self._show_detail()
        self.refresh_footer()

    def action_rerun(self) -> None:
        """Go home with this question and these settings."""
        self.program.go_home(self.session.spec)

    def action_go_back(self) -> None:
        """Leave the screen; the run goes on."""
        # A side of a comparison is still shown by that.
        goes_home = len(self.program.screen_stack) == 2
        if isinstance(self.session, LiveSession) and self.view.phase is Phase.WAITING and goes_home:
            self.session.cancel()
        elif isinstance(self.session, LiveSession) and not self.view.phase.over:
            self.notify("The search goes on; it stands first among the recent runs.", timeout=4)
        self.dismiss()

    def action_copy(self) -> None:
        """Choose the text to copy."""
        options = [
            Option("answer", self.view.answer or "there is none yet"),
            Option("path", f"the text of the path to step {self.branches.cursor}"),
            Option("command line", "the shell command that does the same"),
            Option("Python code", "a program that does the same"),
        ]
        self.program.push_screen(Picker("Copy", options), self._copy)

    def _copy(self, what: str | None) -> None:
        if what is None:
            return
        spec: RunSpec = self.session.spec
        try:
            match what:
                case "answer":
                    if self.view.answer is None:
                        raise UsageError("there is no answer yet", "wait for a path to finish")
                    text = self.view.answer
                case "path":
                    text = self.view.path_text(self.branches.cursor) or self.view.question
                case "command line":
                    text = spec.command_line(self.program.given)
                case _:
                    plan = self.program.make_plan(spec.complete())
                    strategy = self.session.strategy or plan.strategy(has_reward=self.session.has_reward)
                    text = python_code(spec, plan, strategy)
        except Exception as error:
            self.program.complain(error)
        else:
            self.program.copy(what, text)


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        raise UsageError(f"{text!r} is no number of children", "write a whole number from 1 to 1000")
    return int(text)


def _scaled(budget: Budget, factor: int) -> Budget:
    limits = {name: value for name, value in budget.to_dict().items() if value is not None}
    return Budget(**{name: value * factor for name, value in limits.items()})


def _budget_text(budget: Budget) -> str:
    from ..state.spec import budget_name

    limits = {f"max_{name}": value for name, value in budget.to_dict().items() if f"max_{name}" in LIMITS}
    return budget_name(RunSpec().with_options(**limits))
