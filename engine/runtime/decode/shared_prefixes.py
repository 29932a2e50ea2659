"""Prefixes that the prompts of several runs have in common: evaluated once in a context, kept, and forked.

A kept prefix is a node above the prompts that begin with it. Its tokens are always evaluated by themselves, whether a
run is the first one with this prefix or a later one: so the batches of a prompt, and with them its logits, do not
depend on the runs before.
"""

from __future__ import annotations

from pathlib import Path

from ...store.states import read_state, write_state
from .batch import DecodeContext
from .prefix_cache import CachedSequence, PrefixCache, PrefixNode

MOST_KEPT = 4
"""Prefixes that are kept without a run that uses them; on a processor every token pays for the cells of all."""


class SharedPrefixes:
    """Nodes of the kept prefixes of one context, the least recently used one first."""

    def __init__(self, cache: PrefixCache, context: DecodeContext) -> None:
        self._cache = cache
        self._context = context
        # Files for the cells of prefixes that have not been evaluated.
        self._files: dict[PrefixNode, Path] = {}
        self._nodes: dict[tuple[int, ...], PrefixNode] = {}
        self._users: dict[PrefixNode, set[int]] = {}

    def open(self, run: int, tokens: tuple[int, ...], state: str = "") -> PrefixNode:
        """Return the node of a prefix, in use by a run from now on; the file `state` has its cells, "" for none."""
        node = self._nodes.pop(tokens, None) or PrefixNode(run, None, tokens, 0)
        self._nodes[tokens] = node
        self._users.setdefault(node, set()).add(run)
        # In a context with cells for each sequence llama.cpp takes no cells of others.
        if state and not node.sequences and not self._context.consecutive:
            self._restore(node, Path(state))
        return node

    def _restore(self, node: PrefixNode, file: Path) -> None:
        """Fill a sequence with the cells that the file has; else they are written there once they are evaluated."""
        state = read_state(file)
        sequence = None if state is None else self._cache.open(node, 0)
        if state is not None and sequence is not None:
            if self._context.restore(sequence.id, state, len(node.path)):
                sequence.length = len(node.path)
                self._cache.park(sequence)
                return
            self._cache.free(sequence)
        self._files[node] = file

    def evaluated(self, node: PrefixNode, sequence: CachedSequence | None) -> None:
        """Write the cells of a path that has been evaluated, if it is a prefix with a file."""
        file = self._files.pop(node, None)
        if file is not None and sequence is not None:
            write_state(file, self._context.state(sequence.id))

    def keep(self, run: int) -> None:
        """Keep the cells of a run's prefix where only sequences of this run, which will be freed, still hold them."""
        for node in [node for node, users in self._users.items() if run in users]:
            if any(each.node is node for each in node.sequences):
                continue
            sequence = self._cache.fork(node, len(node.path)) if node.sequences else None
            if sequence is not None:
                self._cache.park(sequence)

    def close(self, run: int) -> None:
        """End the use by a run, and drop unused prefixes beyond MOST_KEPT, least recently used first."""
        for users in self._users.values():
            users.discard(run)
        idle = [node for node in self._nodes.values() if not self._users[node]]
        for node in idle[: max(0, len(idle) - MOST_KEPT)]:
            self._cache.release(node)
            del self._nodes[node.path], self._users[node]
            self._files.pop(node, None)

    def uses(self, run: int, node: PrefixNode) -> bool:
        """Tell whether a node is the kept prefix of an open run."""
        return run in self._users.get(node, ())
