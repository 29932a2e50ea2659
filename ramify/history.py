"""The run history that the command line and the terminal UI share: one file for each run, newest first."""

from __future__ import annotations

from ramify.engine.history.records import RunSummary, SavedRun
from ramify.engine.history.store import KEPT_RUNS, LATEST, Listing, RunStore, Unreadable

__all__ = ["KEPT_RUNS", "LATEST", "Listing", "RunStore", "RunSummary", "SavedRun", "Unreadable"]
