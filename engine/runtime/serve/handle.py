"""The engine's view of one run's tree in a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from ramify.errors import EngineClosed, UsageError
from ramify.sampling_params import check_sampling

from ..messages import ROOT, LaneRequest, LaneResult, ReadRequest, ReadResult
from .books import RunBooks, Wait, ignore

if TYPE_CHECKING:
    from .loaded_model import LoadedModel

END_S = 5.0
"""How long requests that nobody wants any more may take to end."""


class RunHandle:
    """One run's tree in a loaded model. Made by `LoadedModel.open_run`."""

    def __init__(self, model: LoadedModel, number: int, books: RunBooks) -> None:
        self._model = model
        self._number = number
        self._books = books
        self._closed = False

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens that every path starts with."""
        return self._books.prompt

    def knows(self, node: int) -> bool:
        """Tell whether a node is in the tree."""
        return node == ROOT or node in self._books.nodes

    async def expand(
        self,
        lanes: Sequence[LaneRequest],
        *,
        allowance: int | None,
        on_result: Callable[[LaneResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        """Generate children and return when the last is done; `on_result` is called as each completes.

        The lanes share `allowance` tokens, None for no limit. `on_progress` is called at most ten times a second with
        (child, tokens so far, text so far), for lanes that ask for it. If the caller is cancelled, the lanes are cut,
        and their results are not delivered.

        Raises:
            ModelCrashed: if the worker died twice over it.
            UsageError: if a parent is not known, a child is in use, or a limit is out of range.
            EngineClosed: if the run or the engine is closed.
        """
        self._check_lanes(lanes, allowance)
        wait = Wait({lane.child: lane for lane in lanes}, on_result, allowance, on_progress)
        await self._do(wait, "expand", list(lanes), allowance)

    async def read(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Return logits along paths, in the order of the requests.

        Raises:
            ModelCrashed: if the worker died twice over it.
            UsageError: if a request reads what is not there.
            EngineClosed: if the run or the engine is closed.
        """
        self._check_reads(requests)
        found: dict[int, ReadResult] = {}

        def take(result: ReadResult) -> None:
            found[result.node] = result

        await self._do(Wait({each.node: each for each in requests}, take), "read", list(requests))
        return [found[each.node] for each in requests]

    def adopt(self, node: int, parent: int, tokens: Sequence[int], *, generated: bool) -> None:
        """Take in a node that was not generated here; `generated` if this model wrote it in another run.

        Raises:
            UsageError: if its parent is not known, its number is in use, or a token is not in the vocabulary.
        """
        self._check_new(parent, node)
        self._model.check_tokens(tokens)
        self._model.send("restore", self._number, node, parent, tuple(tokens), generated)
        self._books.nodes[node] = (parent, tuple(tokens))

    def interrupt(self) -> None:
        """End all lanes of the run; each still gives its result, with reason "cancelled"."""
        for wait in self._books.waits:
            wait.interrupted = True
        self._model.tell("interrupt", self._number)

    def release(self, nodes: Sequence[int]) -> None:
        """Free what is kept for nodes that will not be expanded again."""
        self._model.tell("release", self._number, list(nodes))

    def close(self) -> None:
        """Free the run; whoever still waits for results of it gets EngineClosed."""
        if self._closed:
            return
        self._closed = True
        self._model.fail(EngineClosed("the run was closed meanwhile"), run=self._number)
        self._model.forget(self._number)
        self._model.tell("close_run", self._number)

    async def _do(self, wait: Wait, kind: str, requests: Sequence[Any], *rest: Any) -> None:
        if self._closed:
            raise EngineClosed("the run is closed", "open a new one")
        if not wait.left:
            return
        # In this order: if the worker has to be started for it, it must not be told twice.
        self._model.send(kind, self._number, requests, *rest)
        self._books.waits.append(wait)
        try:
            await wait.done.wait()
        except BaseException:
            await self._abandon(wait)
            raise
        if wait.failure is not None:
            await self._abandon(wait)
            raise wait.failure
        if wait.error is not None:
            raise wait.error

    async def _abandon(self, wait: Wait) -> None:
        """End what nobody wants any more, and wait until it has ended."""
        wait.take, wait.progress, wait.abandoned = ignore, None, True
        if wait not in self._books.waits:
            return
        wait.done = anyio.Event()
        self._model.tell("interrupt", self._number, frozenset(wait.left))
        with anyio.move_on_after(END_S, shield=True):
            await wait.done.wait()

    def _check_lanes(self, lanes: Sequence[LaneRequest], allowance: int | None) -> None:
        if allowance is not None and allowance < 0:
            raise UsageError(f"the allowance is {allowance} tokens", "use 0 or more, or None")
        if lanes and (self._model.config.states or self._model.config.rank):
            raise UsageError("this model was loaded for reading alone", "load it a second time to generate")
        asked = set[int]()
        for lane in lanes:
            self._check_new(lane.parent, lane.child)
            if lane.child in asked:
                raise _taken(lane.child)
            if lane.max_tokens < 1:
                raise UsageError(f"max_tokens is {lane.max_tokens}", "use 1 or more")
            check_sampling(lane.sampling)
            asked.add(lane.child)

    def _check_new(self, parent: int, child: int) -> None:
        if parent != ROOT and parent not in self._books.nodes:
            raise UsageError(f"node {parent} is not in this run", "expand nodes whose step has ended")
        if child == ROOT or child in self._books.nodes or any(child in wait.left for wait in self._books.waits):
            raise _taken(child)

    def _check_reads(self, requests: Sequence[ReadRequest]) -> None:
        size = self._model.info.vocabulary_size
        if len({each.node for each in requests}) != len(requests):
            raise UsageError("a node is read twice in one call", "ask for all its positions at once")
        for each in requests:
            self._model.check_tokens(each.tokens)
            if not each.read or min(each.read) < 0 or max(each.read) >= len(each.tokens):
                raise UsageError(f"node {each.node} is read beyond its path", "read at 0 up to its length minus one")
            if not all(0 <= id < size for id in each.ids):
                raise UsageError(f"node {each.node} is read at ids outside the vocabulary", "use the model's own ids")
            config = self._model.config
            if (each.what == "states", each.what == "rank") != (config.states, config.rank):
                raise UsageError(f"{each.what} are read of a model not loaded for them", "load it with states=...")
            if each.what == "rank" and each.read != (len(each.tokens) - 1,):
                raise UsageError(f"node {each.node} is ranked before its end", "read its last position")
            if each.what == "tokens" and max(each.read) + 1 >= len(each.tokens):
                raise UsageError(f"node {each.node} has no token after its last one", "read before the last token")


def _taken(child: int) -> UsageError:
    return UsageError(f"the number {child} is taken in this run", "give every child a number of its own")
