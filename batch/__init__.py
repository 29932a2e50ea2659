"""Many problems in one resumable run: run directory, grading and reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.errors import BadInput, BadRecord, RunFolderError

    from .grading import grade
    from .progress import BatchControl, BatchProgress
    from .report.compare import Comparison, compare_runs
    from .report.totals import BatchReport
    from .runner import run_batch
    from .store.config import BatchConfig
    from .store.inputs import read_problems

_HOMES = {
    "BadInput": ".errors",
    "BadRecord": ".errors",
    "BatchConfig": "store.config",
    "BatchControl": "progress",
    "BatchProgress": "progress",
    "BatchReport": "report.totals",
    "Comparison": "report.compare",
    "RunFolderError": ".errors",
    "compare_runs": "report.compare",
    "grade": "grading",
    "read_problems": "store.inputs",
    "run_batch": "runner",
}

__all__ = [
    "BadInput",
    "BadRecord",
    "BatchConfig",
    "BatchControl",
    "BatchProgress",
    "BatchReport",
    "Comparison",
    "RunFolderError",
    "compare_runs",
    "grade",
    "read_problems",
    "run_batch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
