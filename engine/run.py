"""Run of one search, as its caller has it: events, steering and the solution."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import anyio

from ramify.answers.checkers import AnswerEquality
from ramify.answers.reading import AnswerReader, AnswerReading
from ramify.answers.schemas import AnswerSchema
from ramify.errors import RamifyError, UsageError
from ramify.events import (
    BudgetChanged,
    Event,
    NodePinned,
    RunFinished,
    RunPaused,
    RunResumed,
)
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel
from ramify.search.budget import Budget
from ramify.search.stopping import StopReason
from ramify.search.tree import SearchTree
from ramify.search.votes import Vote
from ramify.solution import Solution
from ramify.tools.toolbox import Toolbox
from ramify.usage import Usage

from .control.controller import SearchController
from .planning.risk import RiskRule
from .policy.protocol import PolicyModel
from .search_driver import SearchDriver


class Run:
    """A search in progress, made by `Engine.run`.

    Iterating yields events until the run has finished; nobody has to listen. `result()` waits for the solution, which
    `keep` is given first. `stop()` ends the search softly: steps in flight are cut, and the paths that have finished
    vote. Leaving the `async with` block cancels the run.
    """

    def __init__(
        self,
        *,
        problem: Problem,
        policy: PolicyModel,
        reward: RewardModel | None,
        controller: Callable[[Callable[[Event], None]], SearchController],
        equality: AnswerEquality,
        model: Mapping[str, Any],
        progress: bool,
        toolbox: Toolbox | None = None,
        schema: AnswerSchema | None = None,
        risk: RiskRule | None = None,
        keep: Callable[[Solution], None] | None = None,
    ) -> None:
        self.problem = problem
        self._controller = controller(self._emit)
        self._driver = SearchDriver(
            self._controller,
            problem,
            policy,
            reward,
            equality,
            self._emit,
            progress=progress,
            toolbox=toolbox,
            schema=schema,
        )
        self._model = model
        self._schema = schema
        self._risk = risk
        self._keep = keep
        self._send, self._receive = anyio.create_memory_object_stream[Event](math.inf)
        self._done = anyio.Event()
        self._solution: Solution | None = None
        self._error: Exception | None = None

    # For the caller

    @property
    def tree(self) -> SearchTree:
        """The live tree; read it only."""
        return self._controller.tree

    @property
    def usage(self) -> Usage:
        """Tokens, FLOPs and seconds that the run has used so far; limits are checked against this very usage."""
        return self._controller.meter.usage()

    @property
    def answers(self) -> AnswerReader:
        """The reader of the run's answers; its kind may change when the run ends."""
        return self._controller.answers

    @property
    def vote(self) -> Vote:
        """The vote over the paths that have finished so far."""
        return self._controller.vote()

    def reading(self, vote: Vote) -> AnswerReading | None:
        """Return how the answer of a vote was read, None for models with an answer format of their own."""
        return self._controller.results.reading(vote)

    @property
    def finished(self) -> bool:
        """True once the run has its solution or has failed."""
        return self._done.is_set()

    def stop(self, reason: StopReason = StopReason.USER) -> None:
        """End the search softly; the best answer so far becomes the result. Call it in the event loop's thread."""
        self._controller.stop(reason)
        self._driver.wake()

    # Steering; all of it in the event loop's thread

    @property
    def paused(self) -> bool:
        """True while no new steps are started."""
        return self._driver.paused

    def pause(self) -> None:
        """Start no new steps; those in flight are written to their ends, and the clock goes on.

        A run that has ended stays as it is.
        """
        if not self._driver.paused and not self.finished:
            self._driver.paused = True
            self._emit(RunPaused())

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._driver.paused and not self.finished:
            self._emit(RunResumed())
            self._driver.resume()

    def step(self) -> None:
        """Let a paused search start steps once more.

        Raises:
            UsageError: if the run is not paused.
        """
        if not self._driver.paused:
            raise UsageError("the run is not paused", "pause it first")
        self._driver.step()

    @property
    def budget(self) -> Budget:
        """The limits of the run."""
        return self._controller.meter.budget

    def set_budget(self, budget: Budget) -> None:
        """Change the limits of the run; its usage so far counts against the new ones.

        Raises:
            UsageError: if the run is ending.
            BudgetError: if FLOPs are limited and the model's size is unknown.
        """
        self._controller.set_budget(budget)
        self._emit(BudgetChanged(budget=budget))
        self._driver.budget_changed()

    def prune(self, node_id: int) -> None:
        """Prune a node and all below it; finished paths there keep their vote.

        Raises:
            UsageError: if nothing there is open, or the run is ending.
        """
        self._check_running()
        self._controller.prune_subtree(node_id)
        self._driver.wake()

    def expand(self, node_id: int, children: int) -> None:
        """Write more children of an open node, as far as the budget allows.

        Raises:
            UsageError: if the node is not open, or the number is below 1.
        """
        self._check_running()
        self._controller.steering.expand(node_id, children)
        self._driver.wake()

    def edit(self, node_id: int, text: str) -> int:
        """Write another version of a step by hand, let the search go on from it, and return the new node's id.

        The node's `origin` is "hand"; it costs no generated tokens.

        Raises:
            UsageError: if the text is empty or the step above is not open.
        """
        self._check_running()
        added = self._controller.edit(node_id, text)
        self._driver.wake()
        return added

    def pin(self, node_id: int | None) -> None:
        """Make a finished path's answer the result in place of the vote's; None leaves it to the vote again.

        Raises:
            UsageError: if the path has not finished with an answer, or the run has ended.
        """
        if self.finished:
            raise UsageError("the run has ended", "take the answer from the solution's candidates")
        self._controller.steering.pin(node_id)
        self._emit(NodePinned(node=node_id))

    def _check_running(self) -> None:
        if self._controller.stop_reason is not None:
            raise UsageError("the run is ending", "start another one")

    async def result(self) -> Solution:
        """Wait for the solution.

        Raises:
            RamifyError: if the run failed.
        """
        await self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._solution is not None
        return self._solution

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._receive.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            if self._error is not None:
                raise self._error from None
            raise StopAsyncIteration from None

    async def next_events(self) -> list[Event]:
        """Wait for the next event, and return it with all that have come meanwhile; none is the end of the run.

        It is for listeners of many runs: each wait is a turn of the event loop.

        Raises:
            RamifyError: if the run failed.
        """
        found = list[Event]()
        async for event in self:
            found.append(event)
            with suppress(anyio.WouldBlock, anyio.EndOfStream, anyio.ClosedResourceError):
                while True:
                    found.append(self._receive.receive_nowait())
            break
        return found

    def close(self) -> None:
        """End the stream of events; called once, by the engine."""
        self._send.close()
        self._receive.close()

    # Driving the search

    async def drive(self) -> None:
        """Run the search to its end; called once, by the engine."""
        try:
            await self._driver.search()
            await self._driver.conclude()
            self._controller.close()
            self._solution = self._controller.solution(self.problem, self._model)
            if self._schema is not None:
                self._solution = replace(self._solution, value=self._schema.value(self._solution.answer))
            if self._risk is not None:
                self._solution = self._risk.judge(self._solution)
            if self._keep is not None:
                self._keep(self._solution)
            self._emit(RunFinished(solution=self._solution))
        except Exception as error:
            self._error = _single(error)
        finally:
            self._controller.meter.close()
            self._done.set()
            self._send.close()

    def _emit(self, event: Event) -> None:
        self._send.send_nowait(event)


def _single(error: Exception) -> Exception:
    """Return the one error inside nested exception groups, the first of several errors of ramify, else the group."""
    current: BaseException = error
    while isinstance(current, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", current).exceptions
        # Steps that are written side by side may fail of one cause.
        if len(inner) != 1 and not all(isinstance(each, RamifyError) for each in inner):
            break
        current = inner[0]
    return current if isinstance(current, Exception) else error
