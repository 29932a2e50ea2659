"""Driver of one search: it carries requests to the models and the tools, and their results to the controller.

`search` opens the sessions of the policy and the reward, starts the clock of the meter and lets the tree grow (`_grow`)
until the controller knows a reason to stop; then steps in flight are cut, and the best unfinished path is finished if a
limit left no answer.

The way of a step: `SearchController.next_work` returns requests, `_expand` has the policy write them, `_on_result`
passes each result to the controller; `_score` has the reward score the new steps and passes the scores on. In between
`_between_results` frees what is not needed, asks the stop rules and reports. All decisions are the controller's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import anyio
from anyio.abc import TaskGroup

from ramify.answers.checkers import AnswerEquality
from ramify.answers.schemas import AnswerSchema
from ramify.conversation import Conversation
from ramify.event_loop import start_task
from ramify.events import BudgetUsed, Event, RunStarted, StepProgress
from ramify.problem import Problem
from ramify.reward.protocol import RewardModel
from ramify.tools.forms import observed
from ramify.tools.toolbox import Toolbox

from .control.controller import SearchController
from .control.requests import Dispatch
from .control.scoring import Scorer
from .control.thoughts import Probe
from .control.tool_calls import ToolRequest
from .policy.protocol import (
    CallsTools,
    EndsThoughts,
    PolicyModel,
    PolicySession,
    ReusesSteps,
    ToolSession,
    open_as,
    told_of,
)
from .rewards.own_head import open_beside
from .runtime.messages import StepResult

REPORT_INTERVAL_S = 0.1
"""Shortest time between two BudgetUsed events."""


class SearchDriver:
    """Runs the search of one controller with its models.

    `progress` says whether the progress of steps is reported, `emit` takes events. `toolbox` runs the calls of tools,
    None without tools; `schema` is the form of the answers, None for free ones. While `paused`, steps are started as
    often as `step` asked for it, and no more.
    """

    def __init__(
        self,
        controller: SearchController,
        problem: Problem,
        policy: PolicyModel,
        reward: RewardModel | None,
        equality: AnswerEquality,
        emit: Callable[[Event], None],
        *,
        progress: bool,
        toolbox: Toolbox | None,
        schema: AnswerSchema | None,
    ) -> None:
        self.paused = False
        self._controller = controller
        self._problem = problem
        self._policy = policy
        self._reward = reward
        self._equality = equality
        self._emit = emit
        self._progress = progress
        self._toolbox = toolbox
        self._schema = schema
        self._tools_at_work = set[anyio.CancelScope]()
        self._tools_ended = False
        self._changed = anyio.Event()
        self._budget_changed = anyio.Event()
        self._scoring = False
        self._reported_s = 0.0
        self._rounds = 0

    def wake(self) -> None:
        """Have the search go on, after a result or a decision from outside."""
        self._changed.set()

    def resume(self) -> None:
        """Go on after a pause."""
        self.paused, self._rounds = False, 0
        self.wake()

    def step(self) -> None:
        """Let a paused search start steps once more."""
        self._rounds += 1
        self.wake()

    def budget_changed(self) -> None:
        """Have the limits looked at again."""
        self._budget_changed.set()
        self.wake()

    async def search(self) -> None:
        """Run the search to its end."""
        self._controller.meter.start()
        policy = await self._open_policy()
        if isinstance(policy, ReusesSteps):
            policy.count_reused(self._controller.counts_reused)
        scorer: Scorer | None = None
        try:
            if self._reward is not None:
                session = await open_beside(self._reward, self._problem.transcript, policy)
                thoughts, calculator = self._controller.unscored_thoughts, self._controller.calculator
                scorer = Scorer(self._controller.tree, session, thoughts, calculator=calculator)
            strategy = self._controller.strategy.name
            started = RunStarted(question=self._problem.question, strategy=strategy, prompt_tokens=policy.prompt_tokens)
            self._emit(started)
            self._controller.foresee_input(policy)
            await self._grow(policy, scorer)
        finally:
            with anyio.CancelScope(shield=True):
                await policy.close()
                if scorer is not None:
                    await scorer.close()

    async def _open_policy(self) -> PolicySession:
        told = told_of(self._problem)
        kind = self._controller.answers.kind
        if self._schema is not None:
            told = _with_schema(told, self._schema)
        if self._toolbox is not None and isinstance(self._policy, CallsTools):
            return await self._policy.open_with(told, kind, tuple(self._toolbox.tools.values()))
        return await open_as(self._policy, told, kind)

    async def _grow(self, policy: PolicySession, scorer: Scorer | None) -> None:
        async with anyio.create_task_group() as tasks:
            start_task(tasks, self._watch_clock, policy)
            while self._controller.stop_reason is None:
                await self._adopt(policy)
                dispatch = self._next_work()
                if dispatch is not None:
                    start_task(tasks, self._expand, policy, dispatch)
                await self._between_results(tasks, policy, scorer)
            if not self._controller.idle:
                await self._interrupt(policy)
                await self._drain(tasks, policy, scorer)
            await self._adopt(policy)
            last = self._controller.rescue()
            await self._adopt(policy)
            if last is not None:
                start_task(tasks, self._expand, policy, last)
                await self._drain(tasks, policy, scorer)
            tasks.cancel_scope.cancel()
        self._report(force=True)

    async def _adopt(self, policy: PolicySession) -> None:
        while adopted := self._controller.take_adopted():
            await policy.adopt(adopted)

    def _next_work(self) -> Dispatch | None:
        if self.paused:
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
            start_task(tasks, self._call, policy, call)
        for probe in self._controller.take_probes():
            start_task(tasks, self._probe, policy, probe)
        released = self._controller.take_released()
        if released:
            await policy.release(released)
            if scorer is not None:
                await scorer.release(released)
        if scorer is not None and not self._scoring and (nodes := self._controller.take_unscored()):
            self._scoring = True
            start_task(tasks, self._score, scorer, nodes)
        await self._compare_answers()
        self._controller.consider_stopping()
        self._report()
        if not self._controller.idle or (self.paused and not self._rounds and self._controller.stop_reason is None):
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
        """Run the calls of one step, and pass on the results that the policy reads."""
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
                self.wake()
                return
        session = cast("ToolSession", policy)
        tokens = session.result_tokens(request.said, results)
        text = observed("\n".join(results)) + session.thought_after_result
        self._controller.observe(request.node, text, tokens)
        self.wake()

    async def _probe(self, policy: PolicySession, probe: Probe) -> None:
        """Have the answer written that a thought has led to so far, and pass it on."""
        result = None
        if isinstance(policy, EndsThoughts):
            result = await policy.probe(probe.node, probe.told, probe.max_tokens)
        self._controller.probed(probe.node, result)
        self.wake()

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
        self.wake()

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
        self._controller.stop(meter.reached())
        self.wake()
        # Nothing tells when energy or money is used up.
        while left_s := meter.time_to_cut():  # noqa: ASYNC110
            await anyio.sleep(left_s)
        await self._interrupt(policy)

    def _on_result(self, result: StepResult) -> None:
        self._controller.complete(result)
        self.wake()

    def _on_progress(self, child: int, tokens: int, text: str) -> None:
        self._emit(StepProgress(node=child, generated_tokens=tokens, text=text))

    async def conclude(self) -> None:
        """Read and compare the answers for the last time."""
        self._controller.results.conclude()
        await self._compare_answers()

    async def _compare_answers(self) -> None:
        """Compare the answers that take long to compare, and vote again."""
        if self._equality.unresolved:
            await self._equality.resolve()
            self._controller.revote()

    def _report(self, *, force: bool = False) -> None:
        now_s = time.monotonic()
        if force or now_s - self._reported_s >= REPORT_INTERVAL_S:
            self._reported_s = now_s
            usage = self._controller.meter.usage()
            self._emit(BudgetUsed(usage=usage, fraction=self._controller.meter.progress(usage)))


def _with_schema(told: str | Conversation, schema: AnswerSchema) -> str | Conversation:
    """Return a question that tells the form of its answer."""
    form = f"\n\nThink first. At the end give the answer as JSON by this schema: {schema.text}"
    if isinstance(told, str):
        return told + form
    *before, last = told.turns
    return replace(told, turns=(*before, replace(last, content=last.content + form)))
