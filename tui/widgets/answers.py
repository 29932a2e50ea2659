"""The panel of the answers: votes of the finished paths, the margin, and the stop rule."""

from __future__ import annotations

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from ramify.text import cut, one_line, padded

from ..common.themes import share_bar
from ..state.panels import AnswerRow, answer_table, same_answer
from ..state.run_view import Phase
from ..state.session import Session


class AnswersPanel(Widget):
    """Votes and weights of the answers, the margin, and how far the stop rule is."""

    BORDER_TITLE = "Answers"
    help_text = (
        "Each line is an answer with its share of what decides, the number of finished paths that gave it, and the sum "
        "of their scores. Below: how far the first is ahead, and the rule that may end the search early."
    )

    def __init__(self, session: Session, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._session = session
        self._drawn: object = None

    def refresh_votes(self) -> None:
        """Draw the panel again if the vote has changed."""
        view = self._session.view
        pins = view.pinned, self._session.pin_below
        drawn = (id(view), view.votes, view.phase, pins, view.tree.finished_count, view.scored)
        if drawn != self._drawn:
            self._drawn = drawn
            self.refresh()

    def show(self, session: Session) -> None:
        """Show another run."""
        self._session = session
        self.refresh()

    def render(self) -> RenderResult:
        """Return the panel as text."""
        width, height = self.content_size.width, self.content_size.height
        table = answer_table(self._session.view)
        notes = self._notes(table.margin, table.unanswered)
        room = max(1, height - len(notes) - (1 if height > 8 else 0))
        lines = [self._row(row, width) for row in table.rows[:room]]
        if len(table.rows) > room:
            lines[-1] = Content.styled(f"  and {len(table.rows) - room + 1} more answers", "$faint")
        if not lines:
            lines = [Content.styled(self._empty(), "$faint")]
        lines += [Content("")] * max(0, min(1, height - len(lines) - len(notes)))
        return Content("\n").join([*lines, *notes])

    def _row(self, row: AnswerRow, width: int) -> Content:
        figures = f" {row.votes:>3} {'vote ' if row.votes == 1 else 'votes'}"
        if self._session.view.scored and width >= 34:
            figures += f" {row.weight:>6.2f}"
        bar = min(12, max(4, width // 4))
        name = padded(row.answer, max(4, width - bar - len(figures) - 4))
        full, empty = share_bar(row.share, bar)
        tone = "$accent" if row.leads else "$primary"
        return Content.assemble(
            ("● " if row.leads else "  ", "$accent"),
            (name, "bold $foreground" if row.leads else "$foreground 85%"),
            " ",
            (full, tone),
            (empty, "$guide"),
            (figures, "$foreground 80%"),
        )

    def _notes(self, margin: str, unanswered: int) -> list[Content]:
        view, spec = self._session.view, self._session.spec
        lines = list[Content]()
        reading = None if view.solution is None else view.solution.reading
        if reading is not None and margin and not reading.kind.votes:
            # Whole texts and code have no votes to be ahead by.
            margin = "most like the other texts" if reading.chosen_by == "medoid" else "highest score"
        first = [part for part in (margin, f"{unanswered} without answer" if unanswered else "") if part]
        if first:
            lines.append(Content.styled(" · ".join(first), "$faint"))
        if reading is not None and reading.last_resort and view.answer is not None:
            lines.append(Content.styled("taken from the last number of the text", "$warning"))
        if view.solution is not None and view.solution.note is not None:
            lines.append(Content.styled("short of time: first path greedy", "$faint"))
        rule = spec.get("stop")
        solution = view.solution
        if solution is not None and solution.stop is not None and not self._session.failure:
            lines.append(Content.styled(f"stopped early: {one_line(solution.stop.reason)}", "$success"))
        elif rule is not None and not view.phase.over:
            how_far = self._session.stop_rule_text() or f"{rule}: not settled yet"
            lines.append(Content.styled(cut(f"stop {how_far}", self.content_size.width), "$faint"))
        if view.pinned is not None:
            lines.append(Content.styled(f"⚑ pinned: step {view.pinned}", "$accent"))
        elif self._session.pin_below is not None and not view.phase.over:
            lines.append(Content.styled(f"⚑ the first answer below step {self._session.pin_below} decides", "$accent"))
        if spec.gold is not None and view.phase is Phase.FINISHED:
            lines.append(self._grade(spec.gold))
        return lines

    def _grade(self, gold: str) -> Content:
        if same_answer(self._session.view.answer, gold):
            return Content.styled("✓ that is the right answer", "$success")
        return Content.styled(f"the right answer is {cut(gold, 24)}", "$warning")

    def _empty(self) -> str:
        phase = self._session.view.phase
        if phase is Phase.FAILED:
            return "no answer"
        return "no path finished with an answer" if phase.over else "no path has finished yet"
