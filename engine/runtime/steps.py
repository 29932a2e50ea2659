"""Watches a lane's text for the end of its step."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from ramify.engine.runtime.messages import StepFormat


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


class StepText:
    """The text of a step in the making, from the bytes of its tokens; a broken character becomes U+FFFD."""

    def __init__(self, step: StepFormat | None) -> None:
        self._pattern = None if step is None else _compiled(step.pattern)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text = ""

    def add(self, piece: bytes) -> bool:
        """Append a token's bytes; return whether the step has ended."""
        self.text += self._decoder.decode(piece)
        if self._pattern is None:
            return False
        lead = len(self.text) - len(self.text.lstrip())
        return lead < len(self.text) and self._pattern.search(self.text, lead) is not None

    def close(self) -> str:
        """Return the whole text, an unfinished character included."""
        self.text += self._decoder.decode(b"", final=True)
        return self.text
