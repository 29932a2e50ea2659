"""Token tree of one run, at the engine's end of the worker's pipe.

It hands out the ids of nodes beside the search's own, carries the requests about its nodes, and keeps everything that
a new worker must be told after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio

from ramify.errors import EngineClosed, RamifyError, UsageError
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat, check_sampling

from ..messages import (
    ROOT,
    Adopt,
    CloseRun,
    Expand,
    Interrupt,
    OpenRun,
    Progress,
    Read,
    Release,
    StepRequest,
    StepResult,
)

if TYPE_CHECKING:
    from .loaded_model import LoadedModel

END_S = 5.0
"""Longest time in seconds that abandoned requests may take to end."""


@dataclass(eq=False, slots=True)
class PendingCall:
    """A call that waits for results.

    `message` was sent to the worker. `left` are the requests whose results are missing, by id. `allowance` is the
    number of tokens that the missing ones may still generate together, None for no limit. Of `interrupted` calls the
    requests have been asked to end; those of `abandoned` calls too, and their results are dropped. `error` comes from
    the runtime, `failure` from a caller's own callback.
    """

    message: Expand | Read
    left: dict[int, StepRequest | ReadRequest]
    take: Callable[[Any], None]
    allowance: int | None = None
    progress: Callable[[int, int, str], None] | None = None
    done: anyio.Event = field(default_factory=anyio.Event)
    error: RamifyError | None = None
    failure: Exception | None = None
    interrupted: bool = False
    abandoned: bool = False

    def fail(self, failure: Exception) -> None:
        """End the call with the exception that a callback raised."""
        self.failure = failure
        self.done.set()


class TokenTree:
    """Nodes of one run in a loaded model. Made by `LoadedModel.open_run`.

    Node 0 is the prompt. A search numbers its own nodes from 1; `new_id` gives ids for nodes beside them.
    """

    def __init__(self, model: LoadedModel, opened: OpenRun) -> None:
        self._model = model
        self._opened = opened
        self._run = opened.run
        # Parent and tokens of each node, the prompt excepted.
        self._nodes: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._calls: list[PendingCall] = []
        self._last_id = 0
        self._closed = False
        self.expected_paths = 0
        """Number of paths that the run is going to have at a time, 0 if its first request tells."""
        self.counts_reused = True
        """True if steps from a store use up the allowance that they share with others."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """Tokens that every path starts with."""
        return self._opened.prompt

    @property
    def pending(self) -> bool:
        """True if a call waits for results."""
        return bool(self._calls)

    def knows(self, node: int) -> bool:
        """Tell whether a node is in the tree."""
        return node == ROOT or node in self._nodes

    def new_id(self) -> int:
        """Return an id that no other node of this tree has, nor any node of a search."""
        # Searches count upwards.
        self._last_id -= 1
        return self._last_id

    async def expand(
        self,
        requests: Sequence[StepRequest],
        *,
        allowance: int | None,
        on_result: Callable[[StepResult], None],
        on_progress: Callable[[int, int, str], None] | None = None,
        step: StepFormat | None = None,
    ) -> None:
        """Generate children and return when the last is done; `on_result` is called as each completes.

        `step` says where steps end, None means only where the model ends its text. The children share `allowance`
        tokens, None for no limit. `on_progress` is called at most ten times a second with (child, tokens so far, text
        so far). If the caller is cancelled, the children are cut, and their results are not delivered.

        Raises:
            ModelCrashed: if the worker died twice over it.
            UsageError: if a parent is not known, a child is in use, or a limit is out of range.
            EngineClosed: if the run or the engine is closed.
        """
        self._check_steps(requests, allowance)
        sent = tuple(replace(each, path=(), prefix="", turns=(), calls_tools=False) for each in requests)
        watched = on_progress is not None
        message = Expand(self._model.number, self._run, sent, step, allowance, watched, self.expected_paths)
        await self._call(message, {each.child: each for each in sent}, on_result, allowance, on_progress)

    async def read(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Return outputs along paths, in the order of the requests.

        Raises:
            ModelCrashed: if the worker died twice over it.
            UsageError: if a request reads outside its path or the vocabulary, or other outputs than the model gives.
            EngineClosed: if the run or the engine is closed.
        """
        self._check_reads(requests)
        found: dict[int, ReadResult] = {}

        def take(result: ReadResult) -> None:
            found[result.node] = result

        message = Read(self._model.number, self._run, tuple(requests))
        await self._call(message, {each.node: each for each in requests}, take)
        return [found[each.node] for each in requests]

    def adopt(self, node: int, parent: int, tokens: Sequence[int], *, generated: bool) -> None:
        """Add a node that was not generated here; `generated` says that this model wrote it in another run.

        Raises:
            UsageError: if its parent is not known, its id is in use, or a token is not in the vocabulary.
        """
        self._check_new(parent, node)
        self._model.check_tokens(tokens)
        # In this order: if the worker has to be started for it, it must not be told twice.
        self._model.send(Adopt(self._model.number, self._run, node, parent, tuple(tokens), generated))
        self._nodes[node] = (parent, tuple(tokens))

    def interrupt(self) -> None:
        """End all children that are being generated; each still gives its result, with FinishReason.CANCELLED."""
        for call in self._calls:
            call.interrupted = True
        self._model.tell(Interrupt(self._model.number, self._run))

    def release(self, nodes: Iterable[int]) -> None:
        """Free the state kept for nodes that will not be expanded again."""
        self._model.tell(Release(self._model.number, self._run, tuple(nodes)))

    def close(self) -> None:
        """Free the run; calls that still wait for results of it raise EngineClosed."""
        if self._closed:
            return
        self._closed = True
        self.fail(EngineClosed("the run was closed meanwhile"))
        self._model.forget(self._run)
        self._model.tell(CloseRun(self._model.number, self._run))

    # Calls

    async def _call(
        self,
        message: Expand | Read,
        requests: dict[int, StepRequest] | dict[int, ReadRequest],
        take: Callable[[Any], None],
        allowance: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> None:
        if self._closed:
            raise EngineClosed("the run is closed", "open a new one")
        if not requests:
            return
        # In this order: if the worker has to be started for it, it must not be told twice.
        self._model.send(message)
        call = PendingCall(message, {**requests}, take, allowance, progress)
        self._calls.append(call)
        try:
            await call.done.wait()
        except BaseException:
            await self._abandon(call)
            raise
        if call.failure is not None:
            await self._abandon(call)
            raise call.failure
        if call.error is not None:
            raise call.error

    async def _abandon(self, call: PendingCall) -> None:
        """End the requests of a call whose caller is gone, and wait until they have ended."""
        call.take, call.progress, call.abandoned = _ignore, None, True
        if call not in self._calls:
            return
        call.done = anyio.Event()
        self._model.tell(Interrupt(self._model.number, self._run, frozenset(call.left)))
        with anyio.move_on_after(END_S, shield=True):
            await call.done.wait()

    # Replies

    def take_result(self, result: StepResult | ReadResult) -> None:
        """Give a result to the call that waits for it."""
        id = result.child if isinstance(result, StepResult) else result.node
        call = next((each for each in self._calls if id in each.left), None)
        if call is None:
            return
        request = call.left.pop(id)
        if isinstance(result, StepResult) and isinstance(request, StepRequest):
            self._nodes[id] = (request.parent, result.tokens)
            if call.allowance is not None:
                call.allowance -= result.generated_tokens
        try:
            call.take(result)
        except Exception as error:
            call.take = _ignore
            call.fail(error)
        if not call.left:
            self._calls.remove(call)
            call.done.set()

    def take_progress(self, report: Progress) -> None:
        """Give a report to the call that watches the child."""
        for call in self._calls:
            if report.child not in call.left or call.progress is None:
                continue
            try:
                call.progress(report.child, report.tokens, report.text)
            except Exception as error:
                call.progress = None
                call.fail(error)

    def fail(self, error: RamifyError) -> None:
        """End all calls with an error."""
        for call in self._calls:
            call.error = error
            call.done.set()
        self._calls.clear()

    def replay(self) -> None:
        """Send a new worker everything that it needs to go on with the run."""
        model, run = self._model.number, self._run
        self._model.send(self._opened)
        for node, (parent, tokens) in self._nodes.items():
            if self._is_told(node):
                self._model.send(Adopt(model, run, node, parent, tokens, generated=True))
        for call in [each for each in self._calls if each.abandoned]:
            self._calls.remove(call)
            call.done.set()
        for call in self._calls:
            left = call.left.values()
            if isinstance(call.message, Expand):
                steps = tuple(each for each in left if isinstance(each, StepRequest))
                self._model.send(replace(call.message, requests=steps, allowance=call.allowance))
                if call.interrupted:
                    self._model.send(Interrupt(model, run, frozenset(call.left)))
            else:
                # The parents of reads may be nodes that only the former worker had.
                reads = tuple(replace(each, parent=None) for each in left if isinstance(each, ReadRequest))
                self._model.send(replace(call.message, requests=reads))

    def _is_told(self, node: int) -> bool:
        """Return whether the worker knows a node."""
        return True

    # Checks

    def _check_steps(self, requests: Sequence[StepRequest], allowance: int | None) -> None:
        if allowance is not None and allowance < 0:
            raise UsageError(f"the allowance is {allowance} tokens", "use 0 or more, or None")
        if requests and (self._model.config.states or self._model.config.rank):
            raise UsageError("this model was loaded for reading alone", "load it a second time to generate")
        asked = set[int]()
        for request in requests:
            self._check_new(request.parent, request.child)
            if request.child in asked:
                raise _taken(request.child)
            if request.max_tokens < 1:
                raise UsageError(f"max_tokens is {request.max_tokens}", "use 1 or more")
            check_sampling(request.sampling)
            asked.add(request.child)

    def _check_new(self, parent: int, child: int) -> None:
        if not self.knows(parent):
            raise UsageError(f"node {parent} is not in this run", "expand nodes whose step has ended")
        if self.knows(child) or any(child in call.left for call in self._calls):
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
            if (each.what in ("states", "pooled"), each.what == "rank") != (config.states, config.rank):
                raise UsageError(f"{each.what} are read of a model not loaded for them", "load it with states=...")
            if each.what == "rank" and each.read != (len(each.tokens) - 1,):
                raise UsageError(f"node {each.node} is ranked before its end", "read its last position")
            if each.what == "pooled" and (sum(each.groups) != len(each.read) or min(each.groups, default=-1) < 0):
                raise UsageError(f"the groups of node {each.node} are not its positions", "put each in one group")
            if each.what in ("tokens", "pooled") and max(each.read) + 1 >= len(each.tokens):
                raise UsageError(f"node {each.node} has no token after its last one", "read before the last token")


def _taken(child: int) -> UsageError:
    return UsageError(f"the number {child} is taken in this run", "give every child a number of its own")


def _ignore(result: Any) -> None:
    """Drop the result of an abandoned call."""
