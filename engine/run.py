"""Run of one search: carries requests to the models, results back to the controller, and events to the caller.

The way of a problem: `drive` opens the sessions of the policy and the reward, starts the clock of the meter and lets
the tree grow (`_grow`) until the controller knows a reason to stop; then steps in flight are cut, the best unfinished
path is finished if a limit left no answer, and the controller returns the solution.

The way of a step: `SearchController.next_work` returns requests, `_expand` has the policy write them, `_on_result`
passes each result to the controller; `_score` has the reward score the new steps and passes the scores on. In between
`_between_results` frees what is not needed, asks the stop rules and reports. All decisions are the controller's.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import anyio
from anyio.abc import TaskGroup

from ramify.answers.checkers import AnswerEquality
from ramify.answers.reading import AnswerReader, AnswerReading
from ramify.answers.schemas import AnswerSchema
from ramify.conversation import Conversation
from ramify.errors import RamifyError, UsageError
from ramify.events import (
    BudgetChanged,
    BudgetUsed,
    Event,
    NodePinned,
    RunFinished,
    RunPaused,
    RunResumed,
    RunStarted,
    StepProgress,
)
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel
from ramify.search.budget import Budget
from ramify.search.stopping import StopReason
from ramify.search.tree import SearchTree
from ramify.search.votes import Vote
from ramify.solution import Solution
from ramify.tools.forms import observed
from ramify.tools.toolbox import Toolbox
from ramify.usage import Usage

from .control.controller import SearchController
from .control.requests import Dispatch
from .control.scoring import Scorer
from .control.thoughts import Probe
from .control.tool_calls import ToolRequest
from .planning.risk import RiskRule
from .policy.protocol import CallsTools, EndsThoughts, PolicyModel, PolicySession, ReusesSteps, ToolSession, open_as
from .rewards.own_head import open_beside
from .runtime.messages import StepResult

REPORT_INTERVAL_S = 0.1
"""Shortest time between two BudgetUsed events."""


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
        self._policy = policy
        self._reward = reward
        self._controller = controller(self._emit)
        self._equality = equality
        self._model = model
        self._progress = progress
        self._toolbox = toolbox
        self._schema = schema
        self._risk = risk
        self._keep = keep
        self._tools_at_work = set[anyio.CancelScope]()
        self._tools_ended = False
        self._send, self._receive = anyio.create_memory_object_stream[Event](math.inf)
        self._changed = anyio.Event()
        self._done = anyio.Event()
        self._scoring = False
        self._solution: Solution | None = None
        self._error: Exception | None = None
        self._reported_s = 0.0
        self._budget_changed = anyio.Event()
        self._paused = False
        self._rounds = 0

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
        self._wake()

    # Steering; all of it in the event loop's thread

    @property
    def paused(self) -> bool:
        """True while no new steps are started."""
        return self._paused

    def pause(self) -> None:
        """Start no new steps; those in flight are written to their ends, and the clock goes on."""
        if not self._paused:
            self._paused = True
            self._emit(RunPaused())

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused:
            self._paused, self._rounds = False, 0
            self._emit(RunResumed())
            self._wake()

    def step(self) -> None:
        """Let a paused search start steps once more.

        Raises:
            UsageError: if the run is not paused.
        """
        if not self._paused:
            raise UsageError("the run is not paused", "pause it first")
        self._rounds += 1
        self._wake()

    @property
    def budget(self) -> Budget:
        """The limits of the run."""
        return self._controller.meter.budget

    def set_budget(self, budget: Budget) -> None:
        """Change the limits of the run; what it has spent counts against the new ones.

        Raises:
            UsageError: if the run is ending.
            BudgetError: if FLOPs are limited and the model's size is unknown.
        """
        self._controller.set_budget(budget)
        self._emit(BudgetChanged(budget=budget))
        self._budget_changed.set()
        self._wake()

    def prune(self, node_id: int) -> None:
        """Prune a node and all below it; finished paths there keep their vote.

        Raises:
            UsageError: if nothing there is open.
        """
        self._controller.prune_subtree(node_id)
        self._wake()

    def expand(self, node_id: int, children: int) -> None:
        """Write more children of an open node, as far as the budget allows.

        Raises:
            UsageError: if the node is not open, or the number is below 1.
        """
        self._check_running()
        self._controller.steering.expand(node_id, children)
        self._wake()

    def edit(self, node_id: int, text: str) -> int:
        """Write another version of a step by hand, let the search go on from it, and return the new node's id.

        The node's `origin` is "hand"; it costs no generated tokens.

        Raises:
            UsageError: if the text is empty or the step above is not open.
        """
        self._check_running()
        added = self._controller.edit(node_id, text)
        self._wake()
        return added

    def pin(self, node_id: int | None) -> None:
        """Make a finished path's answer the result whatever the vote says; None leaves it to the vote again.

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
            await self._search()
            await self._conclude()
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

    async def _conclude(self) -> None:
        self._controller.results.conclude()
        if self._equality.unresolved:
            await self._equality.resolve()
            self._controller.revote()

    async def _search(self) -> None:
        self._controller.meter.start()
        policy = await self._open_policy()
        if isinstance(policy, ReusesSteps):
            policy.count_reused(self._controller.counts_reused)
        scorer: Scorer | None = None
        try:
            if self._reward is not None:
                session = await open_beside(self._reward, self.problem.transcript, policy)
                thoughts, calculator = self._controller.unscored_thoughts, self._controller.calculator
                scorer = Scorer(self.tree, session, thoughts, calculator=calculator)
            strategy = self._controller.strategy.name
            started = RunStarted(question=self.problem.question, strategy=strategy, prompt_tokens=policy.prompt_tokens)
            self._emit(started)
            self._controller.foresee_input(policy)
            await self._grow(policy, scorer)
        finally:
            with anyio.CancelScope(shield=True):
                await policy.close()
                if scorer is not None:
                    await scorer.close()

    async def _open_policy(self) -> PolicySession:
        told = self.problem.question if self.problem.is_plain else self.problem.conversation
        kind = self._controller.answers.kind
        if self._schema is not None:
            told = _with_schema(told, self._schema)
        if self._toolbox is not None and isinstance(self._policy, CallsTools):
            return await self._policy.open_with(told, kind, tuple(self._toolbox.tools.values()))
        return await open_as(self._policy, told, kind)

    async def _grow(self, policy: PolicySession, scorer: Scorer | None) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch_clock, policy)
            while self._controller.stop_reason is None:
                await self._adopt(policy)
                dispatch = self._next_work()
                if dispatch is not None:
                    tasks.start_soon(self._expand, policy, dispatch)
                await self._between_results(tasks, policy, scorer)
            if not self._controller.idle:
                await self._interrupt(policy)
                await self._drain(tasks, policy, scorer)
            await self._adopt(policy)
            last = self._controller.rescue()
            await self._adopt(policy)
            if last is not None:
                tasks.start_soon(self._expand, policy, last)
                await self._drain(tasks, policy, scorer)
            tasks.cancel_scope.cancel()
        self._report(force=True)

    async def _adopt(self, policy: PolicySession) -> None:
        while adopted := self._controller.take_adopted():
            await policy.adopt(adopted)

    def _next_work(self) -> Dispatch | None:
        if self._paused:
            if not self._rounds:
                return None
            self._rounds -= 1
        return self._controller.next_work()

    async def _drain(self, tasks: TaskGroup, policy: PolicySession, scorer: Scorer | None) -> None:
        while not self._controller.idle:
            await self._between_results(tasks, policy, scorer)

    async def _between_results(self, tasks: TaskGroup, policy: PolicySession, scorer: Scorer | None) -> None:
        """Free nodes, start tools and scoring, ask the stop rules, report, and wait for the next result."""
        await self._adopt(policy)
        for call in self._controller.take_calls():
            tasks.start_soon(self._call, policy, call)
        for probe in self._controller.take_probes():
            tasks.start_soon(self._probe, policy, probe)
        released = self._controller.take_released()
        if released:
            await policy.release(released)
            if scorer is not None:
                await scorer.release(released)
        if scorer is not None and not self._scoring and (nodes := self._controller.take_unscored()):
            self._scoring = True
            tasks.start_soon(self._score, scorer, nodes)
        if self._equality.unresolved:
            await self._equality.resolve()
            self._controller.revote()
        self._controller.consider_stopping()
        self._report()
        if not self._controller.idle or (self._paused and not self._rounds and self._controller.stop_reason is None):
            await self._changed.wait()
            self._changed = anyio.Event()

    async def _expand(self, policy: PolicySession, dispatch: Dispatch) -> None:
        await policy.expand(
            dispatch.requests,
            allowance=dispatch.grant.tokens,
            on_result=self._on_result,
            on_progress=self._on_progress if self._progress else None,
        )

    async def _call(self, policy: PolicySession, request: ToolRequest) -> None:
        """Run the calls of one step, and pass on what the policy reads of them."""
        assert self._toolbox is not None
        results = [request.refused]
        if not request.refused:
            with anyio.CancelScope() as scope:
                self._tools_at_work.add(scope)
                if self._tools_ended:
                    scope.cancel()
                results = await self._toolbox.run(request.below, request.calls)
            self._tools_at_work.discard(scope)
            if scope.cancelled_caught:
                self._controller.observe_nothing(request.node)
                self._wake()
                return
        session = cast("ToolSession", policy)
        tokens = session.result_tokens(request.said, results)
        text = observed("\n".join(results)) + session.thought_after_result
        self._controller.observe(request.node, text, tokens)
        self._wake()

    async def _probe(self, policy: PolicySession, probe: Probe) -> None:
        """Have the answer written that a thought has led to so far, and pass it on."""
        result = None
        if isinstance(policy, EndsThoughts):
            result = await policy.probe(probe.node, probe.told, probe.max_tokens)
        self._controller.probed(probe.node, result)
        self._wake()

    async def _interrupt(self, policy: PolicySession) -> None:
        """Cut the steps and the tools in flight; a call that is found later has no result either."""
        self._tools_ended = True
        for scope in self._tools_at_work:
            scope.cancel()
        await policy.interrupt()

    async def _score(self, scorer: Scorer, nodes: list[int]) -> None:
        found = await scorer.score(nodes)
        for node in found.too_long:
            self._controller.too_long(node)
        self._controller.score(found.values, scorer.usage, found.parts)
        self._scoring = False
        self._wake()

    async def _watch_clock(self, policy: PolicySession) -> None:
        """End the search when no time is left for ordinary work, and cut the steps in flight at the limit itself.

        The same goes for energy and money, as far as they pass by themselves. What is left grows when a path
        finishes, since none is withheld then, and changes with the budget.
        """
        meter = self._controller.meter
        while (left_s := meter.time_left()) != 0.0:
            with anyio.move_on_after(math.inf if left_s is None else left_s):
                await self._budget_changed.wait()
                self._budget_changed = anyio.Event()
        self.stop(meter.reached())
        # Nothing tells when energy or money is used up.
        while left_s := meter.time_to_cut():  # noqa: ASYNC110
            await anyio.sleep(left_s)
        await self._interrupt(policy)

    def _on_result(self, result: StepResult) -> None:
        self._controller.complete(result)
        self._wake()

    def _on_progress(self, child: int, tokens: int, text: str) -> None:
        self._emit(StepProgress(node=child, generated_tokens=tokens, text=text))

    def _wake(self) -> None:
        self._changed.set()

    def _emit(self, event: Event) -> None:
        self._send.send_nowait(event)

    def _report(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if force or now_s - self._reported_s >= REPORT_INTERVAL_S:
            self._reported_s = now_s
            usage = self._controller.meter.usage()
            self._emit(BudgetUsed(usage=usage, fraction=self._controller.meter.progress(usage)))


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


def _with_schema(told: str | Conversation, schema: AnswerSchema) -> str | Conversation:
    """Return a question that tells the form of its answer."""
    form = f"\n\nThink first. At the end give the answer as JSON by this schema: {schema.text}"
    if isinstance(told, str):
        return told + form
    *before, last = told.turns
    return replace(told, turns=(*before, replace(last, content=last.content + form)))
