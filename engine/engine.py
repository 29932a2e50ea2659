"""The engine: one policy, perhaps a reward model, and any number of searches over them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from ramify.answers.schemas import read_schema
from ramify.config import DEFAULT_RUN, EngineConfig, RunConfig
from ramify.errors import EngineClosed, UsageError, check_kind
from ramify.event_loop import start_task
from ramify.events import ModelLoading
from ramify.problem import Problem
from ramify.reward.algebra import Combination
from ramify.reward.protocol import RewardModel
from ramify.sampling_params import SamplingParams
from ramify.search.budget import Budget
from ramify.search.path_rules import PathRule
from ramify.search.stopping import StopRule, make_stop_rule
from ramify.search.strategies.rebase import PAPER_TEMPERATURE
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.solution import Solution
from ramify.text import did_you_mean
from ramify.tools.loading import ToolsGiven, load_tools
from ramify.tools.mcp_client import McpServers
from ramify.tools.toolbox import Toolbox, ToolLimits

from .interrupts import plain_interrupts
from .loading import asks_server, default_sampling, load_models, open_store
from .many import Problems, SolutionStream, as_problem, refuse_one_problem
from .metering.plan import Metering, prices_of
from .planning.parallel import ParallelLimit
from .planning.profile import Profile, profile_for
from .planning.strategy_choice import choose_strategy
from .policy.defaults import SuggestsWidth
from .policy.protocol import HasMemory, PolicyModel, TellsPlace
from .rewards.heads import rebase_temperature
from .run import Run
from .run_setup import RunSetup
from .watching import watchable

if TYPE_CHECKING:
    # Prices need pydantic, whose import takes long.
    from ramify.prices import Prices

    from .store.rows import RowStore
    from .store.solved import ProblemMemory


class Engine:
    """Models loaded once, searched many times; use it with `async with`.

    `model` is a bundled name ("demo-m"), the name of a file in the folder of models, a path to a GGUF file, the `hf:`
    name of a pulled one, `openai:URL#MODEL` for a model behind a server, or a PolicyModel. `reward` is a bundled name,
    a path, a RewardModel or a function of (question, steps) to a score in [0, 1]; None means no reward model; "default"
    means the bundled one for a bundled policy, the published head of a file that has one, else none. Further settings
    are those of EngineConfig, in `config` or by name. `on_loading` is called while model files load, at most about ten
    times a second for each, in the thread of the event loop.

    Raises:
        UsageError: if a setting is unknown or out of range, or on entering, if the store cannot be used.
        ModelLoadError: on entering, if a model or the reward cannot be loaded.
    """

    def __init__(
        self,
        model: str | Path | PolicyModel = "demo-m",
        reward: str | Path | RewardModel | Combination | Callable[..., Any] | None = "default",
        *,
        config: EngineConfig | None = None,
        on_loading: Callable[[ModelLoading], None] | None = None,
        **settings: Any,
    ) -> None:
        self._model_source = model
        self._reward_source = reward
        self.on_loading = on_loading
        self.config = _configured(config or EngineConfig(), settings)
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._policy: PolicyModel | None = None
        self._reward: RewardModel | None = None
        self._servers: McpServers | None = None
        self._prices: Prices | None = None
        self._metering: Metering | None = None
        self._store: RowStore | None = None
        self._memory: ProblemMemory | None = None

    async def __aenter__(self) -> Engine:
        if self._tasks is not None:
            raise EngineClosed("this engine is open already", "make a second Engine, or share this one")
        self._prices = prices_of(self.config)
        async with AsyncExitStack() as stack:
            # Closed last, when the models have given their results.
            self._store = await open_store(stack, self.config, self._model_source)
            self._policy, self._reward = await load_models(
                stack, self._model_source, self._reward_source, self.config, self.on_loading, self._store
            )
            self._memory = await self._open_memory()
            # Entered last, so that searches are cancelled before the models are freed.
            self._tasks = await stack.enter_async_context(anyio.create_task_group())
            self._stack = stack.pop_all()
        return self

    async def _open_memory(self) -> ProblemMemory | None:
        """Return the problems that the policy has solved earlier; None without a store for it."""
        name = self._policy.memory_name if isinstance(self._policy, HasMemory) else None
        if self._store is None or name is None:
            return None
        from .store.solved import ProblemMemory

        return await to_thread.run_sync(ProblemMemory.of, self._store, name)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        self._tasks = self._policy = self._reward = self._servers = self._metering = None
        self._store = self._memory = None
        # The error is not passed in, so that the task group does not wrap it; it propagates by itself.
        with plain_interrupts():
            await self._stack.aclose()

    @property
    def policy(self) -> PolicyModel:
        """The loaded policy.

        Raises:
            EngineClosed: outside `async with`.
        """
        if self._policy is None:
            raise EngineClosed("the engine is not open", "use it inside `async with Engine(...) as engine:`")
        return self._policy

    @property
    def reward(self) -> RewardModel | None:
        """The loaded reward model, or None."""
        return self._reward

    @property
    def metering(self) -> Metering:
        """Meter of the runs' energy, and their prices.

        Raises:
            EngineClosed: outside `async with`.
        """
        if self._metering is None:
            place = self.policy.place if isinstance(self.policy, TellsPlace) else "processor"
            place = "server" if asks_server(self._reward_source) else place
            self._metering = Metering.of(self.config, place, self._prices)
        return self._metering

    @property
    def store(self) -> RowStore | None:
        """The store of earlier searches that this engine takes from and adds to, None for none."""
        return self._store

    @property
    def default_width(self) -> int | None:
        """Number of paths of strategies for which none is given, None for their own; fewer for large models.

        Raises:
            EngineClosed: outside `async with`.
        """
        return self.policy.width if isinstance(self.policy, SuggestsWidth) else None

    @property
    def default_temperature(self) -> float:
        """Temperature of REBASE where none is given: that which the reward's head was tried with, or the paper's."""
        found = None if self._reward is None else rebase_temperature(self._reward)
        return PAPER_TEMPERATURE if found is None else found

    @watchable
    async def run(
        self,
        problem: Problem | str,
        *,
        strategy: Strategy | str | None = None,
        budget: Budget = DEFAULT_RUN.budget,
        seed: int = DEFAULT_RUN.seed,
        sampling: SamplingParams | None = None,
        max_step_tokens: int = DEFAULT_RUN.max_step_tokens,
        min_step_tokens: int = DEFAULT_RUN.min_step_tokens,
        max_path_tokens: int = DEFAULT_RUN.max_path_tokens,
        answer: str = DEFAULT_RUN.answer,
        answer_schema: Any = None,
        calculator: bool = DEFAULT_RUN.calculator,
        reward_thoughts: bool = DEFAULT_RUN.reward_thoughts,
        max_thinking_tokens: int | None = None,
        thinking_extend: int = DEFAULT_RUN.thinking_extend,
        thinking_step_tokens: int = DEFAULT_RUN.thinking_step_tokens,
        thinking_probes: int = DEFAULT_RUN.thinking_probes,
        count_reused: bool = DEFAULT_RUN.count_reused,
        remember: int = DEFAULT_RUN.remember,
        tools: ToolsGiven = None,
        max_tool_calls: int = DEFAULT_RUN.max_tool_calls,
        max_run_tool_calls: int = DEFAULT_RUN.max_run_tool_calls,
        tool_seconds: float = DEFAULT_RUN.tool_seconds,
        stop: StopRule | str | None = None,
        stop_text: str | None = None,
        cut: PathRule | None = None,
        risk: float | None = None,
        tree: SearchTree | None = None,
        progress: bool = False,
    ) -> AsyncGenerator[Run]:
        """Start a search and yield it; leaving the block cancels the steps in flight.

        In a notebook `await engine.run(...).watch()` shows the progress and returns the solution.

        `strategy` is a Strategy or a name; None means REBASE if there is a reward model, else majority vote, of
        `default_width` paths (16 for small models), and "auto" what the profile of the models finds best within the
        budget. `budget` limits this run. `stop` ends the run early, a rule or its text such as "beta:0.95,lead" (see
        `ramify.search.stopping`), and `cut` single paths; None never. `risk` leaves an answer out if it is not sure, by
        the profile of the models (docs/howto/compute.md). `stop_text` ends a path before that text.
        `answer` is the kind of the answer. `answer_schema` is a pydantic model or a JSON schema (a mapping, its text or
        its file) by which each path writes its answer when it has thought; `Solution.value` then has the value.
        `sampling` None, and what it leaves open, means what suits the model. `tree`
        is the saved tree of a run on the same problem to go on with: what had been cut by that run's end is written
        again, and with the same seed and strategy the outcome is that of a run that was never cut (unless its budget
        had begun to refuse steps, which a strategy then does without); usage counts this run alone. None starts afresh.
        `progress` adds StepProgress events for steps in the making. `tools` are those that paths may call: functions
        with `@ramify.tool`, or names as --tools has them (see `ramify.tools.loading`); None or none at all for no
        tools. See RunConfig for the rest.

        Raises:
            UsageError: if a tool does not exist or the model cannot call it, a limit of the budget cannot be checked or
                a risk is not calibrated, the strategy needs a reward model and there is none, `tree` has finished
                paths without the scores that it needs, a setting is out of range, or the problem names no checker.
            SearchError: if there is no such strategy or stop rule.
            EngineClosed: outside `async with`.
        """
        _check_kinds(budget, sampling, tree, stop, cut)
        schema = None if answer_schema is None else read_schema(answer_schema)
        config = RunConfig(
            budget=budget,
            sampling=SamplingParams.of((sampling or SamplingParams()).resolved(default_sampling(self.policy))),
            seed=seed,
            max_step_tokens=max_step_tokens,
            min_step_tokens=min_step_tokens,
            max_path_tokens=max_path_tokens,
            answer=answer,
            answer_schema=None if schema is None else schema.text,
            calculator=calculator,
            reward_thoughts=reward_thoughts,
            max_thinking_tokens=max_thinking_tokens,
            thinking_extend=thinking_extend,
            thinking_step_tokens=thinking_step_tokens,
            thinking_probes=thinking_probes,
            count_reused=count_reused,
            remember=remember,
            tools=tools if isinstance(tools, str) else None,
            max_tool_calls=max_tool_calls,
            max_run_tool_calls=max_run_tool_calls,
            tool_seconds=tool_seconds,
            stop=make_stop_rule(stop) if isinstance(stop, str) else stop,
            stop_text=stop_text,
            cut=cut,
            risk=risk,
        )
        toolbox = await self._toolbox(tools, config)
        setup = self._setup()
        run = setup.run(
            setup.with_similar(as_problem(problem), remember),
            self._strategy(strategy, budget),
            config,
            tree,
            progress=progress,
            toolbox=toolbox,
            schema=schema,
        )
        try:
            async with _beside(run.drive):
                yield run
        finally:
            run.close()

    async def solve(self, problem: Problem | str, **options: Any) -> Solution:
        """Search one problem to its end; `options` are those of `run`.

        Raises:
            RamifyError: as `run`, and the error that stopped the search.
        """
        async with self.run(problem, **options) as run:
            return await run.result()

    def solve_many(self, problems: Problems, *, parallel: int | None = None, **options: Any) -> SolutionStream:
        """Search many problems, `parallel` at a time; read the solutions with `async for` as they finish.

        `problems` may be any iterable or asynchronous iterable. `parallel` None means 4, and with a slow model under a
        limit of time as many as can each end a path by the measured speed. `options` are those of `run`.

        Raises:
            UsageError: if `parallel` is below 1, or `problems` is one problem.
            EngineClosed: outside `async with`.
        """
        refuse_one_problem(problems)
        if parallel is not None and parallel < 1:
            raise UsageError(f"parallel is {parallel}", "use 1 or more")
        if self._tasks is None:
            raise EngineClosed("the engine is not open", "use it inside `async with Engine(...) as engine:`")
        limit = ParallelLimit.of(parallel, self.policy, options.get("budget", DEFAULT_RUN.budget))
        stream = SolutionStream(self._tasks, lambda problem: self.solve(problem, **options), limit)
        stream.start(problems)
        return stream

    def profile(self) -> Profile:
        """Return the measured profile of the loaded models: the file named by the setting `profile`, or a bundled one.

        Raises:
            UsageError: if there is none, or the file cannot be read.
        """
        reward = None if self._reward is None else self._reward.name
        return profile_for(self.policy.name, reward, self.config.profile)

    def _strategy(self, strategy: Strategy | str | None, budget: Budget) -> Strategy:
        return choose_strategy(
            strategy,
            has_reward=self._reward is not None,
            budget=budget,
            profile=self.profile,
            width=self.default_width,
            temperature=self.default_temperature,
        )

    async def _toolbox(self, tools: ToolsGiven, config: RunConfig) -> Toolbox | None:
        if not tools:
            return None
        if self._tasks is None:
            raise EngineClosed("the engine is not open", "use it inside `async with Engine(...) as engine:`")
        self._servers = self._servers or McpServers(self._tasks)
        loaded = await load_tools(tools, self._servers)
        if not loaded:
            return None
        limits = ToolLimits(
            path_calls=config.max_tool_calls, run_calls=config.max_run_tool_calls, seconds=config.tool_seconds
        )
        return Toolbox(loaded, limits)

    def _setup(self) -> RunSetup:
        return RunSetup(
            policy=self.policy,
            reward=self._reward,
            metering=self.metering,
            memory=self._memory,
            profile=self.config.profile,
        )


@asynccontextmanager
async def _beside(work: Callable[[], Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Run `work` while the block runs and cancel it at the end; errors of the block come out unwrapped."""
    failure: BaseException | None = None
    with plain_interrupts():
        async with anyio.create_task_group() as tasks:
            start_task(tasks, work)
            try:
                yield
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _check_kinds(budget: object, sampling: object, tree: object, stop: object, cut: object) -> None:
    check_kind("the budget", budget, Budget, "a Budget such as Budget(generated_tokens=4096)")
    check_kind(
        "the sampling", sampling, (SamplingParams, NoneType), "SamplingParams, such as SamplingParams(top_p=0.9)"
    )
    check_kind("the tree", tree, (SearchTree, NoneType), "the SearchTree of a solution")
    if stop is not None and not callable(stop):
        check_kind("the stop rule", stop, str, "its text, such as beta:0.95, or a function")
    if cut is not None and not callable(cut):
        check_kind("the path rule", cut, (), "a function")


def _configured(config: EngineConfig, settings: dict[str, Any]) -> EngineConfig:
    check_kind("config", config, EngineConfig, "an EngineConfig")
    known = [field.name for field in fields(config)]
    for name in settings:
        if name not in known:
            raise UsageError(f"there is no engine setting {name!r}", did_you_mean(name, known, "", cutoff=0.6))
    return replace(config, **settings)
