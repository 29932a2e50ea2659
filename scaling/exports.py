"""Export of a measurement: one compressed file with all that its results are computed from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from ramify.batch.store.folder import writing
from ramify.batch.store.records import read_records
from ramify.errors import BadRecord, RamifyError, UsageError
from ramify.files import exporting

from .cells import Row
from .config import ScalingConfig
from .plans import Plan, View

EXPORT = "rows.jsonl.gz"
"""Name of the export in the folder of a measurement."""
EXPORT_VERSION = 1
_KIND = "ramify scaling rows"


@dataclass(frozen=True, kw_only=True)
class Export:
    """A measurement: its plan, the ids of its problems in their order, its rows, and its manifest, None without one."""

    plan: Plan
    problems: tuple[str, ...]
    rows: tuple[Row, ...]
    manifest: dict[str, Any] | None


def config_to_dict(config: ScalingConfig) -> dict[str, Any]:
    """Return a configuration in plain JSON types, without the folders in which its files lie."""
    names = {name: Path(path).name for name in ("file", "prices") if (path := getattr(config, name)) is not None}
    return asdict(replace(config, sources=(), **names))


def write_export(path: Path, export: Export) -> None:
    """Write an export: JSON lines, the plan first, compressed by gzip; the same rows give the same bytes.

    Raises:
        RunFolderError: if it cannot be written.
    """
    head = {
        "kind": _KIND,
        "version": EXPORT_VERSION,
        "plan": export.plan.name,
        "views": [
            {"name": view.name, "claims": list(view.claims), "config": config_to_dict(view.config)}
            for view in export.plan.views
        ],
        "problems": list(export.problems),
        "manifest": export.manifest,
    }
    text = "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in (head, *export.rows))
    with writing(path), exporting(path) as file:
        file.write(gzip.compress(text.encode("ascii"), mtime=0))


def read_export(path: Path) -> Export:
    """Read an export, compressed or not.

    Raises:
        UsageError: if it cannot be read, or is none.
    """
    lines = list[dict[str, Any]]()
    for record in read_records(path, "jsonl"):
        if isinstance(record, BadRecord):
            raise UsageError(f"line {record.line} of {path} is damaged ({record.reason})", "take the file anew")
        lines.append(record.values)
    if not lines or lines[0].get("kind") != _KIND:
        raise UsageError(f"{path} has no rows of a measurement", f"name the {EXPORT} of `ramify bench scaling`")
    head, rows = lines[0], lines[1:]
    if head.get("version") != EXPORT_VERSION:
        raise UsageError(
            f"{path} has version {head.get('version')}, not {EXPORT_VERSION}", "use the ramify of its time"
        )
    try:
        views = tuple(
            View(name=each["name"], claims=tuple(each["claims"]), config=_config(each["config"]))
            for each in head["views"]
        )
        plan = Plan(name=head["plan"], stages=tuple(view.config for view in views), views=views)
        problems = tuple(map(str, head["problems"]))
        _ = plan.config, [row["part"] for row in rows]
    except (KeyError, TypeError, ValueError, RamifyError) as error:
        raise UsageError(f"the plan in {path} cannot be read ({error})", "take the file anew") from error
    return Export(plan=plan, problems=problems, rows=tuple(rows), manifest=head.get("manifest"))


def _config(values: Mapping[str, Any]) -> ScalingConfig:
    settings: dict[str, Any] = {
        name: tuple(cast("Sequence[Any]", value)) if isinstance(value, list) else value
        for name, value in values.items()
    }
    return ScalingConfig(**settings)
