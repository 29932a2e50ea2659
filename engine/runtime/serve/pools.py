"""Pools: several contexts of one model, each with the trees of some runs.

A decode call pays for all cells of its context, whichever run they belong to. On a processor it is cheaper to give the
trees of different runs a context each, as long as one run's sequences fill a decode call. A run stays in its pool; a
pool is made when a run is opened and all others have one. A wide search has a pool in which each sequence has cells of
its own, where that pays (see SplitContext); that is known when the search asks for its first children.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Protocol, TypeVar

from ramify.errors import ModelLoadError

from ..decode.decoder import Decoder
from ..decode.drafts import GPU_COST, PROCESSOR_COST
from ..llama.config import ModelConfig
from ..llama.memory import default_cells, kv_bytes_per_token
from ..llama.native import Context, Model
from ..llama.split import SPLIT_BYTES, SplitContext, splits, stream_bytes, streams_for
from ..messages import (
    ROOT,
    SLOW_PARAMETERS,
    CloseRun,
    DecodeTimes,
    Expand,
    OpenRun,
    Progress,
    Read,
    RunRequest,
    RunResult,
    Statistics,
)

MOST_POOLS = 8
SMALL_PARAMETERS = 500_000_000
"""Above this a token's weights cost so much more than its attention that pools do not pay."""
THREAD_PARAMETERS = 8_000_000_000
"""Parameters times tokens that a thread decodes in about half a second."""
LEAST_BATCH_TOKENS = 16
"""Tokens that a decode has room for with any model; fewer would cost more time for each."""
POOL_BYTES = 1 << 30
"""Memory that the cells of all pools may take where their number is not given."""

BACKGROUND_TURN = 8
"""Every 8th step serves background work too, so that it goes on beside any other."""


class HasWork(Protocol):
    """Something that has work or not, urgent or in the background."""

    @property
    def busy(self) -> bool:
        """True if there is anything to do."""
        ...

    @property
    def urgent(self) -> bool:
        """True if there is anything to do that is not in the background."""
        ...


W = TypeVar("W", bound=HasWork)


class Turns:
    """Decides who decodes next: those with work, and while any of it is urgent, mostly those with urgent work."""

    def __init__(self) -> None:
        self._turn = 0

    def due(self, workers: list[W]) -> list[W]:
        """Return those that do a decode now."""
        busy = [each for each in workers if each.busy]
        self._turn = (self._turn + 1) % BACKGROUND_TURN
        if len(busy) < 2 or self._turn == 0:
            return busy
        return [each for each in busy if each.urgent] or busy


