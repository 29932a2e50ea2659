"""Thought in the text of a step that is being generated: where a step inside it ends."""

from __future__ import annotations

import re

from ramify.sampling_params import ThoughtSteps

_LINE_END = re.compile(r"\n\s*\Z")
_SENTENCE_END = re.compile(r"(?:(?:[^\d\s.]\.+|[!?…。！？])[\"')\]*]*|\n)\s*\Z")


class ThoughtText:
    """Finds the ends of a step in a growing text that is a thought, or may turn out to be one.

    `over` is true once the text is known to be none.
    """

    def __init__(self, steps: ThoughtSteps) -> None:
        self._steps = steps
        self._opened = steps.opened
        self._count = self._from = 0
        self.over = False

    def look(self, text: str) -> bool:
        """Tell whether the step ends with the token that was added last; each text begins with the one before."""
        self._count += 1
        steps = self._steps
        if not self._opened:
            start = text.lstrip()
            if not start.startswith(steps.open):
                self.over = not steps.open.startswith(start)
                return False
            self._opened = True
        if text.find(steps.close, self._from) >= 0:
            return True
        self._from = max(0, len(text) - len(steps.close))
        if self._count >= min(steps.sentence_from, steps.least * 3 // 2):
            return _SENTENCE_END.search(text, max(0, len(text) - 16)) is not None
        return self._count >= steps.least and _LINE_END.search(text, max(0, len(text) - 16)) is not None
