"""Runs of a server: those in progress, the last that have ended, and the events for their watchers."""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from enum import StrEnum, auto
from http import HTTPStatus
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from ramify.engine.run import Run
from ramify.events import BudgetUsed, Event, RunFinished, RunStarted
from ramify.search.budget import Budget
from ramify.search.registry import strategy_to_dict
from ramify.search.strategy import Strategy
from ramify.search.votes import Vote, VoteRule, vote_posterior, weighted_posteriors
from ramify.solution import Solution

from .api_errors import ApiError

WATCHER_EVENTS = 4096
"""Events that wait for a slow watcher; one that is further behind is cut off."""
NODE_BYTES = 1024
"""Memory of a node without its tokens and its text."""
TOKEN_BYTES = 36
"""Memory of a token: a number and its place in a tuple."""
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


class RunStatus(StrEnum):
    """Status of a run."""

    QUEUED = auto()
    """It waits for its turn."""
    RUNNING = auto()
    """It searches."""
    FINISHED = auto()
    """It has a solution."""
    FAILED = auto()
    """It ended with an error."""
    CANCELLED = auto()
    """Its client went away."""


@dataclass(eq=False, slots=True, kw_only=True)
class ServedRun:
    """A run of a server, and the request that asked for it.

    `owner` is the caller that asked. `run` is None while it waits and after it has ended, `solution` None until it has
    one. `prompt_tokens` is the length of the prompt, 0 until it is known.
    """

    id: str
    owner: str
    model: str
    question: str
    strategy: Strategy
    budget: Budget
    created: float = field(default_factory=time.time)
    queued_s: float = 0.0
    status: RunStatus = RunStatus.QUEUED
    run: Run | None = None
    solution: Solution | None = None
    error: str | None = None
    prompt_tokens: int = 0
    fraction: float | None = None
    started: anyio.Event = field(default_factory=anyio.Event)
    _last_vote: Vote | None = None
    _watchers: set[MemoryObjectSendStream[dict[str, Any]]] = field(
        default_factory=set[MemoryObjectSendStream[dict[str, Any]]]
    )

    @property
    def live(self) -> Run:
        """The run in progress.

        Raises:
            ApiError: if it has not begun, or has ended.
        """
        if self.run is None or self.run.finished:
            raise ApiError(HTTPStatus.CONFLICT, f"the run {self.id} is {self.status}", code="run_not_running")
        return self.run

    def begin(self, run: Run) -> None:
        """Note that the run searches; those who watched it wait get its state anew, with the beginning of its tree."""
        self.run, self.status = run, RunStatus.RUNNING
        if self._watchers:
            self._tell({"type": "snapshot", "run": self.to_dict(tree=True)})

    @property
    def vote(self) -> Vote | None:
        """The vote over the paths that have finished; None before the run has begun."""
        return self._last_vote if self.run is None else self.run.vote

    def take(self, events: Sequence[Event]) -> None:
        """Take events of the run, and pass them on to those who watch."""
        for event in events:
            match event:
                case RunStarted():
                    self.prompt_tokens = event.prompt_tokens
                    self.started.set()
                case BudgetUsed():
                    self.fraction = event.fraction
                case RunFinished():
                    self.solution = event.solution
                case _:
                    pass
            if self._watchers:
                self._tell(event_to_dict(event))

    def end(self, status: RunStatus, error: str | None = None) -> None:
        """Note that the run has ended; the first call counts."""
        if self.status in (RunStatus.FINISHED, RunStatus.FAILED, RunStatus.CANCELLED):
            return
        if self.run is not None:
            self._last_vote = self.run.vote
        self.status, self.error, self.run = status, error, None
        self.started.set()
        self._tell({"type": "run_ended", "status": str(status), "error": error})
        for watcher in self._watchers:
            watcher.close()
        self._watchers.clear()

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[MemoryObjectReceiveStream[dict[str, Any]]]:
        """Yield the events from now on, the state of the run first; the stream ends with the run."""
        send, receive = anyio.create_memory_object_stream[dict[str, Any]](WATCHER_EVENTS)
        send.send_nowait({"type": "snapshot", "run": self.to_dict(tree=True)})
        if self.status in (RunStatus.QUEUED, RunStatus.RUNNING):
            self._watchers.add(send)
        else:
            send.close()
        try:
            with receive:
                yield receive
        finally:
            self._watchers.discard(send)
            send.close()

    def _tell(self, event: dict[str, Any]) -> None:
        for watcher in tuple(self._watchers):
            try:
                watcher.send_nowait(event)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                self._watchers.discard(watcher)
                watcher.close()

    def to_dict(self, *, tree: bool = False) -> dict[str, Any]:
        """Return plain JSON types; `tree` adds the tree as `SearchTree.to_dict` gives it, None if there is none."""
        run, solution = self.run, self.solution
        usage = run.usage if run is not None else solution.usage if solution is not None else None
        budget = run.budget if run is not None else self.budget
        data: dict[str, Any] = {
            "id": self.id,
            "object": "ramify.run",
            "created": int(self.created),
            "status": str(self.status),
            "model": self.model,
            "question": self.question,
            "strategy": strategy_to_dict(self.strategy),
            "budget": budget.to_dict(),
            "fraction": self.fraction,
            "usage": None if usage is None else usage.to_dict(),
            "votes": votes_of(self.vote),
            "posterior": posterior(self.vote),
            "answer": leading(self.vote) if solution is None else solution.answer,
            "stop_reason": None if solution is None else str(solution.stop_reason),
            "error": self.error,
        }
        if tree:
            found = run.tree if run is not None else None if solution is None else solution.tree
            data["tree"] = None if found is None else found.to_dict()
            data["solution"] = None if solution is None else solution.to_dict()
            data["winner"] = None if solution is None else solution.winner
        return data


