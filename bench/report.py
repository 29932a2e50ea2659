"""The results of a measurement: JSON of all cells, Markdown tables, plots and the verdicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ramify.batch.folder import read_manifest
from ramify.batch.journal import write_whole
from ramify.engine.problem import Problem

from .cells import Board, Cell, board
from .claims import law, quantization, rebase, saving, small_models, votes_saturate
from .claims.verdict import Verdict, front
from .config import ScalingConfig
from .folder import read_rows
from .statistics import mean

RESULTS, REPORT = "results.json", "report.md"
CLAIMS = (small_models, votes_saturate, rebase, quantization, saving, law)
RESULTS_VERSION = 1
ENOUGH_PROBLEMS = 100
"""With fewer, the bands are so wide that hardly any claim can be told from its opposite."""


def judge(found: Board) -> list[Verdict]:
    """Return the verdicts of all claims, in their order."""
    return [claim.judge(found) for claim in CLAIMS]


def summarise(config: ScalingConfig, out: Path, problems: Sequence[Problem]) -> tuple[Board, list[Verdict]]:
    """Compute everything from the rows of a folder, and write it there: JSON and Markdown.

    Raises:
        RunFolderError: if the folder is damaged or cannot be written.
    """
    found = board(read_rows(out), config, [problem.id for problem in problems])
    verdicts = judge(found)
    write_whole(out / RESULTS, json.dumps(to_dict(found, verdicts, read_manifest(out)), indent=1) + "\n")
    write_whole(out / REPORT, markdown(found, verdicts))
    return found, verdicts


def to_dict(found: Board, verdicts: Sequence[Verdict], manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Return all results in plain JSON types."""
    return {
        "version": RESULTS_VERSION,
        "config": asdict(found.config),
        "versions": None if manifest is None else manifest.get("versions"),
        "problems": len(found.problems),
        "cells": [cell_to_dict(cell) for cell in found.cells],
        "left_out": list(found.left_out),
        "verdicts": [verdict.to_dict() for verdict in verdicts],
    }


def cell_to_dict(cell: Cell) -> dict[str, Any]:
    """Return a cell in plain JSON types; `right_seeds` says of how many seeds each problem is right."""
    return asdict(cell.label) | {
        "name": str(cell.label),
        "parameters": cell.parameters,
        "seeds": cell.seeds,
        "accuracy": mean(cell.right).to_dict(),
        "generated_tokens": float(cell.tokens.mean()),
        "policy_flops": float(cell.policy_flops.mean()),
        "reward_flops": float(cell.reward_flops.mean()),
        "right_seeds": ",".join(str(round(float(each) * cell.seeds)) for each in cell.right),
    }


def markdown(found: Board, verdicts: Sequence[Verdict]) -> str:
    """Return the report."""
    parts = ["# Inference scaling laws", _size(found), "## Verdicts", markdown_verdicts(verdicts)]
    for verdict in verdicts:
        parts.append(f"## {verdict.number}. {verdict.claim}")
        parts.append(f"**{verdict.outcome}.** {verdict.test}")
        if verdict.findings:
            parts.append("\n".join(f"- {line}" for line in verdict.findings))
        if verdict.table:
            parts.append(table(verdict.table[0], verdict.table[1:]))
    parts += ["## All settings", _cells(found)]
    return "\n\n".join(parts) + "\n"


def markdown_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    rows = [(str(each.number), each.claim, str(each.outcome)) for each in verdicts]
    return table(("", "claim", "verdict"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _size(found: Board) -> str:
    config = found.config
    text = (
        f"{len(found.problems)} problems of {config.steps[0]} to {config.steps[1]} steps from seed "
        f"{config.problem_seed}, {config.seeds} sampling seed{'s' if config.seeds > 1 else ''}, "
        f"{len(found.cells)} settings. Figures are means a problem; brackets are 95 % bands by bootstrap over "
        "problems. FLOPs are 2 x parameters x tokens evaluated."
    )
    if len(found.problems) < ENOUGH_PROBLEMS:
        text += (
            f" **With {len(found.problems)} problems this shows that everything works, not what is true**: the bands "
            "are far too wide."
        )
    if found.left_out:
        text += f" {len(found.left_out)} settings are not complete and left out."
    return text


def _cells(found: Board) -> str:
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
    return table(head, rows)


def _band(cell: Cell) -> tuple[float, float]:
    found = mean(cell.right)
    return found.low, found.high
