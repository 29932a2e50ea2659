"""Executors of a batch: in this process, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from ramify.engine.engine import Engine
from ramify.events import ModelLoading

from ..store.config import BatchConfig
from .local import Executor, SearchRequest, open_local
from .setup import Setup

__all__ = ["Executor", "SearchRequest", "open_executor"]


def open_executor(
    engine: Engine | None,
    config: BatchConfig,
    setup: Setup,
    on_loading: Callable[[ModelLoading], None] | None = None,
) -> AbstractAsyncContextManager[Executor]:
    """Return the executor that the configuration names, to be used with `async with`.

    `engine` is an open engine to search with, None to open one from the configuration; `on_loading` is called while
    that loads its models in this process.

    Raises:
        RamifyError: on entering, if models cannot be loaded or the cluster does not answer.
    """
    if config.executor == "ray":
        from .ray_executor import open_ray

        return open_ray(config, setup)
    return open_local(engine, config, setup, on_loading)
