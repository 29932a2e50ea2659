"""Results of a scaling measurement: verdicts of all claims, JSON of all cells, and a Markdown report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ramify.batch.store.folder import read_manifest, write_file, writing
from ramify.files import make_folder
from ramify.tables import markdown_table

from ..cells import Cell, CostKind, Measurements, Row, measurements
from ..exports import EXPORT, Export, config_to_dict, write_export
from ..plans import Plan
from ..run import problems_of, read_rows
from . import law, quantization, rebase, saving, small_models, votes_saturate
from .verdict import Verdict, front, merged

RESULTS, REPORT = "results.json", "report.md"
CLAIMS = (small_models, votes_saturate, rebase, quantization, saving, law)
RESULTS_VERSION = 3
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


def results_of(plan: Plan, rows: Sequence[Row], problems: Sequence[str] | None = None) -> ScalingResults:
    """Return the measurements and verdicts of a folder's rows.

    `problems` are the ids of the plan's problems, None to make or read these.
    """
    if problems is None:
        problems = [problem.id for problem in problems_of(plan.config)]
    measured = dict[str, Measurements]()
    for view in plan.views:
        measured[view.name] = measurements(rows, view.config, problems[: view.config.problems])
    verdicts = list[Verdict]()
    for number, claim in enumerate(CLAIMS, 1):
        views = [view.name for view in plan.views if number in view.claims] or [plan.views[0].name]
        verdicts.append(merged([(_where(measured[name], views), claim.judge(measured[name])) for name in views]))
    return ScalingResults(plan=plan, measured=measured, verdicts=tuple(verdicts))


def summarise(plan: Plan, out: Path) -> ScalingResults:
    """Compute everything from the rows of a folder, and write it there: JSON, Markdown and the export.

    Raises:
        RunFolderError: if the folder is damaged or cannot be written.
        UsageError: if the file of the problems cannot be read.
    """
    problems = tuple(problem.id for problem in problems_of(plan.config))
    export = Export(plan=plan, problems=problems, rows=tuple(read_rows(out)), manifest=read_manifest(out))
    found = summarise_export(export, out)
    write_export(out / EXPORT, export)
    return found


def summarise_export(export: Export, out: Path) -> ScalingResults:
    """Compute everything from an export, and write it to a folder: JSON and Markdown.

    Raises:
        RunFolderError: if the folder cannot be written.
    """
    found = results_of(export.plan, export.rows, export.problems)
    with writing(out):
        make_folder(out)
    write_file(out / RESULTS, json.dumps(to_dict(found, export.manifest), separators=(",", ":")) + "\n")
    write_file(out / REPORT, markdown(found))
    return found


def to_dict(found: ScalingResults, manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Return all results in plain JSON types."""
    return {
        "version": RESULTS_VERSION,
        "plan": found.plan.name,
        "stages": [config_to_dict(stage) for stage in found.plan.stages],
        "versions": None if manifest is None else manifest.get("versions"),
        "created": None if manifest is None else manifest.get("created"),
        "views": [
            {
                "name": view.name,
                "claims": list(view.claims),
                "config": config_to_dict(view.config),
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
        "accuracy": dict(zip(("value", "low", "high"), (cell.accuracy, *cell.band), strict=True)),
        "generated_tokens": float(cell.tokens.mean()),
        "policy_flops": float(cell.policy_flops.mean()),
        "reward_flops": float(cell.reward_flops.mean()),
        "seconds": cell.cost(CostKind.SECONDS) if cell.knows(CostKind.SECONDS) else None,
        **({"joules": cell.cost(CostKind.JOULES)} if cell.knows(CostKind.JOULES) else {}),
        **({"money": cell.cost(CostKind.MONEY)} if cell.knows(CostKind.MONEY) else {}),
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
    kind = f"of {config.steps[0]} to {config.steps[1]} steps" if config.file is None else f"of {Path(config.file).name}"
    text = (
        f"{'' if name == 'all' else f'**{name}**: '}{len(found.problems)} problems {kind} "
        f"from seed {config.problem_seed}, up to {config.seeds} sampling "
        f"seed{'s' if config.seeds > 1 else ''}, {len(found.cells)} settings. Figures are means a problem; brackets "
        "are 95 % bands by bootstrap over problems, those of accuracies with one sampling seed Wilson's. FLOPs are 2 x "
        "parameters x tokens evaluated."
    )
    if len(found.problems) < ENOUGH_PROBLEMS:
        text += (
            f" **With {len(found.problems)} problems this shows that everything works, not what is true**: the bands "
            "are far too wide."
        )
    if found.energy_sources:
        text += f" Joules are by {', '.join(sorted(found.energy_sources))}."
    if found.currencies:
        text += f" Money is in {', '.join(sorted(found.currencies))}."
    if found.left_out:
        text += f" {len(found.left_out)} settings are not complete and left out."
    return text


def _cells(found: Measurements) -> str:
    timed = CostKind.SECONDS in found.cost_kinds
    ahead = {id(cell) for cell in front(found.comparable(CostKind.ALL_FLOPS), CostKind.ALL_FLOPS)}
    rows = [
        (
            str(cell.label),
            f"{cell.accuracy:.3f}",
            "{:.3f} to {:.3f}".format(*cell.band),
            f"{cell.tokens.mean():,.0f}",
            CostKind.POLICY_FLOPS.text(cell.cost(CostKind.POLICY_FLOPS)),
            CostKind.ALL_FLOPS.text(cell.cost(CostKind.ALL_FLOPS)),
            *(
                [CostKind.SECONDS.text(cell.cost(CostKind.SECONDS)) if cell.knows(CostKind.SECONDS) else ""]
                if timed
                else []
            ),
            str(cell.seeds),
            "yes" if id(cell) in ahead else "",
        )
        for cell in sorted(found.cells, key=lambda cell: cell.cost(CostKind.ALL_FLOPS))
    ]
    seconds = ["seconds"] if timed else []
    head = (
        "setting",
        "accuracy",
        "95 % band",
        "tokens",
        "policy GFLOPs",
        "all GFLOPs",
        *seconds,
        "seeds",
        "on the front",
    )
    return markdown_table(head, rows)
