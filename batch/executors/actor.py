"""One engine on a node of a cluster; knows nothing of Ray, which makes an actor of it."""

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
from ramify.solution import Solution
from ramify.usage import Usage

from .searching import Searcher, SearchRequest, late_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePlan:
    """What an engine is made of; `files` has the sizes in bytes of the models that are files, by what names them."""

    model: str | Path
    reward: str | Path | None
    engine: EngineConfig
    fallback: Fallback | None
    files: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a search: a solution, or an error and what it had cost."""

    solution: Solution | None = None
    error: Exception | None = None
    usage: Usage | None = None


class SearchActor:
    """Holds an open engine and searches with it, any number of problems at a time.

    Errors are returned, not raised, so that those of a search are told from those of the cluster.
    """

    def __init__(self, plan: EnginePlan, threads: int | None) -> None:
        self._plan = plan
        own = plan.engine
        self._settings = replace(own, threads=threads) if own.threads is None else own
        self._searcher: Searcher | None = None
        self._failure: Exception | None = None
        self._opened = asyncio.Event()
        self._closing = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None
        self._usage: dict[int, Usage] = {}

    async def open(self) -> Exception | None:
        """Load the models, unless that is done; return why that failed, None if it did not."""
        if self._holder is None:
            self._holder = asyncio.get_running_loop().create_task(self._hold())
        await self._opened.wait()
        return self._failure

    async def search(self, ticket: int, request: SearchRequest) -> Outcome:
        """Search a problem; `ticket` is the number under which `usage` tells what it has cost so far."""
        failure = await self.open()
        if failure is not None:
            return Outcome(error=failure)
        assert self._searcher is not None

        def note(usage: Usage) -> None:
            self._usage[ticket] = usage

        try:
            return Outcome(solution=await self._searcher.search(request, note))
        except Exception as error:
            return Outcome(error=portable(error), usage=self._usage.get(ticket))
        finally:
            self._usage.pop(ticket, None)

    async def usage(self) -> dict[int, Usage]:
        """Return what the searches in progress have cost so far, by ticket."""
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
                self._searcher = await self._open(stack)
                self._opened.set()
                await self._closing.wait()
        except Exception as error:
            self._failure = portable(error)
        finally:
            self._opened.set()

    async def _open(self, stack: AsyncExitStack) -> Searcher:
        plan = self._plan
        await asyncio.to_thread(check_files, plan.files)
        engine = await stack.enter_async_context(Engine(plan.model, plan.reward, config=self._settings))
        late = late_engine(plan.fallback, plan.reward, self._settings)
        return await stack.enter_async_context(Searcher(engine, plan.fallback, late))


def check_files(files: Mapping[str, int]) -> None:
    """Make sure that this node has the same model files as the one that started the batch.

    Raises:
        ModelLoadError: if one is missing, or has another size.
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
    """Return the sizes of models that are files, from their descriptions in the manifest, by what names them."""
    found = dict[str, int]()
    for name, each in descriptions.items():
        if each is not None and each["bytes"] is not None and not is_remote(name) and not Path(name).is_dir():
            found[name] = int(each["bytes"])
    return found


def portable(error: Exception) -> Exception:
    """Return an error that can be sent to another process: itself if it can, else one with its text."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return UnpicklableError(f"{type(error).__name__}: {error}")
    if not isinstance(error, RamifyError):
        error.add_note("".join(traceback.format_exception(error)))
    return error
