"""Comparison: two searches on one question with equal budgets, side by side, and the dialog that sets them up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Static

from ramify.text import cut, duration_text, one_line, printable

from ..common.actions import Action, bindings
from ..common.program import program_of
from ..state.panels import same_answer
from ..state.run_view import Phase
from ..state.session import LiveSession
from ..state.spec import RunSpec, budget_name
from ..widgets.answers import AnswersPanel
from ..widgets.budget import BudgetPanel
from ..widgets.choice import Choice, Option
from ..widgets.footer import ActionFooter
from ..widgets.tree import TreeView
from .base import RamifyScreen
from .form import DEFAULT, REWARDS_FALLBACK, STRATEGIES, WIDTHS, check_width, model_choice
from .run import RunScreen

SIDES = ("left", "right")
FIRST = {"left": None, "right": "majority"}
"""Strategies that a comparison starts with; None is that of the form."""


class CompareSetup(ModalScreen[None]):
    """Asks for two configurations and opens the comparison; `models` and `rewards` are offered, [] if not known."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
        Binding("ctrl+s", "start", "start", show=False),
    ]

    def __init__(self, spec: RunSpec, *, models: Sequence[Option], rewards: Sequence[Option]) -> None:
        super().__init__()
        self._spec = spec
        self._models = models or [Option(str(spec.get("model")))]
        self._rewards = rewards or REWARDS_FALLBACK

    def compose(self) -> ComposeResult:
        """Lay out two columns of settings and a button."""
        with Vertical(id="dialog") as dialog:
            dialog.border_title = "Compare two searches"
            dialog.border_subtitle = "ctrl+s starts · esc leaves"
            yield Static(Content.styled(f"on the same question, budget {budget_name(self._spec)} each", "$faint"))
            with Horizontal(id="sides"):
                for side in SIDES:
                    with Vertical():
                        yield Static(Content.styled(side, "bold $primary"))
                        yield from self._settings(side)
            yield Button("Search both", id="start", compact=True, variant="primary")

    def _settings(self, side: str) -> list[Choice]:
        spec = self._spec
        strategies = [Option(name, help) for name, help in STRATEGIES.items()]
        choices = [
            model_choice("model", "The policy.", self._models, side),
            model_choice("reward", "The reward model.", self._rewards, side),
            Choice("strategy", label="strategy", help="How to search.", options=strategies, prefix=side),
            Choice("width", label="width", help="Paths.", options=WIDTHS, free=True, check=check_width, prefix=side),
        ]
        values = {
            "model": str(spec.get("model")),
            "reward": str(spec.get("reward")),
            "strategy": FIRST[side] or spec.get("strategy") or DEFAULT,
            "width": str(spec.get("width") or "default"),
        }
        for choice in choices:
            choice.value = values[str(choice.name)]
        return choices

    @on(Button.Pressed)
    def action_start(self) -> None:
        """Open the comparison."""
        specs = [self._side(side) for side in SIDES]
        self.dismiss()
        program_of(self).start_compare(specs[0], specs[1])

    def _side(self, side: str) -> RunSpec:
        values = {name: self.query_one(f"#{side}-{name}", Choice).value for name in _NAMES}
        spec = self._spec.with_options(
            model=values["model"],
            reward=values["reward"],
            strategy=None if values["strategy"] == "default" else values["strategy"],
            width=check_width(values["width"]),
        )
        return spec if spec.get("strategy") == self._spec.get("strategy") else spec.fitted()


_NAMES = ("model", "reward", "strategy", "width")


class Side(Vertical):
    """One of the two runs."""

    def __init__(self, session: LiveSession, side: str) -> None:
        super().__init__(id=side, classes="side")
        self.session = session
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        """Lay out head, tree, answers and budget."""
        yield Static(classes="side-head")
        yield TreeView()
        yield AnswersPanel(self.session)
        yield BudgetPanel(self.session)

    def frame(self) -> bool:
        """Draw all changes; False once the run is over."""
        session, view = self.session, self.session.view
        session.tick()
        over = view.phase.over
        if self._drawn == view.version and over:
            return False
        if self._drawn != view.version:
            self._drawn = view.version
            self.query_one(TreeView).refresh_view()
            self.query_one(AnswersPanel).refresh_votes()
        self.query_one(BudgetPanel).refresh()
        self.query_one(".side-head", Static).update(self._head(), layout=False)
        return True

    def forget(self) -> None:
        """Draw everything with the next frame."""
        self._drawn = None

    def _head(self) -> Content:
        session, view = self.session, self.session.view
        words, tone = {
            Phase.WAITING: ("loading", "$primary"),
            Phase.RUNNING: ("searching", "$success"),
            Phase.PAUSED: ("paused", "$warning"),
            Phase.STOPPING: ("stopping", "$warning"),
            Phase.FAILED: ("failed", "$error"),
        }.get(view.phase, ("done", "$success"))
        title = view.strategy or session.spec.title()
        room = max(8, self.size.width - len(words) - len(title) - 8)
        return Content.assemble(
            (f" {title}", "bold $foreground"), (f" · {cut(session.models, room)}  ", "$faint"), (words, tone)
        )


