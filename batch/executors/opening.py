"""From a configuration to an open executor."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from ramify.engine.engine import Engine

from ..store.config import BatchConfig
from .local import open_local
from .resolve import Setup
from .searching import Executor


def open_executor(engine: Engine | None, config: BatchConfig, setup: Setup) -> AbstractAsyncContextManager[Executor]:
    """Return the executor that the configuration names, to be used with `async with`.

    Raises:
        RamifyError: on entering, if models or the cluster cannot be had.
    """
    if config.executor == "ray":
        from .ray_executor import open_ray

        return open_ray(config, setup)
    return open_local(engine, config, setup)
