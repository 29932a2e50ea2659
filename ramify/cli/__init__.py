"""Command line of ramify; model libraries, numpy and pydantic are imported by the commands that need them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `arguments` None means those of the process."""
    from .app import app
    from .exits import exit_code_for, explain
    from .terminal import OutputClosed, cleaned_stderr, guarded_echo, prepare_streams

    prepare_streams()
    given = sys.argv[1:] if arguments is None else list(arguments)
    with cleaned_stderr():
        try:
            with guarded_echo():
                return int(app.main(given, prog_name="ramify", standalone_mode=False) or 0)
        except OutputClosed:
            return 0
        except (Exception, KeyboardInterrupt) as error:
            explain(error)
            # An interrupt in a dataclass that is being made, as by an import, would end the process by SIGINT whatever
            # the exit code: CPython keeps a mark of it until code is run from a text again.
            exec("")
            return int(exit_code_for(error))
