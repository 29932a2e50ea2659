"""Thoughts in the texts of models that think before they reply: their marks, and the reply alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ThoughtMarks:
    """Marks around a model's thoughts; `opened` tells that the prompt opens one already.

    Where a thought is closed for the model, `lead` stands before the closing mark and `gap` after it.
    """

    open: str
    close: str
    opened: bool = False
    lead: str = ""
    gap: str = "\n\n"

    def end_after(self, text: str) -> str:
        """Return the mark that closes the thought in which a text ends, with line breaks around it."""
        line_end = "" if self.lead or not text or text.endswith("\n") else "\n"
        return f"{line_end}{self.lead}{self.close}{self.gap}"

    def reply(self, text: str) -> str:
        """Return the text after the last thought: "" while the first is not closed, all without a thought."""
        end = text.rfind(self.close)
        if end >= 0:
            return text[end + len(self.close) :].partition(self.open)[0]
        return "" if self.opened or self.open in text else text

    def is_thinking(self, text: str) -> bool:
        """Tell whether a text ends within a thought."""
        begun = text.rfind(self.open)
        end = text.rfind(self.close)
        return (begun > end) or (self.opened and begun < 0 and end < 0)


KNOWN_MARKS = (
    ThoughtMarks("<think>", "</think>"),
    ThoughtMarks("[THINK]", "[/THINK]"),
    ThoughtMarks("<|START_THINKING|>", "<|END_THINKING|>"),
    ThoughtMarks("<seed:think>", "</seed:think>"),
    ThoughtMarks("<mm:think>", "</mm:think>"),
    ThoughtMarks("<thinking>", "</thinking>"),
    ThoughtMarks("<|channel>thought", "<channel|>"),
    ThoughtMarks(
        "<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final<|message|>", lead="<|end|>", gap=""
    ),
)
"""Marks of the model families whose thoughts can be told from their replies."""


def marks_in(texts: Iterable[str]) -> ThoughtMarks | None:
    """Return the marks of the thoughts in the texts of whole paths, None if no text has a thought that is closed.

    For trees whose model is not at hand. Where a thought is closed and never begun, the prompt has opened it.
    """
    for text in texts:
        for marks in KNOWN_MARKS:
            before, closed, _ = text.partition(marks.close)
            if closed:
                return replace(marks, opened=marks.open not in before)
    return None
