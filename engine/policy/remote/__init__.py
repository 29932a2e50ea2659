"""Models behind OpenAI-compatible HTTP servers, as policies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .address import RemoteAddress as RemoteAddress
    from .address import parse_address as parse_address
    from .policy import RemotePolicy as RemotePolicy
    from .settings import RemoteSettings as RemoteSettings

_HOMES = {
    "RemoteAddress": "address",
    "RemotePolicy": "policy",
    "RemoteSettings": "settings",
    "parse_address": "address",
}

__all__ = ["RemoteAddress", "RemotePolicy", "RemoteSettings", "parse_address"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
