"""Executor on a Ray cluster: one actor with an engine for each node or GPU; nothing is written on the nodes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from math import ceil
from pathlib import Path
from typing import Any

import anyio

from ramify.engine.planning.parallel import USUAL, ParallelLimit
from ramify.engine.rewards.naming import read_reward_name
from ramify.errors import EngineDied, EnginesLost, UsageError
from ramify.files import is_file, is_folder, user_path
from ramify.search.budget import Budget
from ramify.solution import Solution
from ramify.usage import Usage

from ..store.config import BatchConfig
from .actor import EnginePlan, SearchActor, SearchOutcome, file_sizes
from .local import OnUsage, SearchRequest
from .setup import Setup, reward_source

ADDRESS_VARIABLE = "RAY_ADDRESS"
MOST_RESTARTS = 10
"""Number of times that an engine that died is started again."""
USAGE_EVERY_S = 0.5
"""Seconds between two requests for the cost of the searches in progress."""
CLOSE_TIMEOUT_S = 5.0
"""Longest time in seconds for an engine to close; it is killed then."""
_STORE_BYTES = 128 * 1024 * 1024
"""Size of the object store of a cluster that is started here."""
_CLUSTERS_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Environment variable that tells Ray, on any system, whether there are clusters of several machines."""
_GPU_PARTS = 1000
"""GPUs are divided in thousandths, rounded down, so that the shares of one GPU fit it."""


