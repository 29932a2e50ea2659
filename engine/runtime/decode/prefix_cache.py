"""Prefix cache of one context: which sequence holds the KV cells of which path, and which cells sequences share.

A node is a path of tokens. A sequence holds the first `length` tokens of one node's path, in cells that it shares
with other sequences wherever their paths agree, or where the context shares none, in copies of these. A sequence is
either lent to a job or parked at its node. Parked ones are evicted, least useful first, when ids or cells run out.
llama.cpp does not tell how many cells are in use, so all lengths are mirrored here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..messages import common_prefix

LOGITS_BYTES = 64 << 20
"""Memory that all kept rows of logits may take."""


class KVCells(Protocol):
    """The part of a context that holds keys and values.

    `consecutive` says that each sequence has cells of its own, and that sequences decoded together should have ids
    without gaps between them.
    """

    consecutive: bool

    @property
    def sequences(self) -> int:
        """Number of sequence ids."""
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Give the empty `target` the first `length` cells of `source`."""
        ...

    def cut(self, sequence: int, length: int) -> None:
        """Keep the first `length` cells only."""
        ...


class CellRange(NamedTuple):
    """Cells of positions `start` up to `end` that one sequence filled; `owner` is a number of its own."""

    owner: int
    start: int
    end: int


CellRanges = tuple[CellRange, ...]


@dataclass(eq=False, slots=True)
class CachedSequence:
    """A sequence id in use, holding the first `length` tokens of its node's path.

    From position `own_start` on it filled its cells itself, as `owner`, a number that no other sequence has. The cells
    before are `inherited` from others. `used_at` is the cache's clock at the last use.
    """

    id: int
    node: PrefixNode
    length: int
    owner: int
    own_start: int = 0
    inherited: CellRanges = ()
    parked: bool = False
    used_at: int = 0

    @property
    def cells(self) -> CellRanges:
        """All cells that it holds."""
        return (*self.inherited, CellRange(self.owner, self.own_start, self.length))


@dataclass(eq=False, slots=True)
class PrefixNode:
    """A path of tokens in the cache. Steps of the same tokens below one parent are one node.

    `generated` are the nodes of steps that the model wrote below, by their tokens, and `told` those of texts that
    it did not write. `ids` are those by which the run still refers to this node. `common` is the number of leading
    tokens in common with the parent's path. `evaluated` is the length of the longest prefix ever evaluated. `told_from`
    is the position from which on the model did not write the path, None if it wrote all. A `stored` node was not
    generated here, but taken from a store. `logits` is the row after the last token, None if it is not kept.
    `sequences` are those of this node and of all below it. `is_prompt` marks the node of a run's prompt; its parent, if
    any, is a prefix that the prompts of other runs begin with too.
    """

    run: int
    parent: PrefixNode | None
    path: tuple[int, ...]
    common: int
    generated: dict[tuple[int, ...], PrefixNode] = field(default_factory=dict["tuple[int, ...]", "PrefixNode"])
    told: dict[tuple[int, ...], PrefixNode] = field(default_factory=dict["tuple[int, ...]", "PrefixNode"])
    ids: set[int] = field(default_factory=set[int])
    evaluated: int = 0
    told_from: int | None = None
    logits: npt.NDArray[np.float32] | None = None
    sequences: set[CachedSequence] = field(default_factory=set[CachedSequence])
    is_prompt: bool = False
    stored: bool = False

    def after_prompt(self) -> tuple[int, ...]:
        """Return the tokens of the path that follow the prompt."""
        root = self
        while root.parent is not None and not root.is_prompt:
            root = root.parent
        return self.path[len(root.path) :]

    def written(self) -> list[int]:
        """Return the tokens after the prompt that the model wrote, in no order: not results of tools and the like."""
        found = list[int]()
        node = self
        while node.parent is not None and not node.is_prompt:
            if node.told_from is None:
                found += node.path[node.common :]
            node = node.parent
        return found

    @property
    def known(self) -> int:
        """Length of the longest prefix of the path that was evaluated at some time, here or for the nodes above."""
        above = 0 if self.parent is None else min(self.parent.known, self.common)
        return max(self.evaluated, above)

    @classmethod
    def of_path(cls, run: int, parent: PrefixNode | None, path: tuple[int, ...]) -> PrefixNode:
        """Return a new node of any path; the prefix in common with its parent's path is found by comparison."""
        return cls(run, parent, path, 0 if parent is None else common_prefix(parent.path, path))

    def child(self, tokens: tuple[int, ...]) -> PrefixNode:
        """Return the node of a step that the model wrote below this one, the same one for the same tokens."""
        node = self.generated.get(tokens)
        if node is None:
            node = self.generated[tokens] = PrefixNode(self.run, self, self.path + tokens, len(self.path))
        return node


