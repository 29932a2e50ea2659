"""Actor that holds one engine on a node of a cluster; it does not depend on Ray."""

from __future__ import annotations

import asyncio
import pickle
import platform
import traceback
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ramify.config import EngineConfig
from ramify.engine.engine import Engine
from ramify.engine.ensembles.fallback import Fallback
from ramify.engine.library.catalog import resolve_model
from ramify.engine.policy.remote.address import is_remote
from ramify.errors import ModelLoadError, RamifyError, UnpicklableError
from ramify.files import is_folder
from ramify.solution import Solution
from ramify.usage import Usage

from .local import LocalExecutor, SearchRequest, late_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """The models and settings of an engine.

    `reward` and `fallback` are None where there is none. `files` holds the sizes in bytes of the models that are
    files, by model name.
    """

    model: str | Path
    reward: str | Path | None
    engine: EngineConfig
    fallback: Fallback | None
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOutcome:
    """The result of a search: a solution, or an error with the usage until then (None if unknown)."""

    solution: Solution | None = None
    error: Exception | None = None
    usage: Usage | None = None


class SearchActor:
    """Holds an open engine and searches with it, any number of problems at a time.

    Errors of a search are returned, not raised, because a raised error means that the cluster failed.
    """

    def __init__(self, plan: EnginePlan, threads: int | None) -> None:
        self._plan = plan
        own = plan.engine
        self._settings = replace(own, threads=threads) if own.threads is None else own
        self._executor: LocalExecutor | None = None
        self._failure: Exception | None = None
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None
        self._usage: dict[int, Usage] = {}

    async def open(self) -> Exception | None:
        """Load the models once; return the error with which that failed, None if it did not."""
        if self._holder is None:
            self._holder = asyncio.get_running_loop().create_task(self._hold())
        await self._opened.wait()
        return self._failure

    async def search(self, number: int, request: SearchRequest) -> SearchOutcome:
        """Search a problem; `usage` reports its cost so far under `number`."""
        failure = await self.open()
        if failure is not None:
            return SearchOutcome(error=failure)
        assert self._executor is not None

        def note(usage: Usage) -> None:
            self._usage[number] = usage

        try:
            return SearchOutcome(solution=await self._executor.search(request, note))
        except Exception as error:
            return SearchOutcome(error=portable(error), usage=self._usage.get(number))
        finally:
            self._usage.pop(number, None)

    async def usage(self) -> dict[int, Usage]:
        """Return the cost so far of the searches in progress, by number."""
        return dict(self._usage)

    async def close(self) -> None:
        """Free the models."""
        self._closing.set()
        if self._holder is not None:
            await self._holder

    async def _hold(self) -> None:
        # An engine has to be closed by the task that opened it, and each call to an actor is a task of its own.
        try:
            async with AsyncExitStack() as stack:
                self._executor = await self._open(stack)
                self._opened.set()
                await self._closing.wait()
        except Exception as error:
            self._failure = portable(error)
        finally:
            self._opened.set()

    async def _open(self, stack: AsyncExitStack) -> LocalExecutor:
        plan = self._plan
        await asyncio.to_thread(check_files, plan.files)
        engine = await stack.enter_async_context(Engine(plan.model, plan.reward, config=self._settings))
        late = late_engine(plan.fallback, plan.reward, self._settings)
        return await stack.enter_async_context(LocalExecutor(engine, plan.fallback, late))


def check_files(files: Mapping[str, int]) -> None:
    """Check that this node has the same model files as the node that started the batch; `files` holds their bytes.

    Raises:
        ModelLoadError: if a file is missing or has another size.
    """
    for name, size in files.items():
        node = platform.node()
        try:
            found = resolve_model(name).path.stat().st_size
        except (RamifyError, OSError) as error:
            raise ModelLoadError(
                f"the node {node} does not have the model {name}", "put it at the same place on every node"
            ) from error
        if found != size:
            raise ModelLoadError(
                f"the model {name} has {found} bytes on the node {node} and {size} here",
                "put the same file on every node",
            )


def file_sizes(descriptions: Mapping[str, Mapping[str, Any] | None]) -> dict[str, int]:
    """Return the bytes of the models that are files, by name; `descriptions` are those of the manifest."""
    found = dict[str, int]()
    for name, each in descriptions.items():
        if each is not None and each["bytes"] is not None and not is_remote(name) and not is_folder(Path(name)):
            found[name] = int(each["bytes"])
    return found


def portable(error: Exception) -> Exception:
    """Return the error itself if it can be sent to another process, else an UnpicklableError with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return UnpicklableError(f"{type(error).__name__}: {error}")
    if not isinstance(error, RamifyError):
        error.add_note("".join(traceback.format_exception(error)))
    return error
