"""Keeps engines loaded, each entered and left in one task that outlives every screen.

Tasks here are never cancelled natively: that would pierce the engine's wait for native code. Each owns a cancel scope.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anyio

from ramify.errors import LoadingCancelled

if TYPE_CHECKING:
    from ramify.engine.engine import Engine

    from .spec import Plan

KEPT_ENGINES = 2
"""Engines that stay loaded when nothing uses them."""
MakeEngine = Callable[["Plan"], "Engine"]


def make_engine(plan: Plan) -> Engine:
    """Return an engine as planned, not yet loaded."""
    from ramify.engine.engine import Engine

    return Engine(model=plan.model, reward=plan.reward, **plan.engine_options)


class EngineHost:
    """Engines by what they were planned with; all methods belong to the event loop's thread."""

    def __init__(self, make: MakeEngine = make_engine) -> None:
        self._make = make
        self._kept: dict[str, _Kept] = {}

    async def acquire(self, plan: Plan) -> Engine:
        """Return a loaded engine, loading it first if need be; `release` it afterwards.

        Raises:
            RamifyError: if it cannot be loaded, or loading was called off.
        """
        key = _key(plan)
        kept = self._kept.get(key)
        if kept is None or kept.over:
            await self._make_room()
            kept = self._kept[key] = _Kept(lambda: self._make(plan))
        kept.users += 1
        try:
            return await kept.engine()
        except BaseException:
            self.release(plan, broken=kept.failed)
            raise

    def release(self, plan: Plan, *, broken: bool = False) -> None:
        """Say that an engine is no longer used; a broken one is loaded afresh the next time."""
        key = _key(plan)
        kept = self._kept.get(key)
        if kept is None:
            return
        kept.users = max(0, kept.users - 1)
        if broken:
            del self._kept[key]
            kept.leave()

    def loaded(self, plan: Plan) -> bool:
        """Tell whether the engine for this plan is ready."""
        kept = self._kept.get(_key(plan))
        return kept is not None and kept.ready

    async def close(self, timeout_s: float) -> bool:
        """Leave all engines; False if some were still closing after the timeout."""
        tasks = [kept.leave() for kept in self._kept.values()]
        self._kept.clear()
        if not tasks:
            return True
        _, waiting = await asyncio.wait(tasks, timeout=timeout_s)
        return not waiting

    async def _make_room(self) -> None:
        idle = [key for key, kept in self._kept.items() if not kept.users]
        for key in idle[: max(0, len(self._kept) - KEPT_ENGINES + 1)]:
            await asyncio.wait([self._kept.pop(key).leave()])


class _Kept:
    """One engine and the task that keeps it open."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self.users = 0
        self.failed = False
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

    def leave(self) -> asyncio.Task[None]:
        """Close the engine, or call off its loading; the task ends when that is done."""
        self._scope.cancel()
        self._fail(LoadingCancelled("loading was called off", "start the run again"))
        return self._task

    async def _keep(self) -> None:
        with self._scope:
            try:
                # What the engine imports takes a good part of a second, which must not stop the screen.
                await anyio.to_thread.run_sync(importlib.import_module, "ramify.engine.engine")
                async with self._make() as engine:
                    if not self._engine.done():
                        self._engine.set_result(engine)
                    await anyio.sleep_forever()
            except Exception as error:
                self.failed = True
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._engine.done():
            self._engine.set_exception(error)
            # Nobody may be waiting any more; that is no reason for a warning.
            self._engine.exception()


def _key(plan: Plan) -> str:
    settings: dict[str, Any] = {"model": plan.model, "reward": plan.reward, **plan.engine_options}
    return repr(sorted(settings.items(), key=lambda item: item[0]))
