"""Errors in the words of a toast: a title, the cause and the next step."""

from __future__ import annotations

from ramify.errors import RamifyError


def explain(error: BaseException) -> tuple[str, str]:
    """Return title and message for an error."""
    if isinstance(error, RamifyError):
        message = error.message[:1].upper() + error.message[1:] + "."
        step = error.next_step[:1].upper() + error.next_step[1:] + "." if error.next_step else ""
        return error.title, f"{message}\n{step}".strip()
    if isinstance(error, ValueError):
        # Errors of the search and of reward models are ValueErrors with whole sentences.
        text = str(error)
        return "That does not work", f"{text[:1].upper()}{text[1:]}."
    name = type(error).__name__
    return "This is a bug in ramify", f"{name}: {error}\nF9 shows the log; please report it with those lines."
