"""The folder of a measurement: which rows it holds, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ramify.batch.store.folder import SCHEMA_VERSION, read_items
from ramify.batch.store.identity import digest, versions
from ramify.problem import Problem

from .config import ScalingConfig, Unit


def manifest(config: ScalingConfig) -> dict[str, Any]:
    """Return the manifest of a folder; all that measures on the same problems may share it."""
    identity = {"benchmark": "scaling", **config.identity()}
    return {
        "schema_version": SCHEMA_VERSION,
        "configuration_hash": digest(identity),
        "configuration": identity,
        "versions": versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Return all rows of a folder.

    Raises:
        RunFolderError: if the folder is damaged.
    """
    return list(read_items(folder))


class Stock:
    """What has been measured already."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._keys = set[tuple[str, str]]()
        self._samples = dict[tuple[str, int, str], list[tuple[int, frozenset[str]]]]()
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Take in a row."""
        self._keys.add((row["key"], row["problem"]))
        if row["part"] == "samples":
            place = (row["policy"], row["seed"], row["problem"])
            self._samples.setdefault(place, []).append((row["width"], frozenset(row["rewards"])))

    def expect(self, unit: Unit, problems: Iterable[str]) -> None:
        """Take in that a unit will have been done on these problems."""
        for problem in problems:
            self.add(
                {
                    "key": unit.key,
                    "problem": problem,
                    "part": unit.part,
                    "policy": unit.policy,
                    "seed": unit.seed,
                    "width": unit.width,
                    "rewards": unit.rewards,
                }
            )

    def has(self, unit: Unit, problem: str) -> bool:
        """Tell whether a unit needs no work on a problem: more samples, with more rewards, do as well."""
        if (unit.key, problem) in self._keys:
            return True
        found = self._samples.get((unit.policy, unit.seed, problem), []) if unit.part == "samples" else []
        return any(width >= unit.width and rewards >= {*unit.rewards} for width, rewards in found)

    def left(self, unit: Unit, problems: Sequence[Problem]) -> list[Problem]:
        """Return the problems that a unit still has to do."""
        return [problem for problem in problems if not self.has(unit, problem.id)]