class CompareScreen(RamifyScreen):
    """Watch two runs; keys act on both."""

    area = "compare"
    BINDINGS: ClassVar[list[BindingType]] = bindings("compare")

    def __init__(self, left: LiveSession, right: LiveSession) -> None:
        super().__init__()
        self.sessions = (left, right)

    def compose(self) -> ComposeResult:
        """Lay out the verdict and both sides."""
        yield Static(id="head")
        yield Static(Content(printable(one_line(self.sessions[0].view.question))), id="asked")
        with Container(id="pair"):
            for session, side in zip(self.sessions, SIDES, strict=True):
                yield Side(session, side)
        yield ActionFooter(self.area)

    def on_mount(self) -> None:
        """Begin to draw."""
        for side in self.query(Side):
            tree = side.query_one(TreeView)
            tree.show(side.session.view)
        self.query_one("#left", Side).query_one(TreeView).focus()
        self.animate_frames()

    def redraw(self) -> None:
        """Draw everything with the next frame."""
        for side in self.query(Side):
            side.forget()
        self.wake()

    def frame(self) -> bool:
        """Draw both sides; False once both are over."""
        moving = [side.frame() for side in self.query(Side)]
        self.query_one("#head", Static).update(self._verdict(), layout=False)
        if not any(moving):
            self.refresh_footer()
        return any(moving)

    def _verdict(self) -> Content:
        left, right = (session.view for session in self.sessions)
        if not (left.phase.over and right.phase.over):
            return Content.styled("comparing", "$foreground 80%")
        failed = next((session.failure for session in self.sessions if session.failure), "")
        if failed:
            said, tone = cut(f"× {failed}", max(20, self.size.width - 40)), "$error"
        elif left.answer is None and right.answer is None:
            said, tone = "neither has an answer", "$warning"
        elif same_answer(left.answer, right.answer):
            said, tone = f"both say {cut(left.answer or '', 20)}", "$success"
        else:
            said, tone = f"{cut(left.answer or 'nothing', 20)} against {cut(right.answer or 'nothing', 20)}", "$warning"
        gold = self.sessions[0].spec.gold
        said += f" · right is {cut(gold, 16)}" if gold is not None else ""
        tokens = " : ".join(f"{view.generated_tokens:,}" for view in (left, right))
        seconds = " : ".join(duration_text(session.seconds) for session in self.sessions)
        return Content.assemble((said, f"bold {tone}"), (f"   tokens {tokens} · time {seconds}", "$faint"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tell whether an action makes sense now."""
        if action in ("pause", "step"):
            return any(session.view.phase.live for session in self.sessions)
        if action == "stop":
            return any(not session.view.phase.over for session in self.sessions)
        return True

    def title_of(self, action: Action) -> str:
        """Return the present title of an action in the footer."""
        paused = any(session.view.phase is Phase.PAUSED for session in self.sessions)
        return "resume" if action.id == "pause" and paused else action.title

    def stop_if_running(self) -> bool:
        """Stop both; False if both are over."""
        if all(session.view.phase.over for session in self.sessions):
            return False
        self.action_stop()
        return True

    def action_pause(self) -> None:
        """Pause both, or go on with both."""
        live = [session for session in self.sessions if session.view.phase.live]
        going = any(session.view.phase is Phase.RUNNING for session in live)
        for session in live:
            if (session.view.phase is Phase.RUNNING) == going:
                session.toggle_pause()
        self.call_after_refresh(self.refresh_footer)
        self.wake()

    def action_step(self) -> None:
        """Let both go on for one round."""
        for session in self.sessions:
            if session.view.phase.live:
                session.step()
        self.wake()

    def action_stop(self) -> None:
        """End both with their best answers so far."""
        for session in self.sessions:
            if not session.view.phase.over:
                session.stop()
        self.wake()

    def action_hide_pruned(self) -> None:
        """Hide the steps that were given up on both sides, or show them."""
        for tree in self.query(TreeView):
            tree.keep_pruned = not tree.keep_pruned
            tree.refresh_view(force=True)

    def action_wrap(self) -> None:
        """Show the steps of both sides on several lines, or on one."""
        for tree in self.query(TreeView):
            tree.wrap = not tree.wrap
            tree.refresh_view(force=True)

    @on(TreeView.Opened)
    def tree_opened(self) -> None:
        """Open the side whose tree was asked for."""
        self.action_open_side()

    def action_open_side(self) -> None:
        """Open the selected side on the whole screen."""
        focused = self.focused
        for side in self.query(Side):
            if focused is not None and focused in side.query("*"):
                self.program.push_screen(RunScreen(side.session))
                return

    def action_go_back(self) -> None:
        """Leave; searches go on."""
        self.dismiss()
