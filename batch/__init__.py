"""Many problems in one resumable run: run directory, grading and reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.errors import BadInput, BadRecord, RunFolderError

    from .control import BatchControl
    from .report.compare import Comparison, compare_runs
    from .report.report import BatchReport, read_report
    from .runner import run_batch
    from .store.config import BatchConfig
    from .store.grading import grade
    from .store.inputs import read_problems
    from .tally import BatchProgress

_HOMES = {
    "BadInput": ".errors",
    "BadRecord": ".errors",
    "BatchConfig": "store.config",
    "BatchControl": "control",
    "BatchProgress": "tally",
    "BatchReport": "report.report",
    "Comparison": "report.compare",
    "RunFolderError": ".errors",
    "compare_runs": "report.compare",
    "grade": "store.grading",
    "read_problems": "store.inputs",
    "read_report": "report.report",
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
    "read_report",
    "run_batch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
