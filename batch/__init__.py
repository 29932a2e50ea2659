"""Batches: many problems in one resumable run, with a run folder, grading and reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramify.errors import BadInput as BadInput
    from ramify.errors import BadRecord as BadRecord
    from ramify.errors import RunFolderError as RunFolderError

    from .grading import grade as grade
    from .progress import BatchControl as BatchControl
    from .progress import BatchProgress as BatchProgress
    from .report.compare import Comparison as Comparison
    from .report.compare import compare_runs as compare_runs
    from .report.totals import BatchReport as BatchReport
    from .runner import run_batch as run_batch
    from .store.config import BatchConfig as BatchConfig
    from .store.inputs import read_problems as read_problems
else:
    from ramify._lazy import lazy_names

    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "ramify.batch.grading": "grade",
            "ramify.batch.progress": "BatchControl BatchProgress",
            "ramify.batch.report.compare": "Comparison compare_runs",
            "ramify.batch.report.totals": "BatchReport",
            "ramify.batch.runner": "run_batch",
            "ramify.batch.store.config": "BatchConfig",
            "ramify.batch.store.inputs": "read_problems",
            "ramify.errors": "BadInput BadRecord RunFolderError",
        },
    )
