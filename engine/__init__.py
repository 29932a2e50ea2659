"""The engine: models, metering and the run that brings policy, reward, strategy and budget together."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.engine.config import EngineConfig, RunConfig
    from ramify.engine.engine import Engine
    from ramify.engine.problem import Problem
    from ramify.engine.run import Run
    from ramify.engine.solution import Solution, SolutionCandidate
    from ramify.engine.sync import solve_sync
    from ramify.engine.usage import RoleUsage, Usage

_HOMES = {
    "Engine": "engine",
    "EngineConfig": "config",
    "Problem": "problem",
    "RoleUsage": "usage",
    "Run": "run",
    "RunConfig": "config",
    "Solution": "solution",
    "SolutionCandidate": "solution",
    "Usage": "usage",
    "solve_sync": "sync",
}

__all__ = [
    "Engine",
    "EngineConfig",
    "Problem",
    "RoleUsage",
    "Run",
    "RunConfig",
    "Solution",
    "SolutionCandidate",
    "Usage",
    "solve_sync",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
