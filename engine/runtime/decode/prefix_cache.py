"""Which sequence holds which path: forks, parking and eviction over one context's KV cells.

A node is a path of tokens. A sequence holds the first `length` tokens of one node's path, in cells that it shares
with other sequences wherever their paths agree. A sequence is either lent to a job or parked at its node, and parked
ones are evicted, least useful first, when ids or cells run out. Lengths are mirrored here and never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..messages import common_prefix
from .stretches import Stretch, Stretches, count_cells, first_cells


class Cells(Protocol):
    """The part of a context that this module needs."""

    @property
    def sequences(self) -> int:
        """Number of sequence ids."""
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Share the first `length` cells of `source` with the empty `target`."""
        ...

    def cut(self, sequence: int, length: int) -> None:
        """Keep the first `length` cells only."""
        ...


@dataclass(eq=False, slots=True)
class Sequence:
    """A sequence id in use, holding the first `length` tokens of its node's path.

    From position `own` on it filled its cells itself, under a `mark` that nobody else has; those before are
    `inherited`.
    """

    id: int
    node: PathNode
    length: int
    mark: int
    own: int = 0
    inherited: Stretches = ()
    parked: bool = False
    used_at: int = 0

    @property
    def cells(self) -> Stretches:
        """All cells that it holds."""
        return (*self.inherited, Stretch(self.mark, self.own, self.length))


@dataclass(eq=False, slots=True)
class PathNode:
    """A path of tokens in the cache's books. Steps of the same tokens below one parent are one node.

    `below` are the nodes of steps that the model wrote, by their tokens. `names` are the numbers by which the run
    still calls this one. `shared` is how many leading tokens it has in common with its parent's path. `evaluated` is
    the longest prefix ever evaluated. `told_from` is the place from which on the model did not write it, None if it
    wrote all. `row` holds the logits after the last token, None if they are not kept. `holders` are the sequences of
    this node and of all below it.
    """

    run: int
    parent: PathNode | None
    path: tuple[int, ...]
    shared: int
    below: dict[tuple[int, ...], PathNode] = field(default_factory=dict["tuple[int, ...]", "PathNode"])
    names: set[int] = field(default_factory=set[int])
    evaluated: int = 0
    told_from: int | None = None
    row: npt.NDArray[np.float32] | None = None
    holders: set[Sequence] = field(default_factory=set[Sequence])

    @property
    def known(self) -> int:
        """Longest prefix of the path that was evaluated at some time."""
        above = 0 if self.parent is None else min(self.parent.known, self.shared)
        return max(self.evaluated, above)


def new_node(run: int, parent: PathNode | None, path: tuple[int, ...]) -> PathNode:
    """Return a node whose path starts like its parent's."""
    shared = 0 if parent is None else common_prefix(parent.path, path)
    return PathNode(run=run, parent=parent, path=path, shared=shared)


def child_node(parent: PathNode, tokens: tuple[int, ...]) -> PathNode:
    """Return the node of a step that the model wrote below `parent`, made if it is the first one with these tokens."""
    node = parent.below.get(tokens)
    if node is None:
        node = parent.below[tokens] = PathNode(
            run=parent.run, parent=parent, path=parent.path + tokens, shared=len(parent.path)
        )
    return node


