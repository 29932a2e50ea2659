"""Runs that the screens show, and live ones: a search in a task of its own, from question to saved solution."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio

from ramify.errors import LoadingCancelled, ModelCrashed, RamifyError, UsageError

from .panels import Speed
from .run_view import Phase, RunView
from .spec import short_model

if TYPE_CHECKING:
    from ramify.engine.history import RunStore
    from ramify.engine.run import Run
    from ramify.search.budget import Budget
    from ramify.search.strategy import Strategy
    from ramify.solution import Solution

    from .engine_host import EngineHost
    from .spec import Plan, RunSpec

log = logging.getLogger("ramify.tui")

Clock = Callable[[], float]


FAILURE = "error"
"""Name of the rule in the `Stop` of a run that an error ended."""


def failure_text(error: Exception) -> str:
    """Return cause and next step of an error in one or two sentences."""
    if isinstance(error, RamifyError):
        parts = [error.message, error.next_step]
    else:
        parts = [f"this is a bug in ramify: {type(error).__name__}: {error}", "F9 shows the log"]
    sentences = (f"{part[:1].upper()}{part[1:]}" for part in parts if part)
    return " ".join(each if each.endswith((".", "?", "!")) else f"{each}." for each in sentences)


class Session:
    """A run that is shown: a live one in `LiveSession`, or a saved one in `SavedSession`.

    `error` ended a run that failed. `run_id` is its id in the history, None until it is saved. `max_sequences` is the
    number of steps that the engine decodes at the same time, None if that is not known. `models` names the loaded ones.
    `has_reward` tells whether there is a reward, and `uses_reward` whether the strategy asks it.
    `pin_below` is a step below which the first path that finishes will be pinned, None for none.
    """

    live = True

    def __init__(self, spec: RunSpec, view: RunView, clock: Clock = time.monotonic) -> None:
        self.spec = spec
        self.view = view
        self.speed = Speed()
        self.clock = clock
        self.error: Exception | None = None
        self.run_id: str | None = None
        self.pin_below: int | None = None
        self.max_sequences: int | None = None
        self.models = short_model(str(spec.get("model")))
        self.has_reward = self.uses_reward = spec.get("reward") != "none"
        self._began_s = clock()

    @property
    def strategy(self) -> Strategy | None:
        """The strategy, None where it is not known."""
        return None

    def stop_rule_text(self) -> str:
        """Return how far the stop rule is from ending the search, "" without one or where that is not known."""
        return ""

    def loading_text(self) -> str:
        """Return the model files that are being loaded with their progress, or the name of the model."""
        return self.models

    @property
    def failure(self) -> str:
        """Error that ended a failed run, "" for others."""
        if self.error is not None:
            return "" if isinstance(self.error, LoadingCancelled) else failure_text(self.error)
        solution = self.view.solution
        if solution is None or solution.stop is None or solution.stop.rule != FAILURE:
            return ""
        return solution.stop.reason

    @property
    def seconds(self) -> float:
        """Time of the run in seconds, without the loading of models."""
        usage = self.view.usage
        if self.view.phase.over or not self.live:
            return 0.0 if usage is None else usage.seconds
        return 0.0 if self.view.phase is Phase.WAITING else self.clock() - self._began_s

    @property
    def waited_s(self) -> float:
        """Seconds since the session was made or its search began."""
        return self.clock() - self._began_s

    def tick(self) -> None:
        """Take a sample of the speed; called with each frame."""
        if self.live and not self.view.phase.over and self.view.phase is not Phase.WAITING:
            self.speed.sample(self.clock(), self.view.generated_tokens)


class LiveSession(Session):
    """A search in progress; the steering methods are those of `Run` and raise as they do.

    `paused` has it wait for `step` or `toggle_pause` before its first step.

    Raises:
        UsageError: if the spec's messages or examples cannot be read.
    """

    def __init__(
        self,
        spec: RunSpec,
        plan: Plan,
        host: EngineHost,
        store: RunStore | None,
        *,
        paused: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        problem = spec.problem()
        super().__init__(spec, RunView(problem.question, budget=plan.run_options.get("budget")), clock)
        self.view.conversation = None if problem.is_plain else problem.conversation
        self._problem = problem
        self._plan = plan
        self._host = host
        self._store = store
        self._starts_paused = paused
        self._run: Run | None = None
        self._strategy: Strategy | None = None
        self._scope = anyio.CancelScope()
        self._has_engine = False
        self._task = asyncio.create_task(self._drive(), name="ramify-run")

    def loading_text(self) -> str:
        """Return the model files that are being loaded with their progress, or the name of the model."""
        return self._host.loading_text(self._plan) or self.models

    @property
    def task(self) -> asyncio.Task[None]:
        """Ends when the run is over and saved; wait for it, never cancel it."""
        return self._task

    @property
    def strategy(self) -> Strategy | None:
        """The strategy, None while the models are being loaded."""
        return self._strategy

    def stop_rule_text(self) -> str:
        """Return how far the stop rule is from ending the search, "" if it cannot say."""
        rule = self._plan.run_options.get("stop")
        if rule is None or self._run is None or self._strategy is None:
            return ""
        from ramify.answers.checkers import make_checker
        from ramify.search.stopping import Situation, standing
        from ramify.search.votes import candidates, decide

        tree, strategy = self._run.tree, self._strategy.settled(self._run.tree)
        same = make_checker(self._run.problem.check).same_quickly
        # Answers that only a full comparison could tell equal count as different; the rule itself waits for it.
        vote = decide(
            candidates(tree, strategy.aggregation),
            strategy.vote,
            lambda a, b: same(a, b) is True,
            self._run.answers.kind,
        )
        return standing(rule, Situation(tree, vote, strategy.width))

    # Steering

    @property
    def run(self) -> Run:
        """The run.

        Raises:
            UsageError: while the models are being loaded.
        """
        if self._run is None:
            raise UsageError("the search has not begun", "wait until the models are loaded")
        return self._run

    def toggle_pause(self) -> None:
        """Pause, or go on."""
        if self.run.paused:
            self.run.resume()
        else:
            self.run.pause()

    def step(self) -> None:
        """Go on for one round, pausing first if need be."""
        if not self.run.paused:
            self.run.pause()
        self.run.step()

    def stop(self) -> None:
        """End softly with the best answer so far; while loading, call it off."""
        if self._run is None:
            self.cancel()
        elif not self.view.phase.over:
            self._run.stop()
            self.view.set_phase(Phase.STOPPING)

    def cancel(self) -> None:
        """End at once, without a result."""
        self._scope.cancel()

    def pin(self, node_id: int | None) -> None:
        """Make the answer of a finished path the result; of a step without one, that of the first path below it.

        None leaves the result to the vote again.
        """
        self.pin_below = None
        if node_id is None:
            if self.view.pinned is not None:
                self.run.pin(None)
        elif self.view.tree.node(node_id).answer is not None:
            self.run.pin(node_id)
        else:
            self.pin_below = node_id
            self._pin_when_finished()
        self.view.touch()

    def _pin_when_finished(self) -> None:
        """Pin the first path that has finished below the step that the user wants to decide."""
        if self.pin_below is None or self.run.finished:
            return
        finished = self._finished_below(self.pin_below)
        if finished is not None:
            self.pin_below = None
            self.run.pin(finished)

    def _finished_below(self, node_id: int) -> int | None:
        below = (self.view.tree.node(each) for each in self.view.tree.subtree(node_id))
        return next((node.id for node in below if node.answer is not None), None)

    def raise_budget(self, budget: Budget) -> None:
        """Set other limits."""
        self.run.set_budget(budget)

    async def close(self, grace_s: float) -> None:
        """End within the grace and save; a run that does not end softly is saved as it stands, then cancelled."""
        if self._task.done():
            return
        self.stop()
        await asyncio.wait([self._task], timeout=grace_s)
        if not self._task.done():
            if self._run is not None and self.view.solution is None:
                await self._save(self._so_far(self._run))
            self.cancel()

    # The task

    async def _drive(self) -> None:
        with self._scope:
            try:
                await self._search()
            except LoadingCancelled as error:
                self._fail(error)
            except Exception as error:
                log.warning("the run failed: %s", error, exc_info=not isinstance(error, UsageError))
                self._fail(error)
                await self._save(self._failed(error))
        self._release_engine()
        if not self.view.phase.over:
            self._fail(LoadingCancelled("the run was cancelled", "start it again"))

    async def _search(self) -> None:
        engine = await self._host.acquire(self._plan)
        self._has_engine = True
        self.has_reward = engine.reward is not None
        self._strategy = self._plan.strategy(
            has_reward=self.has_reward, width=engine.default_width, temperature=engine.default_temperature
        )
        names = [engine.policy.name]
        self.uses_reward = engine.reward is not None and self._strategy.uses_reward
        if engine.reward is not None and self.uses_reward:
            names.append(engine.reward.name)
        self.models = " + ".join(names)
        self.view.vote = str(self._strategy.vote)
        self.max_sequences = engine.config.max_lanes
        options: dict[str, Any] = {**self._plan.run_options, "strategy": self._strategy, "progress": True}
        async with engine.run(self._problem, **options) as run:
            self._run = run
            self.view.tree, self.view.budget = run.tree, run.budget
            self.view.marks = run.answers.thoughts
            self._began_s = self.clock()
            if self._starts_paused:
                run.pause()
            async for event in run:
                self.view.apply(event)
                self._pin_when_finished()
            solution = await run.result()
        await self._save(solution)

    async def _save(self, solution: Solution) -> None:
        if self._store is None or self.run_id is not None:
            return
        store, options = self._store, self.spec.saved()
        try:
            # Shielded, so that a cancellation cannot leave the run unsaved.
            with anyio.CancelScope(shield=True):
                self.run_id = await anyio.to_thread.run_sync(store.save, solution, options)
        except UsageError as error:
            log.warning("the run was not saved: %s", error)
        self.view.touch()

    def _so_far(self, run: Run) -> Solution:
        from ramify.engine.interrupts import as_it_stands

        assert self._strategy is not None
        model = {"policy": self.models}
        return as_it_stands(run, self._strategy, seed=self.spec.get("seed"), model=model, pinned=self.view.pinned)

    def _failed(self, error: Exception) -> Solution:
        """Return the solution as it stood when the run failed, with the error as the reason of its end."""
        from ramify.search.stopping import Stop, StopReason
        from ramify.solution import Solution
        from ramify.usage import Usage

        stop = Stop(rule=FAILURE, reason=failure_text(error))
        if self._run is not None and self._strategy is not None:
            return replace(self._so_far(self._run), stop_reason=StopReason.FAILED, stop=stop)
        return Solution(
            question=self._problem.question,
            conversation=self.view.conversation,
            answer=None,
            text="",
            score=None,
            usage=Usage(),
            candidates=(),
            seed=self.spec.get("seed"),
            strategy={"name": self.spec.get("strategy") or ""},
            model={"policy": self.models},
            stop_reason=StopReason.FAILED,
            stop=stop,
        )

    def _fail(self, error: Exception) -> None:
        self.error = error
        self.view.set_phase(Phase.FAILED)

    def _release_engine(self) -> None:
        if self._has_engine:
            self._has_engine = False
            self._host.release(self._plan, broken=isinstance(self.error, ModelCrashed))