class PrefixCache:
    """Owner of a context's sequence ids; see the module's docstring."""

    def __init__(self, cells: KVCells) -> None:
        self._cells = cells
        self._free = list(range(cells.sequences - 1, -1, -1))
        self._live: set[CachedSequence] = set()
        self._parked: set[CachedSequence] = set()
        self._clock = 0

    @property
    def sequences_used(self) -> int:
        """Number of sequence ids in use."""
        return self._cells.sequences - len(self._free)

    @property
    def cells_used(self) -> int:
        """Number of different cells that sequences hold."""
        if self._cells.consecutive:
            return sum(each.length for each in self._live)
        return _count_cells(each.cells for each in self._live)

    @property
    def parked(self) -> int:
        """Number of sequences that could be evicted."""
        return len(self._parked)

    def open(self, node: PrefixNode, length: int) -> CachedSequence | None:
        """Return a sequence lent to the caller with up to `length` tokens of the node's path, as many as are cached.

        A sequence parked at the node itself is handed over; else one is forked from the sequence that holds most of
        the path. None if every id is lent.
        """
        own = [each for each in node.sequences if each.node is node and each.parked]
        if own:
            best = max(own, key=lambda each: each.length)
            best.parked = False
            self._parked.discard(best)
            if best.length > length:
                self._cells.cut(best.id, length)
                best.inherited = _first_cells(best.cells, length)
                best.own_start = best.length = length
                best.owner = self._tick()
            return best
        return self.fork(node, length)

    def fork(self, node: PrefixNode, length: int) -> CachedSequence | None:
        """Return a new sequence with as much of the node's first `length` tokens as is cached; None without an id."""
        if not self._free and not self.evict(1):
            return None
        return self._copy(node, *self._source(node, length))

    def branch(self, source: CachedSequence) -> CachedSequence | None:
        """Return a new sequence with all that `source`, which is lent, holds; None without an id."""
        if not self._free and not self.evict(1):
            return None
        return self._copy(source.node, source, source.length)

    def keep(self, source: CachedSequence, path: Sequence[int]) -> PrefixNode | None:
        """Park a copy of the tokens in `source`, which is lent: the beginning of a path that waits to go on.

        Return a node of its own for it, below that of `source`; None where no id is free, as none is freed for it.
        """
        if not self._free:
            return None
        node = PrefixNode.of_path(source.node.run, source.node, tuple(path[: source.length]))
        self.park(self._copy(node, source, source.length))
        return node

    def take(self, kept: PrefixNode) -> CachedSequence | None:
        """Lend the sequence kept at a node; it belongs to the node above from now on. None if it was evicted."""
        sequence = next(iter(kept.sequences), None)
        if sequence is None or kept.parent is None:
            return None
        kept.sequences.discard(sequence)
        self._parked.discard(sequence)
        sequence.parked, sequence.node = False, kept.parent
        return sequence

    def arrange(self, together: Iterable[CachedSequence]) -> None:
        """Give sequences that are decoded together ids without gaps between them, by as few copies as possible.

        Nothing is done where no id is free to move others by.
        """
        members = {each.id: each for each in together}
        count = len(members)
        if max(members) - min(members) + 1 == count or not self._free:
            return
        others = {each.id: each for each in self._live if each.id not in members}
        first = min(
            range(self._cells.sequences - count + 1),
            key=lambda start: sum(
                2 if id in others else id not in members for id in range(start, start + count)
            ),
        )  # fmt: skip
        place = range(first, first + count)
        while astray := [id for id in members if id not in place]:
            inside = next((id for id in self._free if id in place), None)
            if inside is not None:
                members[inside] = self._move_to(members.pop(astray[0]), inside)
                continue
            blocking = next(each for id, each in others.items() if id in place)
            outside = next((id for id in self._free if id not in place), None)
            if outside is None and not (blocking.parked and _redundant(blocking)):
                return
            del others[blocking.id]
            if blocking.parked and _redundant(blocking):
                self.free(blocking)
            elif outside is not None:
                others[outside] = self._move_to(blocking, outside)

    def _move_to(self, sequence: CachedSequence, id: int) -> CachedSequence:
        """Move a sequence to a free id."""
        self._cells.copy(sequence.id, id, sequence.length)
        self._cells.cut(sequence.id, 0)
        self._free.remove(id)
        self._free.append(sequence.id)
        sequence.id = id
        return sequence

    def _copy(self, node: PrefixNode, source: CachedSequence | None, length: int) -> CachedSequence:
        # Where ids should have no gaps, the lowest ones are used.
        id = min(self._free) if self._cells.consecutive else self._free[-1]
        self._free.remove(id)
        sequence = CachedSequence(id, node, 0, self._tick())
        self._live.add(sequence)
        if source is not None and length:
            self._cells.copy(source.id, sequence.id, length)
            sequence.inherited = _first_cells(source.cells, length)
            sequence.own_start = sequence.length = length
            source.used_at = self._tick()
        for each in _lineage(node):
            each.sequences.add(sequence)
        return sequence

    def cached(self, node: PrefixNode, length: int) -> int:
        """Return how many of the first `length` tokens of a node's path some sequence holds."""
        return self._source(node, length)[1]

    def move(self, sequence: CachedSequence, node: PrefixNode) -> None:
        """Assign a sequence to `node`, a child of its present node whose path it holds."""
        sequence.node = node
        node.sequences.add(sequence)

    def park(self, sequence: CachedSequence) -> None:
        """Keep a sequence's cells until they are needed elsewhere, unless another one is parked there with as many."""
        node = sequence.node
        if any(each.parked and each.node is node and each.length >= sequence.length for each in node.sequences):
            self.free(sequence)
            return
        sequence.parked = True
        sequence.used_at = self._tick()
        self._parked.add(sequence)

    def free(self, sequence: CachedSequence) -> None:
        """Give up a sequence; cells that no other one shares become free."""
        self._parked.discard(sequence)
        self._live.discard(sequence)
        self._cells.cut(sequence.id, 0)
        for each in _lineage(sequence.node):
            each.sequences.discard(sequence)
        self._free.append(sequence.id)

    def release(self, node: PrefixNode) -> None:
        """Free the sequences parked at a node, and its logits."""
        node.logits = None
        for sequence in [each for each in node.sequences if each.node is node and each.parked]:
            self.free(sequence)

    def evict(self, count: int) -> int:
        """Free up to `count` parked sequences: first those whose cells others hold too, then the longest unused.

        Return the number of sequences freed.
        """
        victims = sorted(self._parked, key=lambda each: (not _redundant(each), each.used_at))[:count]
        for sequence in victims:
            self.free(sequence)
        return len(victims)

    def _source(self, node: PrefixNode, length: int) -> tuple[CachedSequence | None, int]:
        """Return the sequence that holds most of the first `length` tokens, and how many of them."""
        best: CachedSequence | None = None
        most, limit, wanted = 0, length, node.path[:length]
        current: PrefixNode | None = node
        while current is not None and most < limit:
            for each in current.sequences:
                # Compared, not assumed: texts of a reward model need not be prefixes of one another in tokens.
                shared = common_prefix(each.node.path[: min(each.length, limit)], wanted)
                if shared > most:
                    best, most = each, shared
                    if most >= limit:
                        return best, most
            limit = min(limit, current.common)
            current = current.parent
        return best, most

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


