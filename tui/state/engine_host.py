"""Loaded engines, each entered and left in a task of its own that no screen owns.

These tasks are cancelled by their cancel scopes only: `Task.cancel` would interrupt the wait for native code.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from ramify.errors import LoadingCancelled
from ramify.events import LoadingFiles

if TYPE_CHECKING:
    from ramify.engine.engine import Engine

    from .spec import Plan

KEPT_ENGINES = 2
"""Number of engines that stay loaded while no run uses them."""
MakeEngine = Callable[["Plan"], "Engine"]


def make_engine(plan: Plan) -> Engine:
    """Return an engine as planned, not yet loaded."""
    from ramify.engine.engine import Engine

    return Engine(model=plan.model, reward=plan.reward, **plan.engine_options)


def check_model(plan: Plan) -> None:
    """Check that the policy's file is there, without the import of the engine, which takes a second.

    Raises:
        ModelLoadError: if there is no such model or file.
        UsageError: if its name is malformed.
    """
    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote

    if not is_remote(plan.model):
        resolve_model(plan.model)


class EngineHost:
    """Engines by the settings that they were loaded with; call its methods in the thread of the event loop."""

    def __init__(self, make: MakeEngine = make_engine) -> None:
        self._make = make
        self._kept: dict[str, _LoadedEngine] = {}

    async def acquire(self, plan: Plan) -> Engine:
        """Return a loaded engine, loading it first if need be; `release` it afterwards.

        Raises:
            RamifyError: if it cannot be loaded, or loading was called off.
        """
        key = _key(plan)
        kept = self._kept.get(key)
        if kept is None or kept.over:
            await self._make_room()
            # Another run may have begun to load it meanwhile.
            kept = self._kept.get(key)
        if kept is None or kept.over:
            kept = self._kept[key] = _LoadedEngine(lambda: self._make(plan))
        kept.users += 1
        try:
            return await kept.engine()
        except BaseException:
            self.release(plan, broken=kept.failed)
            raise

    def release(self, plan: Plan, *, broken: bool = False) -> None:
        """Give an engine back after a run; a broken one is loaded anew the next time."""
        key = _key(plan)
        kept = self._kept.get(key)
        if kept is None:
            return
        kept.users = max(0, kept.users - 1)
        if broken:
            del self._kept[key]
            kept.close()

    def loading_text(self, plan: Plan) -> str:
        """Return the files that are being loaded for this plan with their progress, "" if none is."""
        kept = self._kept.get(_key(plan))
        return "" if kept is None or kept.ready else kept.files.text

    def loaded(self, plan: Plan) -> bool:
        """Tell whether the engine for this plan is ready."""
        kept = self._kept.get(_key(plan))
        return kept is not None and kept.ready

    async def close(self, timeout_s: float) -> bool:
        """Close all engines; False if some were still closing after the timeout."""
        tasks = [kept.close() for kept in self._kept.values()]
        self._kept.clear()
        if not tasks:
            return True
        _, waiting = await asyncio.wait(tasks, timeout=timeout_s)
        return not waiting

    async def _make_room(self) -> None:
        idle = [key for key, kept in self._kept.items() if not kept.users]
        for key in idle[: max(0, len(self._kept) - KEPT_ENGINES + 1)]:
            await asyncio.wait([self._kept.pop(key).close()])


class _LoadedEngine:
    """An engine and the task that keeps it open."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self.users = 0
        self.failed = False
        self.files = LoadingFiles()
        self._make = make
        self._scope = anyio.CancelScope()
        self._engine: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep(), name="ramify-engine")

    @property
    def ready(self) -> bool:
        return self._engine.done() and not self.over

    @property
    def over(self) -> bool:
        return self._task.done() or self._scope.cancel_called

    async def engine(self) -> Engine:
        """Wait until it is loaded."""
        return await asyncio.shield(self._engine)

    def close(self) -> asyncio.Task[None]:
        """Close the engine, or call off its loading; the task ends when that is done."""
        self._scope.cancel()
        self._fail(LoadingCancelled("loading was called off", "start the run again"))
        return self._task

    async def _keep(self) -> None:
        with self._scope:
            try:
                # Importing the engine takes a good part of a second, in which the screen must go on.
                await anyio.to_thread.run_sync(importlib.import_module, "ramify.engine.engine")
                made = self._make()
                made.on_loading = self.files.take
                async with made as engine:
                    if not self._engine.done():
                        self._engine.set_result(engine)
                    await anyio.sleep_forever()
            except Exception as error:
                self.failed = True
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._engine.done():
            self._engine.set_exception(error)
            # Marks the error as seen, since nobody may be waiting for it any more.
            self._engine.exception()


def _key(plan: Plan) -> str:
    settings: dict[str, Any] = {"model": plan.model, "reward": plan.reward, **plan.engine_options}
    return repr(sorted(settings.items(), key=lambda item: item[0]))