@asynccontextmanager
async def open_ray(config: BatchConfig, setup: Setup) -> AsyncGenerator[RayExecutor]:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine, and open the engines.

    Raises:
        UsageError: if Ray is not installed, the cluster does not answer, or the event loop is not asyncio's.
        RamifyError: if an engine cannot be opened on a node.
    """
    ray = _load_ray()
    plan = _engine_plan(config, setup)
    # Not in a thread: the processes of a cluster that is started here end with the thread that started them.
    with _connected(ray):
        executor = RayExecutor(ray, plan, places(ray.nodes(), config.actors))
        try:
            await executor.open()
            yield executor
        finally:
            with anyio.CancelScope(shield=True):
                await executor.close()


@dataclass(slots=True, eq=False)
class _RemoteEngine:
    """One remote engine: its actor, the numbers of its searches, whether it is ready, and how often it was restarted.

    `failure` is the error with which its models could not be loaded, None if there was none.
    """

    place: Place
    actor: Any
    searches: set[int]
    ready: bool = False
    restarts: int = 0
    failure: Exception | None = None

    @property
    def lost(self) -> bool:
        return self.restarts > MOST_RESTARTS or self.failure is not None


class RayExecutor:
    """Gives each problem to the engine with the fewest searches."""

    def __init__(self, ray: Any, plan: EnginePlan, chosen: list[Place]) -> None:
        self._ray = ray
        self._plan = plan
        self._engines = [_RemoteEngine(place=each, actor=self._start(each), searches=set()) for each in chosen]
        self._numbers = count()
        self._listeners: dict[int, OnUsage] = {}
        self._changed = asyncio.Event()
        self._tasks = set[asyncio.Task[None]]()

    def limit(self, parallel: int | None, budget: Budget) -> ParallelLimit:
        """Return the limit of problems at a time; None means USUAL for each engine, whose speed is not known here."""
        return ParallelLimit((USUAL if parallel is None else parallel) * len(self._engines))

    async def open(self) -> None:
        """Load the models on all nodes.

        Raises:
            RamifyError: the error of the first engine that cannot load them.
            EnginesLost: if an engine dies again and again.
        """
        for engine in self._engines:
            self._revive(engine)
        while not all(engine.ready for engine in self._engines):
            for engine in self._engines:
                if engine.failure is not None:
                    raise engine.failure
                if engine.lost:
                    raise EnginesLost("an engine died again and again while it was loaded", "see the logs of Ray")
            await self._changed.wait()
        self._begin(self._follow_usage())

    async def search(self, request: SearchRequest, on_usage: OnUsage) -> Solution:
        """Search a problem; see Executor.search.

        Raises:
            EngineDied: if the engine that searched it died.
            EnginesLost: if no engine is left.
            RamifyError: if the search fails.
        """
        number, engine = next(self._numbers), await self._least_loaded()
        engine.searches.add(number)
        self._listeners[number] = on_usage
        try:
            outcome: SearchOutcome = await _result(engine.actor.search.remote(number, request))
        except self._ray.exceptions.RayTaskError:
            raise
        except self._ray.exceptions.RayError as error:
            if engine.ready:
                engine.ready = False
                engine.restarts += 1
                self._revive(engine)
            raise EngineDied("the engine that searched this problem died", "--retry-failed tries again") from error
        finally:
            engine.searches.discard(number)
            del self._listeners[number]
        if outcome.usage is not None:
            on_usage(outcome.usage)
        if outcome.error is not None:
            raise outcome.error
        assert outcome.solution is not None
        on_usage(outcome.solution.usage)
        return outcome.solution

    async def close(self) -> None:
        """Close idle engines and kill all others."""
        for task in list(self._tasks):
            task.cancel()
        idle = [engine for engine in self._engines if engine.ready and not engine.searches]
        closing = [engine.actor.close.remote() for engine in idle]
        with suppress(Exception), anyio.move_on_after(CLOSE_TIMEOUT_S):
            await asyncio.gather(*map(_result, closing), return_exceptions=True)
        for engine in self._engines:
            with suppress(Exception):
                self._ray.kill(engine.actor, no_restart=True)

    async def _least_loaded(self) -> _RemoteEngine:
        """Wait for an engine that can take a problem.

        Raises:
            EnginesLost: if no engine is left.
        """
        while True:
            ready = [engine for engine in self._engines if engine.ready]
            if ready:
                return min(ready, key=lambda engine: len(engine.searches))
            if all(engine.lost for engine in self._engines):
                failure = next((each.failure for each in self._engines if each.failure is not None), None)
                why = "died again and again" if failure is None else f"cannot be opened any more ({failure})"
                raise EnginesLost(f"all engines of the cluster {why}", "give the same command again")
            await self._changed.wait()

    def _revive(self, engine: _RemoteEngine) -> None:
        self._begin(self._wait_until_ready(engine))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait_until_ready(self, engine: _RemoteEngine) -> None:
        while not (engine.ready or engine.lost):
            try:
                engine.failure = await _result(engine.actor.open.remote())
                engine.ready = engine.failure is None
            except self._ray.exceptions.ActorUnavailableError:
                await anyio.sleep(USAGE_EVERY_S)
            except self._ray.exceptions.RayActorError:
                # Ray restarts this actor no more, so a new one takes its place.
                engine.restarts += 1
                await anyio.sleep(USAGE_EVERY_S)
                with suppress(Exception):
                    self._ray.kill(engine.actor, no_restart=True)
                engine.actor = self._start(engine.place)
            except Exception as error:
                engine.failure = error
        # Each waiting task holds the event of the time when it began to wait.
        self._changed.set()
        self._changed = asyncio.Event()

    async def _follow_usage(self) -> None:
        """Ask the engines now and then for the cost of their searches so far."""
        while True:
            await anyio.sleep(USAGE_EVERY_S)
            for engine in self._engines:
                if engine.ready and engine.searches:
                    await self._report(engine)

    async def _report(self, engine: _RemoteEngine) -> None:
        with suppress(self._ray.exceptions.RayError):
            found: Mapping[int, Usage] = await _result(engine.actor.usage.remote())
            for number, usage in found.items():
                if number in self._listeners:
                    self._listeners[number](usage)

    def _start(self, place: Place) -> Any:
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(place.node, soft=True)
        made = self._ray.remote(SearchActor).options(
            # Processors are not claimed: an engine that waits for them on a busy cluster would wait for ever.
            num_cpus=0,
            num_gpus=place.gpus,
            max_restarts=MOST_RESTARTS,
            max_task_retries=0,
            scheduling_strategy=strategy,
        )
        return made.remote(self._plan, place.threads)


async def _result(reference: Any) -> Any:
    """Return the result of an actor's call."""
    return await reference


def _load_ray() -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "the executor ray needs the event loop of asyncio", "use anyio.run without a backend"
        ) from None
    # Ray reads the variable when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = import_module("ray")
        import_module("ray.util.scheduling_strategies")
    except ImportError:
        raise UsageError("Ray is not installed", "install it with pip install 'ramify[ray]'") from None
    return ray