class ServedRuns:
    """Runs by their ids: all in progress, and the last ones that have ended.

    `kept` bounds the number of those, and `kept_bytes` their size in memory; the last one is kept in any case.
    """

    def __init__(self, kept: int, kept_bytes: int) -> None:
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._active = dict[str, ServedRun]()
        self._ended = OrderedDict[str, tuple[ServedRun, int]]()
        self._bytes = 0

    def __iter__(self) -> Iterator[ServedRun]:
        """Iterate over all runs, the newest first."""
        yield from sorted(
            (*self._active.values(), *(run for run, _ in self._ended.values())), key=lambda each: -each.created
        )

    @property
    def active(self) -> list[ServedRun]:
        """Runs that wait or search."""
        return list(self._active.values())

    def add(self, **fields: Any) -> ServedRun:
        """Add a run with an id of its own."""
        served = ServedRun(id=f"run-{secrets.token_hex(12)}", **fields)
        self._active[served.id] = served
        return served

    def retire(self, served: ServedRun) -> None:
        """Keep a run that has ended among the last ones."""
        self._active.pop(served.id, None)
        served.end(RunStatus.CANCELLED)
        size = memory_of(served)
        self._ended[served.id] = served, size
        self._bytes += size
        while len(self._ended) > self._kept or (self._bytes > self._kept_bytes and len(self._ended) > 1):
            _, (_, freed) = self._ended.popitem(last=False)
            self._bytes -= freed

    def find(self, run_id: str, owner: str) -> ServedRun:
        """Return the run of an id, if the caller `owner` asked for it.

        Raises:
            ApiError: if there is none.
        """
        found = self._active.get(run_id) or self._ended.get(run_id, (None, 0))[0]
        if found is None or found.owner != owner:
            raise ApiError(HTTPStatus.NOT_FOUND, f"there is no run {run_id[:80]!r}", param="id", code="run_not_found")
        return found


def memory_of(served: ServedRun) -> int:
    """Return about how many bytes of memory an ended run takes."""
    solution = served.solution
    if solution is None or solution.tree is None:
        return NODE_BYTES + len(served.question)
    nodes = sum(NODE_BYTES + TOKEN_BYTES * len(node.tokens) + 2 * len(node.text) for node in solution.tree)
    return nodes + sum(2 * len(path.text) for path in solution.candidates) + len(served.question)


def leading(vote: Vote | None) -> str | None:
    """Return the leading answer of a vote."""
    return None if vote is None else vote.answer


def posterior(vote: Vote | None) -> float | None:
    """Return the probability of the leading answer, None without one or for answers that do not vote.

    It is that of the paths' scores where these decide (`weighted_posteriors`), else that of the counts.
    """
    if vote is None or not vote.groups or not vote.kind.votes:
        return None
    if vote.rule is VoteRule.MAJORITY or any(member.score is None for group in vote.groups for member in group.members):
        return vote_posterior(vote)
    return weighted_posteriors([[member.score or 0.0 for member in group.members] for group in vote.groups])[0]


def votes_of(vote: Vote | None) -> list[dict[str, Any]]:
    """Return the answers of a vote, the best first, with the number and the weight of their paths."""
    groups = () if vote is None else vote.groups
    return [{"answer": group.answer, "votes": group.count, "weight": group.weight} for group in groups]


def event_to_dict(event: Event) -> dict[str, Any]:
    """Return an event in plain JSON types; `type` is its class in lower case, with underscores."""
    values = {each.name: getattr(event, each.name) for each in fields(event)}
    return {"type": _WORD.sub("_", type(event).__name__).lower()} | {
        name: _plain(value) for name, value in values.items()
    }


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return str(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return dict(value) if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
