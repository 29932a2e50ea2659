"""What the decoder needs of the context that it drives."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .prefix_cache import Cells


class Machine(Cells, Protocol):
    """A context.

    `batch_tokens` bounds one decode, and `single_tokens` one in which each sequence has a single token.
    """

    batch_tokens: int
    single_tokens: int
    longest_path: int
    vocabulary_size: int

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        """Evaluate a batch; 1 if the cache has no room."""
        ...

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        """Rows of the last decode's outputs."""
        ...
