"""Where the problems of a batch are searched: in this process, or spread over a Ray cluster."""

from __future__ import annotations

from ramify.batch.executors.opening import open_executor
from ramify.batch.executors.searching import Executor, SearchRequest

__all__ = ["Executor", "SearchRequest", "open_executor"]