@contextmanager
def _connected(ray: Any) -> Generator[None]:
    """Connect to a cluster for the block; if this process is connected already, it stays so."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get(ADDRESS_VARIABLE)
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
    logging.getLogger("ray").setLevel(logging.ERROR)
    with nullcontext() if address else _on_loopback():
        try:
            if address:
                ray.init(address=address, **quiet)
            else:
                ray.init(address="local", include_dashboard=False, object_store_memory=_STORE_BYTES, **quiet)
        except Exception as error:
            where = f"the Ray cluster at {address} does not answer" if address else "Ray cannot be started here"
            raise UsageError(
                f"{where} ({' '.join(str(error).split())})", f"check {ADDRESS_VARIABLE}" if address else "see its logs"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _on_loopback() -> Generator[None]:
    """Let a cluster that is started in the block listen on 127.0.0.1 alone: who reaches its ports can run code.

    Ray takes the machine's outer address for 127.0.0.1, unless it was told that there are no clusters.
    """
    constants: Any = import_module("ray._private.ray_constants")
    before = os.environ.get(_CLUSTERS_VARIABLE), getattr(constants, "ENABLE_RAY_CLUSTER", None)
    os.environ[_CLUSTERS_VARIABLE] = "0"
    constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[_CLUSTERS_VARIABLE]
        else:
            os.environ[_CLUSTERS_VARIABLE] = before[0]


def _engine_plan(config: BatchConfig, setup: Setup) -> EnginePlan:
    reward = reward_source(config, setup)
    model, read = _absolute(config.model), None if reward is None else read_reward_name(reward)
    fallback = None if config.fallback is None else config.fallback.at(_absolute(config.fallback.model))
    described: dict[str, Mapping[str, Any] | None] = {str(model): setup.model}
    if read is not None:
        reward = read.renamed(_absolute)
        for each in read.singles:
            if each.model:
                whole = setup.reward or {}
                described[_absolute(each.model)] = whole["parts"][each.text] if read.parts else setup.reward
    if fallback is not None:
        described[str(fallback.model)] = setup.fallback
    return EnginePlan(model=model, reward=reward, engine=config.engine, fallback=fallback, files=file_sizes(described))


def _absolute(name: str | Path) -> str:
    """Return the name of a model so that it means the same in any working folder."""
    path = user_path(name)
    return str(path.absolute()) if is_file(path) or is_folder(path) else str(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Place of one engine in the cluster.

    `node` is the id of a node of the cluster. `gpus` is the engine's share of GPUs, 0 on nodes without one. `threads`
    is its number of processors on a node without GPUs, None if it may take all.
    """

    node: str
    gpus: float = 0.0
    threads: int | None = None


def places(nodes: Sequence[Mapping[str, Any]], actors: int | None) -> list[Place]:
    """Return the places of the engines: on all GPUs if there are any, else on all nodes.

    `nodes` is the result of `ray.nodes()`. `actors` is the number of engines, None for one on each GPU or node; with
    more engines than GPUs or nodes, some share one.

    Raises:
        UsageError: if no node is alive.
    """
    alive = [each for each in nodes if each["Alive"]]
    if not alive:
        raise UsageError("the Ray cluster has no node that is alive", "start one, or unset RAY_ADDRESS")
    units = [each["NodeID"] for each in alive for _ in range(int(each["Resources"].get("GPU", 0)))]
    on_gpus = bool(units)
    units = units or [each["NodeID"] for each in alive]
    count = len(units) if actors is None else actors
    chosen = [units[number % len(units)] for number in range(count)]
    if on_gpus:
        share = 1.0 if count <= len(units) else _GPU_PARTS // ceil(count / len(units)) / _GPU_PARTS
        return [Place(node=node, gpus=share) for node in chosen]
    processors = {each["NodeID"]: int(each["Resources"].get("CPU", 0)) for each in alive}
    crowd = Counter(chosen)
    return [Place(node=node, threads=_processors_each(processors[node], crowd[node])) for node in chosen]


def _processors_each(processors: int, engines: int) -> int | None:
    """Return the processors of each engine of a node, None if it is the only one or their number is not known."""
    return max(1, processors // engines) if engines > 1 and processors else None
