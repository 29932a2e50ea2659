"""Where the problems of a batch are searched: in this process, or spread over a Ray cluster."""

from __future__ import annotations

from .opening import open_executor
from .searching import Executor, SearchRequest

__all__ = ["Executor", "SearchRequest", "open_executor"]