class PathCache:
    """Owner of a context's sequence ids; see the module's docstring."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._free = list(range(cells.sequences - 1, -1, -1))
        self._live: set[Sequence] = set()
        self._parked: set[Sequence] = set()
        self._clock = 0

    @property
    def in_use(self) -> int:
        """Number of sequence ids in use."""
        return self._cells.sequences - len(self._free)

    @property
    def cells_used(self) -> int:
        """Number of different cells that sequences hold."""
        return count_cells(each.cells for each in self._live)

    def open(self, node: PathNode, length: int) -> Sequence | None:
        """Return a sequence lent to the caller with up to `length` tokens of the node's path, as many as are cached.

        A sequence parked at the node itself is handed over; else one is forked from whatever holds most of the path.
        None if every id is lent.
        """
        own = [each for each in node.holders if each.node is node and each.parked]
        if own:
            best = max(own, key=lambda each: each.length)
            self._unpark(best)
            if best.length > length:
                self._cells.cut(best.id, length)
                best.inherited = first_cells(best.cells, length)
                best.own = best.length = length
                best.mark = self._tick()
            return best
        return self.fork(node, length)

    def fork(self, node: PathNode, length: int) -> Sequence | None:
        """Return a new sequence with as much of the node's first `length` tokens as is cached; None without an id."""
        if not self._free and not self.evict(1):
            return None
        return self._copy(node, *self._source(node, length))

    def branch(self, source: Sequence) -> Sequence | None:
        """Return a new sequence with all that `source`, which is lent, holds; None without an id."""
        if not self._free and not self.evict(1):
            return None
        return self._copy(source.node, source, source.length)

    def _copy(self, node: PathNode, source: Sequence | None, length: int) -> Sequence:
        sequence = Sequence(self._free.pop(), node, 0, self._tick())
        self._live.add(sequence)
        if source is not None and length:
            self._cells.copy(source.id, sequence.id, length)
            sequence.inherited = first_cells(source.cells, length)
            sequence.own = sequence.length = length
            source.used_at = self._tick()
        for each in _lineage(node):
            each.holders.add(sequence)
        return sequence

    def cached(self, node: PathNode, length: int) -> int:
        """Return how many of the first `length` tokens of a node's path some sequence holds."""
        return self._source(node, length)[1]

    def move(self, sequence: Sequence, node: PathNode) -> None:
        """Let a sequence stand for `node`, a child of its present node whose path it holds."""
        sequence.node = node
        node.holders.add(sequence)

    def park(self, sequence: Sequence) -> None:
        """Keep a sequence's cells until they are needed elsewhere, unless another one is parked there with as many."""
        node = sequence.node
        if any(each.parked and each.node is node and each.length >= sequence.length for each in node.holders):
            self.free(sequence)
            return
        sequence.parked = True
        sequence.used_at = self._tick()
        self._parked.add(sequence)

    def free(self, sequence: Sequence) -> None:
        """Give up a sequence; cells that no other one shares become free."""
        self._parked.discard(sequence)
        self._live.discard(sequence)
        self._cells.cut(sequence.id, 0)
        for each in _lineage(sequence.node):
            each.holders.discard(sequence)
        self._free.append(sequence.id)

    def release(self, nodes: Iterable[PathNode]) -> None:
        """Free what is parked at these nodes."""
        for node in nodes:
            node.row = None
            for sequence in [each for each in node.holders if each.node is node and each.parked]:
                self.free(sequence)

    def evict(self, count: int) -> int:
        """Free up to `count` parked sequences: first those whose cells others hold too, then the longest unused."""
        victims = sorted(self._parked, key=lambda each: (not _redundant(each), each.used_at))[:count]
        for sequence in victims:
            self.free(sequence)
        return len(victims)

    @property
    def parked(self) -> int:
        """Number of sequences that could be evicted."""
        return len(self._parked)

    def _unpark(self, sequence: Sequence) -> None:
        sequence.parked = False
        self._parked.discard(sequence)

    def _source(self, node: PathNode, length: int) -> tuple[Sequence | None, int]:
        """Return the sequence that holds most of the first `length` tokens, and how many of them."""
        best: Sequence | None = None
        most, limit, wanted = 0, length, node.path[:length]
        current: PathNode | None = node
        while current is not None and most < limit:
            for each in current.holders:
                # Compared, not assumed: texts of a reward model need not be prefixes of one another in tokens.
                shared = common_prefix(each.node.path[: min(each.length, limit)], wanted)
                if shared > most:
                    best, most = each, shared
                    if most >= limit:
                        return best, most
            limit = min(limit, current.shared)
            current = current.parent
        return best, most

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


def _redundant(sequence: Sequence) -> bool:
    """Tell whether another sequence, of a node below, holds all of this one's cells."""
    return any(each is not sequence and each.length >= sequence.length for each in sequence.node.holders)


def _lineage(node: PathNode | None) -> Iterable[PathNode]:
    while node is not None:
        yield node
        node = node.parent
