"""The terminal UI: watch a search think, and steer it. Importing this package loads no UI library."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import RamifyApp
    from .spec import RunSpec

__all__ = ["RamifyApp", "RunSpec"]

_HOMES = {"RamifyApp": "app", "RunSpec": "spec"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
