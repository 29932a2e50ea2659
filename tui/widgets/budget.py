"""The panel of the budget: amounts used, how long the budget lasts, and the speed over time."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from ramify.text import duration_text

from ..common.themes import share_bar, spark_line
from ..state.panels import GENERATED, UsedAmount, time_left_s, used_amounts
from ..state.session import Session

LABEL = 10


class BudgetPanel(Widget):
    """Tokens, time and FLOPs against their limits, the sequences in use, and a sparkline of tokens per second."""

    BORDER_TITLE = "Budget"
    help_text = (
        "What the search has used and its limits: tokens the policy generated, tokens the reward model read, time and "
        "floating point operations. Sequences are the steps that are written at the same moment. The last line tells "
        "the tokens per second and how long the budget lasts at this speed; the search may end before. Its bars are "
        "the speed over time, newest on the right."
    )

    def __init__(self, session: Session, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._session = session

    def show(self, session: Session) -> None:
        """Show another run."""
        self._session = session
        self.refresh()

    def render(self) -> RenderResult:
        """Return the amounts as text, as many lines as there is room for."""
        width, height = self.content_size.width, self.content_size.height
        session = self._session
        amounts = used_amounts(session.view, session.seconds, uses_reward=session.uses_reward)
        if not session.live and not session.view.phase.over:
            # A tree does not say what had been spent when.
            return _line(next(each for each in amounts if each.label == GENERATED), width)
        lines = [_line(amount, width) for amount in amounts]
        if session.live and not session.view.phase.over:
            lines.append(self._sequences(width))
        tail = self._tail(width)
        return Content("\n").join([*lines[: max(1, height - len(tail))], *tail])

    def _sequences(self, width: int) -> Content:
        count, most = self._session.view.tree.pending_count, self._session.max_sequences
        amount = UsedAmount("sequences", count, None if most is None else float(most), "nodes")
        return _line(amount, width)

    def _tail(self, width: int) -> list[Content]:
        session = self._session
        rate = session.speed.current
        if session.view.phase.over or not session.live:
            usage = session.view.usage
            rate = 0.0 if usage is None else usage.tokens_per_s
        label = f"{rate:,.0f} tokens/s " if rate >= 10 or not rate else f"{rate:.1f} tokens/s "
        left = time_left_s(session.view, session.seconds) if session.live else None
        if left is not None:
            label += f"· {duration_text(left)} left "
        bars = spark_line(session.speed.rates, max(0, width - len(label)))
        return [Content.assemble((label, "$foreground 80%"), (bars, "$primary"))]


def _line(amount: UsedAmount, width: int) -> Content:
    text = amount.text
    room = width - LABEL - len(text) - 2
    if amount.limit is None or room < 3:
        return Content.assemble(
            (amount.label.ljust(LABEL), "$faint"), (text.rjust(max(0, width - LABEL)), "$foreground 85%")
        )
    full, empty = share_bar(amount.share, min(room, 20))
    tone = "$warning" if amount.share >= 0.9 else "$primary"
    return Content.assemble(
        (amount.label.ljust(LABEL), "$faint"),
        (full, tone),
        (empty, "$guide"),
        (text.rjust(width - LABEL - len(full) - len(empty)), "$foreground 85%"),
    )