class LogitsCache:
    """Rows of logits of the nodes that were evaluated last, as many as fit LOGITS_BYTES."""

    def __init__(self, vocabulary_size: int) -> None:
        self._most = max(8, LOGITS_BYTES // (4 * vocabulary_size))
        self._nodes: dict[PrefixNode, None] = {}

    def keep(self, node: PrefixNode, row: npt.NDArray[np.float32]) -> None:
        """Keep a copy of a node's row, in place of the oldest one if there are too many."""
        node.logits = row.copy()
        self._nodes.pop(node, None)
        self._nodes[node] = None
        while len(self._nodes) > self._most:
            oldest = next(iter(self._nodes))
            oldest.logits = None
            del self._nodes[oldest]

    def forget(self, node: PrefixNode) -> None:
        """Drop a node's row if there is one."""
        if self._nodes.pop(node, self) is None:
            node.logits = None


def _first_cells(ranges: CellRanges, length: int) -> CellRanges:
    """Return the part below position `length`."""
    cut = (CellRange(each.owner, each.start, min(each.end, length)) for each in ranges)
    return tuple(each for each in cut if each.start < each.end)


def _count_cells(sequences: Iterable[CellRanges]) -> int:
    """Return how many different cells the sequences hold: each owner's cells begin at the same position."""
    longest: dict[int, CellRange] = {}
    for ranges in sequences:
        for each in ranges:
            known = longest.get(each.owner)
            if known is None or each.end > known.end:
                longest[each.owner] = each
    return sum(each.end - each.start for each in longest.values())


def _redundant(sequence: CachedSequence) -> bool:
    """Tell whether another sequence, of a node below, holds all of this one's cells."""
    return any(each is not sequence and each.length >= sequence.length for each in sequence.node.sequences)


def _lineage(node: PrefixNode | None) -> Iterable[PrefixNode]:
    """Yield a node and all above it."""
    while node is not None:
        yield node
        node = node.parent
