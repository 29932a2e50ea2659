"""Configuration of a server: its address, keys, limits and presets, and the file of keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any, cast

from ramify.errors import MalformedText, SearchError, UsageError
from ramify.json_text import read_toml
from ramify.search.budget import UNITS, Budget
from ramify.text import did_you_mean

DEFAULT_PORT = 8642
"""Port of `ramify serve`; other than those of llama-server, so that both run on one machine."""
ANYONE = "anyone"
"""Name of the caller without a key; a table of this name in the file of keys admits such callers."""
_COUNTS = ("max_runs",)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A caller that the server admits, and the limits of its requests.

    `digest` is the SHA-256 of its key, None for callers without one. `budget` is the highest that a request may ask
    for, in any mix of limits. `max_runs` bounds its requests that run at a time, None for the server's bound alone.
    """

    name: str
    digest: bytes | None = field(default=None, repr=False)
    budget: Budget = field(default_factory=Budget)
    max_runs: int | None = None

    @classmethod
    def with_key(cls, name: str, key: str, **limits: Any) -> Caller:
        """Return a caller that has to show `key`.

        Raises:
            UsageError: if the key is empty, or has signs that no header can carry.
        """
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError(f"the key of {name} cannot be sent in a header", "use letters, digits and signs of ASCII")
        return cls(name=name, digest=_digest(key), **limits)

    def shows(self, key: str) -> bool:
        """Tell whether `key` is this caller's; the time that it takes does not depend on the key."""
        return self.digest is not None and compare_digest(self.digest, _digest(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Search settings under a name: `values` are by key, as in the settings file."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Configuration of a server.

    `model_name` is the model's name for clients, "" for its own. `callers` are those that are admitted; without any,
    everyone is. `max_runs` searches run at a time, and `max_queued` requests wait for their turn; further ones are
    refused. `grace_s` is the time in seconds that running requests have after the server was told to end. `kept_runs`
    is the number of ended runs whose trees can be looked at, as far as `kept_bytes` of memory hold them; the last one
    is kept in any case. `defaults` are the search settings by key that a request and its preset leave open.

    Raises:
        UsageError: if a number is out of range.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    model_name: str = ""
    callers: Sequence[Caller] = ()
    max_runs: int = 4
    max_queued: int = 64
    grace_s: float = 30.0
    kept_runs: int = 64
    kept_bytes: int = 256 << 20
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    strategy_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    presets: Mapping[str, Preset] = field(default_factory=dict[str, Preset])

    def __post_init__(self) -> None:
        lowest = {"max_runs": 1, "max_queued": 0, "grace_s": 0, "kept_runs": 0, "kept_bytes": 0, "port": 0}
        for name, low in lowest.items():
            if getattr(self, name) < low:
                raise UsageError(f"{name} is {getattr(self, name)}", f"use {low} or more")

    @property
    def is_local(self) -> bool:
        """True if only programs of this machine reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_open(self) -> bool:
        """True if callers without a key are admitted."""
        return not self.callers or any(each.digest is None for each in self.callers)

    def caller(self, key: str | None) -> Caller | None:
        """Return the caller that shows `key`, None if it is not admitted; `key` None shows none."""
        if not self.callers:
            return Caller(name=ANYONE)
        if key is None:
            return next((each for each in self.callers if each.digest is None), None)
        found = [each for each in self.callers if each.shows(key)]
        return found[0] if found else None


def read_callers(path: Path) -> list[Caller]:
    """Return the callers that a TOML file lists: a table for each, with its key and its limits.

    The keys of a table are `key`, the limits of Budget and `max_runs`. The table [anyone] has no key.

    Raises:
        UsageError: if the file cannot be read, or a table is wrong.
    """
    try:
        tables = read_toml(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path} cannot be read: {reason}", "correct the file") from None
    except MalformedText as error:
        raise UsageError(f"{path} {error.message.removeprefix('it ')}", "correct the file") from None
    if not tables:
        raise UsageError(f"{path} lists no callers", 'write [NAME] and below it key = "…"')
    return [_caller(path, name, table) for name, table in tables.items()]


def _caller(path: Path, name: str, table: Any) -> Caller:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: {name} has to be a table", f'write [{name}] and below it key = "…"')
    values = dict(cast("dict[str, Any]", table))
    key = values.pop("key", None)
    known = (*UNITS, *_COUNTS)
    for each in values:
        if each not in known:
            raise UsageError(f"{path}: [{name}] has no setting {each!r}", did_you_mean(each, known, ", ".join(known)))
    max_runs = values.pop("max_runs", None)
    if max_runs is not None and (isinstance(max_runs, bool) or not isinstance(max_runs, int) or max_runs < 1):
        raise UsageError(f"{path}: [{name}] max_runs is {max_runs!r}", "use 1 or more")
    try:
        limits: dict[str, Any] = {"budget": Budget(**values), "max_runs": max_runs}
    except SearchError as error:
        raise UsageError(f"{path}: [{name}] {error}") from None
    if (name == ANYONE) != (key is None):
        raise UsageError(
            f"{path}: [{name}] has {'a' if key is not None else 'no'} key",
            f"every table but [{ANYONE}] has one",
        )
    if key is None:
        return Caller(name=name, **limits)
    if not isinstance(key, str):
        raise UsageError(f"{path}: [{name}] key is no text", 'write key = "…"')
    return Caller.with_key(name, key, **limits)
