"""Results of a scaling measurement: verdicts of all claims, JSON of all cells, and a Markdown report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ramify.batch.store.folder import read_manifest, write_file
from ramify.statistics import bootstrap_mean
from ramify.tables import markdown_table

from ..cells import Cell, Measurements, Row, measurements
from ..plans import Plan
from ..run import problems_of, read_rows
from . import law, quantization, rebase, saving, small_models, votes_saturate
from .verdict import Verdict, front, merged

RESULTS, REPORT = "results.json", "report.md"
CLAIMS = (small_models, votes_saturate, rebase, quantization, saving, law)
RESULTS_VERSION = 2
ENOUGH_PROBLEMS = 100
"""With fewer, the bands are so wide that hardly any claim can be told from its opposite."""


@dataclass(frozen=True, kw_only=True)
class ScalingResults:
    """The measurements of a plan by view, and the verdicts on all claims in their order."""

    plan: Plan
    measured: dict[str, Measurements]
    verdicts: tuple[Verdict, ...]


def judge(found: Measurements) -> list[Verdict]:
    """Return the verdicts of all claims on one set of measurements, in their order."""
    return [claim.judge(found) for claim in CLAIMS]


def results_of(plan: Plan, rows: Sequence[Row]) -> ScalingResults:
    """Return the measurements and verdicts of a folder's rows."""
    measured = dict[str, Measurements]()
    for view in plan.views:
        measured[view.name] = measurements(rows, view.config, [problem.id for problem in problems_of(view.config)])
    verdicts = list[Verdict]()
    for number, claim in enumerate(CLAIMS, 1):
        views = [view.name for view in plan.views if number in view.claims] or [plan.views[0].name]
        verdicts.append(merged([(_where(measured[name], views), claim.judge(measured[name])) for name in views]))
    return ScalingResults(plan=plan, measured=measured, verdicts=tuple(verdicts))


def summarise(plan: Plan, out: Path) -> ScalingResults:
    """Compute everything from the rows of a folder, and write it there: JSON and Markdown.

    Raises:
        RunFolderError: if the folder is damaged or cannot be written.
    """
    found = results_of(plan, read_rows(out))
    write_file(out / RESULTS, json.dumps(to_dict(found, read_manifest(out)), separators=(",", ":")) + "\n")
    write_file(out / REPORT, markdown(found))
    return found


def to_dict(found: ScalingResults, manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Return all results in plain JSON types."""
    return {
        "version": RESULTS_VERSION,
        "plan": found.plan.name,
        "stages": [asdict(stage) for stage in found.plan.stages],
        "versions": None if manifest is None else manifest.get("versions"),
        "created": None if manifest is None else manifest.get("created"),
        "views": [
            {
                "name": view.name,
                "claims": list(view.claims),
                "config": asdict(view.config),
                "problems": len(found.measured[view.name].problems),
                "cells": [cell_to_dict(cell) for cell in found.measured[view.name].cells],
                "left_out": list(found.measured[view.name].left_out),
            }
            for view in found.plan.views
        ],
        "verdicts": [verdict.to_dict() for verdict in found.verdicts],
    }


def cell_to_dict(cell: Cell) -> dict[str, Any]:
    """Return a cell in plain JSON types; `right_seeds` says of how many seeds each problem is right."""
    return asdict(cell.label) | {
        "name": str(cell.label),
        "parameters": cell.parameters,
        "seeds": cell.seeds,
        "accuracy": bootstrap_mean(cell.right).to_dict(),
        "generated_tokens": float(cell.tokens.mean()),
        "policy_flops": float(cell.policy_flops.mean()),
        "reward_flops": float(cell.reward_flops.mean()),
        "right_seeds": ",".join(str(round(float(each) * cell.seeds)) for each in cell.right),
    }


def markdown(found: ScalingResults) -> str:
    """Return the report."""
    parts = ["# Inference scaling laws", *(_size(name, each) for name, each in found.measured.items())]
    parts += ["## Verdicts", markdown_verdicts(found.verdicts)]
    for verdict in found.verdicts:
        parts.append(f"## {verdict.number}. {verdict.claim}")
        parts.append(f"**{verdict.outcome}.** {verdict.test}")
        if verdict.findings:
            parts.append("\n".join(f"- {line}" for line in verdict.findings))
        if verdict.table:
            parts.append(markdown_table(verdict.table[0], verdict.table[1:]))
    for name, each in found.measured.items():
        parts += [f"## All settings{_named(name)}", _cells(each)]
    return "\n\n".join(parts) + "\n"


def markdown_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    rows = [(str(each.number), each.claim, str(each.outcome)) for each in verdicts]
    return markdown_table(("", "claim", "verdict"), rows)


def _named(name: str) -> str:
    return "" if name == "all" else f": {name}"


def _where(found: Measurements, views: Sequence[str]) -> str:
    """Return the text that tells the findings of one view from those of others, "" if there is one view."""
    return f"{len(found.problems)} problems" if len(views) > 1 else ""


def _size(name: str, found: Measurements) -> str:
    config = found.config
    text = (
        f"{'' if name == 'all' else f'**{name}**: '}{len(found.problems)} problems of {config.steps[0]} to "
        f"{config.steps[1]} steps from seed {config.problem_seed}, up to {config.seeds} sampling "
        f"seed{'s' if config.seeds > 1 else ''}, {len(found.cells)} settings. Figures are means a problem; brackets "
        "are 95 % bands by bootstrap over problems. FLOPs are 2 x parameters x tokens evaluated."
    )
    if len(found.problems) < ENOUGH_PROBLEMS:
        text += (
            f" **With {len(found.problems)} problems this shows that everything works, not what is true**: the bands "
            "are far too wide."
        )
    if found.left_out:
        text += f" {len(found.left_out)} settings are not complete and left out."
    return text


def _cells(found: Measurements) -> str:
    ahead = {id(cell) for cell in front([each for each in found.cells if each.label.sigma == 0], counted=True)}
    rows = [
        (
            str(cell.label),
            f"{cell.accuracy:.3f}",
            "{:.3f} to {:.3f}".format(*_band(cell)),
            f"{cell.tokens.mean():,.0f}",
            f"{cell.cost(counted=False) / 1e9:.3g}",
            f"{cell.cost(counted=True) / 1e9:.3g}",
            str(cell.seeds),
            "yes" if id(cell) in ahead else "",
        )
        for cell in sorted(found.cells, key=lambda cell: cell.cost(counted=True))
    ]
    head = ("setting", "accuracy", "95 % band", "tokens", "policy GFLOPs", "all GFLOPs", "seeds", "on the front")
    return markdown_table(head, rows)


def _band(cell: Cell) -> tuple[float, float]:
    found = bootstrap_mean(cell.right)
    return found.low, found.high
