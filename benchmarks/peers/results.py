"""Results of a comparison, kept in a file after every problem."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sides import Side

from ramify.files import write_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One problem of one side. `seconds` is wall-clock time, `error` why there is no answer at all."""

    problem: str
    answer: str | None
    correct: bool
    seconds: float
    generated_tokens: int
    prompt_tokens: int
    reward_tokens: int
    requests: int = 0
    sent_tokens: int = 0
    busy_s: float = 0.0
    error: str | None = None

    @property
    def policy_tokens(self) -> int:
        """Tokens that the policy evaluated or generated."""
        return self.prompt_tokens + self.generated_tokens


@dataclass(slots=True, kw_only=True)
class Entry:
    """One method of one side. `failure` is why it was given up."""

    side: str
    method: str
    version: str | None
    metered: str
    items: list[Item] = field(default_factory=list[Item])
    failure: str | None = None

    @property
    def name(self) -> str:
        """Name of the method in tables."""
        return self.method.partition("/")[2] or self.method


class Results:
    """All entries of a comparison. `path` None keeps them in memory.

    Raises:
        ValueError: if the file holds a comparison with other settings.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path = path
        self.settings = dict(settings)
        self.entries: list[Entry] = []
        if path is not None and path.exists():
            held = json.loads(path.read_text("utf-8"))
            if held["settings"] != self.settings:
                raise ValueError(f"{path} holds a comparison with other settings; name another file, or remove it")
            rows: list[dict[str, Any]] = held["entries"]
            for row in rows:
                items = [Item(**each) for each in row.pop("items")]
                self.entries.append(Entry(**row, items=items))

    def entry(self, side: Side, method: str) -> Entry:
        """Return the entry of a method, making it if there is none."""
        for each in self.entries:
            if (each.side, each.method) == (side.name, method):
                return each
        made = Entry(side=side.name, method=method, version=side.version, metered=side.metered)
        self.entries.append(made)
        return made

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        entries = ",\n".join(_lines(each) for each in self.entries)
        write_text(self._path, f'{{"settings": {json.dumps(self.settings)}, "entries": [\n{entries}\n]}}\n')


def _lines(entry: Entry) -> str:
    """Return an entry as JSON with a line for each problem."""
    data = asdict(entry)
    items = ",\n".join(json.dumps(each, separators=(",", ":")) for each in data.pop("items"))
    return f'{json.dumps(data)[:-1]}, "items": [\n{items}\n]}}'
