"""Tool `python`: programs in a sandbox."""

from __future__ import annotations

import signal

from .forms import PYTHON
from .sandbox import Outcome, run_python
from .tool import Tool, tool


@tool(name=PYTHON)
async def _python(code: str) -> str:
    """Run a Python program and return what it prints. Nothing is kept from one call to the next."""
    return told(await run_python(code))


PYTHON_TOOL: Tool = _python
"""The tool of this module."""


def told(outcome: Outcome) -> str:
    """Return what a model reads of a program's end."""
    text = outcome.output.rstrip("\n")
    if outcome.flooded:
        return f"{text}\nerror: ended, because it printed without end"
    if outcome.code < 0:
        name = signal.Signals(-outcome.code).name if -outcome.code in set(signal.Signals) else str(-outcome.code)
        return f"{text}\nerror: ended by {name}, for example at a limit of time or memory".strip()
    if not text:
        return "(no output)" if outcome.code == 0 else f"error: exit code {outcome.code}"
    return text
