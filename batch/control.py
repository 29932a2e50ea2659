"""How a caller ends a batch softly."""

from __future__ import annotations


class BatchControl:
    """Handed to `run_batch`; `drain()` lets the items in flight finish and starts no more.

    To end at once, cancel the scope that `run_batch` runs in; the items in flight are then done again next time.
    """

    def __init__(self) -> None:
        self._draining = False

    @property
    def draining(self) -> bool:
        """True once `drain` was called."""
        return self._draining

    def drain(self) -> None:
        """Start no more items. Call it in the event loop's thread."""
        self._draining = True
