"""Progress of a search in one line, and its summary."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import terminal

if TYPE_CHECKING:
    from ..events import Event, ModelLoading
    from ..solution import Solution

ANSWER_CHARACTERS = 30


class SearchProgress:
    """Progress of a search on stderr, made of the events of the run; `quiet` shows nothing."""

    def __init__(
        self, *, quiet: bool = False, limit_tokens: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._line = terminal.ProgressLine(quiet=quiet, clock=clock)
        self._limit_tokens = limit_tokens
        self._clock = clock
        self._started_s = clock()
        self._done_tokens = 0
        self._open_tokens: dict[int, int] = {}
        self._finished = 0
        self._answer: str | None = None
        self._fraction: float | None = None

    @property
    def interactive(self) -> bool:
        """True if the line is rewritten in place."""
        return self._line.interactive

    def loading(self, model: str) -> Callable[[ModelLoading], None]:
        """Show that the model is being loaded; return the function that takes the events of the loading."""
        return show_loading(self._line, model)

    def note(self, line: str) -> None:
        """Write a line about something that the user may not expect."""
        self._line.note(line)

    def take(self, event: Event) -> None:
        """Take an event, and show the state of the run if the last one is old enough."""
        from ..events import AnswerUpdate, BudgetUsed, NodeAdded, RunStarted, StepProgress

        if isinstance(event, RunStarted):
            self._started_s = self._clock()
            self._line.restart()
        elif isinstance(event, StepProgress):
            self._open_tokens[event.node] = event.generated_tokens
        elif isinstance(event, NodeAdded):
            self._open_tokens.pop(event.node, None)
            self._done_tokens += event.generated_tokens
        elif isinstance(event, BudgetUsed):
            self._fraction = event.fraction
        elif isinstance(event, AnswerUpdate):
            self._finished = sum(count for _, count, _ in event.groups)
            self._answer = event.answer
        self._line.update(self.line)

    def line(self) -> str:
        """Return the state of the run."""
        tokens = self._done_tokens + sum(self._open_tokens.values())
        elapsed_s = self._clock() - self._started_s
        parts = [f"{tokens:,} tokens"]
        if elapsed_s > 0:
            parts.append(f"{tokens / elapsed_s:,.0f} tokens/s")
        # The engine tells of finished steps alone; those in the making count here, as they do in the number of tokens.
        shares = [self._fraction, tokens / self._limit_tokens if self._limit_tokens else None]
        known = [each for each in shares if each is not None]
        if known:
            parts.append(f"budget {min(1.0, max(known)):.0%}")
        parts.append(f"{self._finished} finished")
        if self._answer is not None:
            parts.append(f"leading answer {_short(self._answer)}")
        return " · ".join(parts)

    def clear(self) -> None:
        """Remove the line, so that something else can be written."""
        self._line.clear()

    def summary(self, solution: Solution) -> None:
        """Write the result and the cost of a run in one line, after notes on the search and on a last resort."""
        if solution.note is not None:
            self.note(solution.note)
        if solution.answer is not None and solution.reading is not None and solution.reading.last_resort:
            self.note("no finished path states an answer, so it is taken from the last number of the text")
        self._line.say(summary_line(solution), style=terminal.DIM)


def show_loading(line: terminal.ProgressLine, model: str) -> Callable[[ModelLoading], None]:
    """Show that a model is being loaded in a line; return the function that takes the events of the loading."""
    from ..events import LoadingFiles

    files = LoadingFiles()
    line.show(f"loading {model} …")

    def take(event: ModelLoading) -> None:
        files.take(event)
        line.show(f"loading {files.text}")

    return take


def summary_line(solution: Solution) -> str:
    """Return the result and the cost of a run in one line."""
    usage = solution.usage
    parts = [f"{solution.strategy['name']}: {votes_line(solution)}"]
    if solution.answer is not None and solution.reading is not None:
        parts.append(f"answer: {solution.reading.title}")
    if solution.score is not None:
        parts.append(f"score {solution.score:.3f}")
    parts.append(f"{usage.policy.generated_tokens:,} tokens generated")
    if usage.policy.stored_tokens:
        parts.append(f"{usage.policy.stored_tokens:,} from the store")
    parts.append(f"{usage.seconds:.1f} s")
    parts.append(f"{usage.tokens_per_s:,.0f} tokens/s")
    if metered := usage.metered_text():
        parts.append(metered)
    parts.append(str(solution.stop_reason).replace("_", " ") if solution.stop is None else solution.stop.reason)
    parts.append(f"seed {solution.seed}")
    return " · ".join(parts)


def votes_line(solution: Solution) -> str:
    """Return how many paths agree with the answer of a solution, and how many have ended without one.

    Of texts, which do not vote, it says how the answer was selected. Paths that the strategy gave up are not
    counted; those that a limit or the user ended are "cut short".
    """
    from ramify.search.node import Origin, PruneReason

    finished = [candidate for candidate in solution.candidates if candidate.answer is not None]
    votes = max((candidate.votes for candidate in finished if candidate.text == solution.text), default=0)
    if solution.not_sure and solution.risk is not None:
        votes = max((each.votes for each in finished if each.answer == solution.risk.get("withheld")), default=0)
    found = f"{votes} of {len(finished)} finished paths agree" if finished else "no path finished with an answer"
    if finished and solution.reading is not None and not solution.reading.kind.votes:
        found = _selection(solution, len(finished))
    without, cut = len(solution.candidates) - len(finished), 0
    if solution.tree is not None:
        above = {node.parent for node in solution.tree}
        reasons = [node.prune_reason for node in solution.tree if node.id not in above]
        without += sum(reason in (PruneReason.PATH_LENGTH, PruneReason.EMPTY) for reason in reasons)
        cut = sum(reason in (PruneReason.BUDGET, PruneReason.STOPPED) for reason in reasons)
        # The rest of the best path was written in the place of a step that had been cut.
        rescued = {node.parent for node in solution.tree if node.origin is Origin.RESCUE}
        cuts = [node for node in solution.tree if node.prune_reason is PruneReason.BUDGET]
        cut -= len(rescued & {node.parent for node in cuts if node.origin is not Origin.RESCUE})
    found += f", {without} ended without an answer" if without else ""
    return found + (f", {cut} cut short" if cut else "")


def _selection(solution: Solution, texts: int) -> str:
    """Return how one of several texts, which do not vote, was selected."""
    from ramify.engine.ensembles.cascade import certainty

    if texts == 1:
        return "the only finished text"
    if solution.reading is not None and solution.reading.chosen_by == "best":
        return f"the best score of {texts} texts"
    return f"most like the others of {texts} texts, similarity {certainty(solution):.2f}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= ANSWER_CHARACTERS else line[: ANSWER_CHARACTERS - 1] + "…"
