r"""Extraction of the final answer from generated text.

Four forms mark an answer: `\boxed{...}`, `#### ...`, "the answer is ..." and a line `A: ...`. The one that
starts last in the text counts, of whatever form. All scans are linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .normalise import unwrap

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_MARKS = re.compile(
    r"(?<!\#)\#{4}(?!\#)(?P<hashes>[^\n]*)"
    r"|(?i:\bthe\s+(?:(?:final|correct)\s+)?answer\s+is\b)(?:\s*:)?(?P<phrase>\s*[^\n]*)"
    r"|^[ \t]*A:(?P<line>[^\n]*)",
    re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def extract_answer(text: str) -> str | None:
    r"""Return the last answer in `text`; None if there is none.

    Wrapping `$...$`, `\(...\)` and `**...**` and a closing full stop are removed; units and currency signs stay.
    """
    found = max((*_boxed(text), *_marked(text)), default=None)
    return None if found is None else found[1]


def _boxed(text: str) -> Iterator[tuple[int, str]]:
    r"""Yield start and content of every closed `\boxed{}` that is not empty, innermost ones included."""
    opened: list[tuple[int, int] | None] = []
    for match in _BRACES.finditer(text):
        token = match.group()
        if token == "{":
            opened.append(None)
        elif token == "}":
            box = opened.pop() if opened else None
            if box is not None:
                start, inside = box
                answer = unwrap(text[inside : match.start()])
                if answer:
                    yield start, answer
        elif token.endswith("{") and len(token) > 2:
            opened.append((match.start(), match.end()))


def _marked(text: str) -> Iterator[tuple[int, str]]:
    for match in _MARKS.finditer(text):
        content = match.group(match.lastgroup or 0)
        if match.lastgroup == "phrase":
            content = _first_sentence(content.strip())
        answer = unwrap(content)
        if answer:
            yield match.start(), answer


def _first_sentence(text: str) -> str:
    end = _SENTENCE_END.search(text)
    text = text if end is None else text[: end.start()]
    if "{" not in text:
        # The closing brace of a box around the whole sentence.
        text = text.partition("}")[0]
    # The end of emphasis that began before the phrase.
    return text.removesuffix("**") if text.count("**") == 1 else text
