"""Claim 4: it is better to quantize and sample more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ramify.search.votes import VoteRule
from ramify.statistics import Estimate, bootstrap_ratio, paired_difference

from ..cells import Measurements, Row, winner
from ..fits import Array
from ..quantizations import BLOCK
from .verdict import Verdict, level, summed_up

LEAST_BLOCKS = 4
"""Timed blocks that a band of the speed needs."""
CLAIM = "At equal seconds, quantizing a policy and sampling more is at least as good"
TEST = (
    "The files of each policy by turns on the same problems. The largest file (F16 where there is one) is given "
    "the samples that take as long as all samples of the other, rounded down, and at least one; accuracy of "
    "majority vote, paired bootstrap over problems. Supported if no quantized file is worse by more than the "
    "margin and each is faster."
)


def judge(measured: Measurements) -> Verdict:
    """Return the verdict over all policies; the table also has the files of reward models."""
    table: list[tuple[str, ...]] = [
        ("file", "samples", "accuracy", "tokens/s", "speed", "at equal seconds", "minus the largest file")
    ]
    findings, good, cases = list[str](), 0, 0
    figures = dict[str, Any]()
    for policy in measured.config.policies:
        rows = [row for each in measured.problems if (row := measured.quantized.get((policy, each))) is not None]
        if len(rows) < len(measured.problems):
            continue
        files = list(rows[0]["files"])
        base = _largest(files)
        for name in (base, *(file for file in files if file != base)):
            width = len(rows[0]["files"][name]["groups"])
            accuracy, speed = _accuracy(rows, name, width), _tokens(rows, name) / _seconds(rows, name)
            figures[name] = {"accuracy": float(accuracy.mean()), "tokens_per_s": float(speed)}
            if name == base:
                table.append((name, str(width), f"{accuracy.mean():.3f}", f"{speed:,.0f}", "", "", ""))
                continue
            faster = _faster(rows, name, base)
            fewer = max(1, min(width, int(width / faster.value)))
            found = paired_difference(accuracy, _accuracy(rows, base, fewer))
            fine = level(found) and faster.low > 1
            cases, good = cases + 1, good + fine
            figures[name] |= {"speed": _plain(faster), "base_width": fewer, "difference": found.to_dict()}
            table.append(
                (
                    name,
                    str(width),
                    f"{accuracy.mean():.3f}",
                    f"{speed:,.0f}",
                    f"{faster.value:.2f} x{_band(faster)}",
                    f"{width} against {fewer} samples",
                    str(found),
                )
            )
            findings.append(
                f"{name}: {faster.value:.2f} x as fast as {base}; {width} of its samples against {fewer}: {found}"
            )
        told, more = _rewards(rows)
        findings += [f"{policy}, {line}" for line in told]
        figures |= {f"{policy}, {name}": value for name, value in more.items()}
    return Verdict(
        number=4,
        claim=CLAIM,
        outcome=summed_up(good, cases),
        test=TEST,
        findings=tuple(findings),
        table=tuple(table) if len(table) > 1 else (),
        figures=figures,
    )


def _largest(files: Sequence[str]) -> str:
    return next((name for name in files if name.endswith((":f32", ":f16", ":bf16"))), files[0])


def _accuracy(rows: Sequence[Row], name: str, width: int) -> Array:
    return np.array([_right(row["files"][name], width) for row in rows])


def _right(samples: Mapping[str, Any], width: int) -> float:
    return float(winner(samples["groups"][:width], VoteRule.MAJORITY) in samples["right"])


def _tokens(rows: Sequence[Row], name: str) -> float:
    return float(sum(sum(row["files"][name]["tokens"]) for row in rows))


def _seconds(rows: Sequence[Row], name: str) -> float:
    return float(sum(row["files"][name]["seconds"] for row in rows))


def _faster(rows: Sequence[Row], name: str, base: str) -> Estimate:
    """Return how much faster a file is, with a band over the blocks that were timed, if there are enough of them."""
    found = bootstrap_ratio(_blocks(_column(rows, base, "seconds")), _blocks(_column(rows, name, "seconds")))
    if len(rows) < BLOCK * LEAST_BLOCKS:
        return Estimate(value=found.value, low=0.0, high=np.inf)
    return found


def _blocks(seconds: Array) -> Array:
    """Return the sums over problems that were timed together; the rest belongs to the last block."""
    starts = np.arange(0, max(1, len(seconds) // BLOCK) * BLOCK, BLOCK)
    return np.add.reduceat(seconds, starts)


def _plain(found: Estimate) -> dict[str, float]:
    return found.to_dict() if np.isfinite(found.high) else {"value": found.value}


def _band(found: Estimate) -> str:
    return f" [{found.low:.2f}, {found.high:.2f}]" if np.isfinite(found.high) else " (too few problems for a band)"


def _column(rows: Sequence[Row], name: str, key: str) -> Array:
    return np.array([float(row["files"][name][key]) for row in rows])


def _rewards(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    """Return, in words and as figures, the weighted-vote accuracy and the speed of each file of a reward."""
    told, figures = list[str](), dict[str, Any]()
    samples = [next(iter(row["files"].values())) for row in rows]
    for name in rows[0]["reward_files"]:
        read = [row["reward_files"][name] for row in rows]
        right = [
            float(winner(each["groups"], VoteRule.WEIGHTED, scored["scores"]) in each["right"])
            for each, scored in zip(samples, read, strict=True)
        ]
        speed = sum(each["tokens"] for each in read) / sum(each["seconds"] for each in read)
        figures[name] = {"weighted_accuracy": sum(right) / len(right), "tokens_per_s": speed}
        told.append(f"{name} as reward: weighted vote {sum(right) / len(right):.3f}, {speed:,.0f} tokens/s read")
    return told, figures
