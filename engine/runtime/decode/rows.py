"""Rows of logits that are kept for nodes which may be expanded again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .prefix_cache import PathNode

ROW_BYTES = 64 << 20
"""Memory that all rows may take."""


class RowStore:
    """Keeps the rows of the nodes that were evaluated last, as many as fit the memory."""

    def __init__(self, vocabulary_size: int) -> None:
        self._most = max(8, ROW_BYTES // (4 * vocabulary_size))
        self._nodes: dict[PathNode, None] = {}

    def keep(self, node: PathNode, row: npt.NDArray[np.float32]) -> None:
        """Keep a copy of a node's row, in place of the oldest one if there are too many."""
        node.row = row.copy()
        self._nodes.pop(node, None)
        self._nodes[node] = None
        while len(self._nodes) > self._most:
            oldest = next(iter(self._nodes))
            oldest.row = None
            del self._nodes[oldest]

    def forget(self, node: PathNode) -> None:
        """Drop a node's row if there is one."""
        if self._nodes.pop(node, self) is None:
            node.row = None
