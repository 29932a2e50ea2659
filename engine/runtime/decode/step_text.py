"""Watches a lane's text for the end of its step."""

from __future__ import annotations

import codecs
import re
from functools import lru_cache

from ramify.sampling_params import StepFormat


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


class StepText:
    """The text of a step in the making, from the bytes of its tokens; a broken character becomes U+FFFD."""

    def __init__(self, step: StepFormat | None) -> None:
        self._pattern = None if step is None else _compiled(step.pattern)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._whole = True
        self.text = ""

    def copy(self) -> StepText:
        """Return the same text, to go on in another way."""
        other = StepText(None)
        other._pattern, other._whole, other.text = self._pattern, self._whole, self.text
        other._decoder.setstate(self._decoder.getstate())
        return other

    def add(self, piece: bytes) -> bool:
        """Append a token's bytes; return whether the step has ended."""
        if self._whole and piece.isascii():
            # What nearly all pieces are, without the detour.
            self.text += piece.decode()
        else:
            self.text += self._decoder.decode(piece)
            self._whole = not self._decoder.getstate()[0]
        if self._pattern is None:
            return False
        lead = len(self.text) - len(self.text.lstrip())
        return lead < len(self.text) and self._pattern.search(self.text, lead) is not None

    def close(self) -> str:
        """Return the whole text, an unfinished character included."""
        self.text += self._decoder.decode(b"", final=True)
        return self.text