def pool_count(model: Model, config: ModelConfig) -> int:
    """Return how many pools pay for a model: one where a GPU does the work, for it does better with larger batches."""
    if config.pools is not None:
        return config.pools
    if model.offloaded or model.summary.parameters >= SMALL_PARAMETERS:
        return 1
    per_token = kv_bytes_per_token(model.summary.metadata)
    if per_token is None:
        return 1
    cells = config.context_tokens or default_cells(model.summary.metadata)
    return max(1, min(MOST_POOLS, POOL_BYTES // (per_token * cells)))


class Pools:
    """Contexts of one model with their decoders."""

    def __init__(self, model: Model, config: ModelConfig) -> None:
        self._model, self._config = model, config
        self._most = pool_count(model, config)
        self._turns = Turns()
        self._next = 0
        self._homes: dict[int, Decoder] = {}
        self._contexts: list[Context] = []
        self._decoders: list[Decoder] = []
        self._split: dict[Decoder, SplitContext] = {}
        self._splits = splits(model, config)
        # Runs without a pool, with the requests about them.
        self._opening: dict[int, list[RunRequest]] = {}
        # Counters and times of the pools that were removed.
        self._past = Statistics()
        self._past_times = DecodeTimes()
        self._add(Context(model, config))

    @property
    def context(self) -> Context:
        """The first pool's context; the others are like it."""
        return self._contexts[0]

    @property
    def homes(self) -> dict[int, int]:
        """The number of the pool that each open run is in."""
        return {run: self._decoders.index(decoder) for run, decoder in self._homes.items()}

    def handle(self, request: RunRequest) -> None:
        """Give a request to the decoder that has the run."""
        if isinstance(request, OpenRun) and self._splits:
            self._opening[request.run] = []
        if request.run in self._opening:
            self._open(request)
            return
        if isinstance(request, OpenRun):
            self._homes[request.run] = self._emptiest()
        # A late request for a run that has ended is refused by any decoder.
        self._homes.get(request.run, self._decoders[0]).handle(request)
        if isinstance(request, CloseRun):
            self._homes.pop(request.run, None)

    @property
    def busy(self) -> bool:
        """True if there is anything to do."""
        return any(each.busy for each in self._decoders)

    @property
    def urgent(self) -> bool:
        """True if there is anything to do for a run that is not in the background."""
        return any(each.urgent for each in self._decoders)

    def step(self) -> list[RunResult]:
        """Do one decode in the pool whose turn it is, and return its results."""
        due = self._turns.due(self._decoders)
        if not due:
            return []
        self._next += 1
        return due[self._next % len(due)].step()

    def take_failures(self) -> dict[int, str]:
        """Return the runs that cannot go on, with the reason, and forget them."""
        found: dict[int, str] = {}
        for decoder in self._decoders:
            found.update(decoder.take_failures())
        for run in found:
            self._homes.pop(run, None)
        return found

    def progress(self) -> list[Progress]:
        """Return the progress of the children that are watched."""
        return [each for decoder in self._decoders for each in decoder.progress()]

    def statistics(self) -> Statistics:
        """Return the counters of all pools together."""
        return _summed([self._past, *(decoder.statistics() for decoder in self._decoders)])

    def times(self) -> DecodeTimes:
        """Return the times of all pools together; empty for a model that is not timed, or has not been at work."""
        return sum((decoder.times() for decoder in self._decoders), self._past_times)

    def close(self) -> None:
        """Free the contexts."""
        for context in self._contexts:
            context.close()

    @property
    def _draft_cost(self) -> float | None:
        """Time of a further token in a decode in terms of a decode of one; None without drafts."""
        if not self._config.drafts:
            return None
        return GPU_COST if self._model.offloaded else PROCESSOR_COST

    def _open(self, request: RunRequest) -> None:
        """Keep a request about a run without a pool, until one tells the pool it needs; then give it all of them."""
        kept = self._opening[request.run]
        kept.append(request)
        if isinstance(request, CloseRun):
            del self._opening[request.run]
        elif isinstance(request, Expand | Read):
            del self._opening[request.run]
            home = self._wide(kept[0], request) if isinstance(request, Expand) else None
            self._homes[request.run] = home or self._emptiest()
            for each in kept:
                self._homes[request.run].handle(each)

    def _wide(self, opened: RunRequest, request: Expand) -> Decoder | None:
        """Return a pool with cells for each sequence, for a run that begins with these children; None if none pays.

        It counts how many paths the run is said to have, where that is more.
        """
        if not isinstance(opened, OpenRun):
            return None
        if not request.paths and any(each.parent != ROOT for each in request.requests):
            return None
        prompt_tokens, children = len(opened.prompt), max(len(request.requests), request.paths)
        wanted = streams_for(self._model, self._config, prompt_tokens=prompt_tokens, children=children)
        if wanted is None:
            return None
        idle = [decoder for decoder in self._split if decoder not in self._homes.values()]
        for decoder in idle:
            streams = self._split[decoder].streams
            if streams.sequences >= wanted.sequences and streams.cells >= wanted.cells:
                return decoder
        for decoder in idle:
            self._remove(decoder)
        if sum(each.bytes for each in self._split.values()) + (stream_bytes(self._model, wanted) or 0) > SPLIT_BYTES:
            return None
        try:
            context = SplitContext(self._model, self._config, wanted)
        except ModelLoadError:
            return None  # There is no memory for it.
        decoder = self._add(context)
        self._split[decoder] = context
        return decoder

    def _remove(self, decoder: Decoder) -> None:
        """Free a pool that no run is in."""
        self._past = _summed([self._past, replace(decoder.statistics(), sequences_used=0, cells_used=0)])
        self._past_times += decoder.times()
        self._decoders.remove(decoder)
        context = self._split.pop(decoder)
        self._contexts.remove(context)
        context.close()

    def _emptiest(self) -> Decoder:
        homes = list(self._homes.values())
        shared = [each for each in self._decoders if each not in self._split]
        best = min(shared, key=homes.count)
        if best in homes and len(shared) < self._most:
            return self._add(Context(self._model, self._config))
        return best

    def _add(self, context: Context) -> Decoder:
        parameters = self._model.summary.parameters
        decoder = Decoder(
            context,
            self._model.vocabulary,
            max_lanes=self._config.max_lanes,
            muted=self._config.muted,
            batch_tokens=None if self._model.offloaded else most_batch_tokens(parameters, context.threads),
            timed=parameters >= SLOW_PARAMETERS,
            draft_cost=self._draft_cost,
            threads=context.threads,
        )
        self._contexts.append(context)
        self._decoders.append(decoder)
        return decoder


def _summed(every: Iterable[Statistics]) -> Statistics:
    every = list(every)
    return Statistics(**{each.name: sum(getattr(one, each.name) for one in every) for each in fields(Statistics)})


def most_batch_tokens(parameters: int, threads: int) -> int | None:
    """Return the bound of a decode's tokens on processors; None for a model that is fast enough for full batches.

    Limits and interrupts take effect between two decodes. The bound is a power of two that follows from sizes alone,
    not from the measured speed: llama.cpp's logits depend on how a prompt is cut into batches, by up to 1.4 in a small
    model of quantized weights, and the same seed has to give the same tokens on a busy machine.
    """
    if parameters < SLOW_PARAMETERS:
        return None
    return max(LEAST_BATCH_TOKENS, 1 << (THREAD_PARAMETERS * threads // parameters).bit_length() - 1)
