"""Display of a run's progress in a notebook, by `await engine.run(...).watch()`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, cast

from ramify.errors import UsageError
from ramify.events import AnswerUpdate, BudgetUsed, Event, NodeAdded, NodePruned, RunFinished, RunStarted

if TYPE_CHECKING:
    from ramify.solution import Solution

    from .run import Run

P = ParamSpec("P")

UPDATE_S = 0.25
"""Shortest time in seconds between two updates of the display."""
NEWEST = 6
"""Number of steps that the display shows."""

Show = Callable[[str], None]
"""Function that shows a piece of HTML in the place of the one before."""


class PreparedRun(AbstractAsyncContextManager["Run"]):
    """A run that begins with its `async with` block, or with `watch`."""

    def __init__(self, block: AbstractAsyncContextManager[Run]) -> None:
        self._block = block

    async def __aenter__(self) -> Run:
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)

    async def watch(self, *, show: Show | None = None) -> Solution:
        """Run the search to its end, show its progress meanwhile, and return the solution.

        `show` takes each state as HTML; None is the output of the notebook's cell. The solution shows its whole tree
        where the notebook displays it.

        Raises:
            UsageError: outside a notebook, if `show` is None.
            RamifyError: as `Engine.run`, and whatever stopped the search.
        """
        show = show or _cell_output()
        progress = RunProgress()
        shown_s = 0.0
        async with self as run:
            async for event in run:
                progress.take(event)
                if time.monotonic() - shown_s >= UPDATE_S:
                    shown_s = time.monotonic()
                    show(progress.html())
            show(progress.html())
            return await run.result()


def watchable(start: Callable[P, AsyncGenerator[Run]]) -> Callable[P, PreparedRun]:
    """Make a function that yields a run into one that returns a PreparedRun."""
    opened = asynccontextmanager(start)

    @wraps(start)
    def prepare(*args: P.args, **kwargs: P.kwargs) -> PreparedRun:
        return PreparedRun(opened(*args, **kwargs))

    return prepare


class RunProgress:
    """Progress of a run as its events tell it, for `ramify.viewer.progress_view`."""

    def __init__(self) -> None:
        self._view: dict[str, Any] = {"question": ""}
        self._steps = self._finished = self._pruned = 0
        self._strategy = self._used = self._end = ""
        self._newest = deque[str](maxlen=NEWEST)

    def take(self, event: Event) -> None:
        """Take an event."""
        match event:
            case RunStarted():
                self._view["question"], self._strategy = event.question, event.strategy
            case NodeAdded():
                self._steps += 1
                self._finished += event.answer is not None
                self._newest.append(event.text)
            case NodePruned():
                self._pruned += 1
            case AnswerUpdate():
                self._view["votes"] = event.groups
            case BudgetUsed():
                self._view["fraction"] = event.fraction
                self._used = f"{event.usage.policy.generated_tokens:,} tokens, {event.usage.seconds:.1f} s"
            case RunFinished(solution=solution):
                answer = "no answer" if solution.answer is None else f"answer {solution.answer}"
                self._end = f"{answer}, stopped: {str(solution.stop_reason).replace('_', ' ')}"
                self._newest.clear()
            case _:
                pass

    def html(self) -> str:
        """Return the present state."""
        from ramify.viewer import progress_view

        counts = f"{self._steps} steps, {self._finished} answers, {self._pruned} pruned"
        facts = [each for each in (self._end, self._strategy, counts, self._used) if each]
        return progress_view(**self._view, facts=facts, lines=list(self._newest))


def _cell_output() -> Show:
    """Return a function that shows HTML in the output of the notebook's cell.

    Raises:
        UsageError: outside a notebook.
    """
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import HTML, display  # pyright: ignore[reportUnknownVariableType]
    except ImportError:
        shell = None
    else:
        shell = get_ipython()
    if shell is None:
        raise UsageError("watch shows progress in a notebook", "use `async with`, or watch(show=FUNCTION) elsewhere")
    handle = cast("Any", display(HTML(""), display_id=True))  # pyright: ignore[reportPossiblyUnboundVariable]
    return lambda html: handle.update(HTML(html))  # pyright: ignore[reportPossiblyUnboundVariable]
