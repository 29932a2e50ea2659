"""What a user should know of a server, each said once."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


class Notices:
    """Remembers what was said; one for each model."""

    def __init__(self) -> None:
        self._said = set[str]()

    def say(self, message: str) -> None:
        """Log a warning, unless it was logged before."""
        if message not in self._said:
            self._said.add(message)
            log.warning("%s", message)
