"""Problems searched by one engine of this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from ramify.engine.engine import Engine
from ramify.engine.loading import default_reward

from ..store.config import BatchConfig
from .resolve import Setup
from .searching import Searcher, late_engine


@asynccontextmanager
async def open_local(engine: Engine | None, config: BatchConfig, setup: Setup) -> AsyncGenerator[Searcher]:
    """Open the engine of the configuration, or take `engine`, which stays open."""
    if engine is not None:
        reward = engine.reward if setup.strategy.uses_reward else None
        async with Searcher(engine, config.fallback, late_engine(config.fallback, reward, engine.config)) as searcher:
            yield searcher
        return
    reward = reward_source(config, setup)
    late = late_engine(config.fallback, reward, config.engine)
    async with (
        Engine(model=config.model, reward=reward, config=config.engine) as opened,
        Searcher(opened, config.fallback, late) as searcher,
    ):
        yield searcher


def reward_source(config: BatchConfig, setup: Setup) -> str | Path | None:
    """Return the reward that is to be loaded, None if the strategy needs none."""
    if setup.reward is None:
        return None
    return default_reward(config.model) if config.reward == "default" else config.reward
