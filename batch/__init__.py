"""Many problems in one resumable run: run directory, grading and reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.batch.compare import Comparison, compare_runs
    from ramify.batch.config import BatchConfig
    from ramify.batch.control import BatchControl
    from ramify.batch.errors import BadInput, RunFolderError
    from ramify.batch.grading import grade
    from ramify.batch.inputs import BadRecord, read_problems
    from ramify.batch.report import BatchReport, read_report
    from ramify.batch.runner import run_batch
    from ramify.batch.tally import BatchProgress

_HOMES = {
    "BadInput": "errors",
    "BadRecord": "inputs",
    "BatchConfig": "config",
    "BatchControl": "control",
    "BatchProgress": "tally",
    "BatchReport": "report",
    "Comparison": "compare",
    "RunFolderError": "errors",
    "compare_runs": "compare",
    "grade": "grading",
    "read_problems": "inputs",
    "read_report": "report",
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
