"""Right or wrong: answers against gold answers, never in the event loop's thread and never twice."""

from __future__ import annotations

from anyio.to_thread import run_sync

from ramify.answers.checkers import DEFAULT_CHECK, Check, make_checker
from ramify.answers.extract import extract_answer


def grade(answer: str | None, gold: str | None, check: Check = DEFAULT_CHECK) -> bool | None:
    """Return whether an answer is right: None without a gold answer, False without an answer. May take seconds.

    Raises:
        UsageError: if there is no such checker, or the gold answer is nothing that it can compare with.
    """
    checker = make_checker(check)
    if gold is None or not gold.strip():
        return None
    return answer is not None and checker.accepts(answer, gold)


async def grade_beside(answer: str | None, gold: str | None, check: Check = DEFAULT_CHECK) -> bool | None:
    """Return what `grade` does without holding up the event loop."""
    if gold is None or answer is None:
        return grade(answer, gold, check)
    quick = make_checker(check).accepts_quickly(answer, gold)
    return await run_sync(grade, answer, gold, check) if quick is None else quick


def read_prediction(text: str | None) -> str | None:
    """Return the answer in a text written elsewhere: the last marked one, else the whole text; None if it is empty."""
    if text is None or not text.strip():
        return None
    return extract_answer(text) or text.strip()
