"""Ablation of everything that ramify has on one set of problems, with comparisons at equal seconds.

    python benchmarks/ablation.py --problems gsm8k_test.jsonl --count 200 --seed 31 \
        --small 0.5b.gguf --large 1.5b.gguf --reward mean-logprob --study small --out FOLDER
    python benchmarks/ablation.py ... --report --figure accuracy.svg

The plan is ablation.toml beside this file (`--plan` names another one): each configuration is a `ramify batch run` in
FOLDER/STUDY, one problem at a time. A configuration is a row of the table: accuracy with Wilson's interval, seconds and
tokens a problem, and the paired difference to the study's base. `--figure` draws accuracy against seconds. The same
command goes on where it was cut, and loses the problem in work at most; `--count 20` and then `--count 200` measures
the first 20 problems of all configurations before the rest.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ramify.batch.report.figures import Figure, Point, draw
from ramify.batch.store.folder import read_items
from ramify.files import write_text
from ramify.plots import drawing, new_figure, save_figure
from ramify.scaling.fits import Array
from ramify.statistics import paired_difference, wilson
from ramify.tables import markdown_table

PLAN = Path(__file__).with_suffix(".toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A row of the table: its name, and the options of `ramify batch run`."""

    name: str
    options: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return re.sub(r"[^A-Za-z0-9@.]+", "-", self.name).strip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Configurations that are compared with `base`; `whole` has all parts, `goal` is an accuracy, None for none."""

    name: str
    title: str
    base: str
    whole: str
    goal: float | None
    configurations: tuple[Configuration, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A configuration on the problems that all of its study have done; arrays [problems]."""

    name: str
    right: Array
    seconds: Array
    tokens: Array


def read_plan(path: Path, values: dict[str, str]) -> list[Study]:
    """Return the studies of a plan, with the values of the command line filled in."""
    plan = tomllib.loads(path.read_text("utf-8"))
    studies = list[Study]()
    for study in plan["study"]:
        configurations = tuple(
            Configuration(
                name=each["name"],
                options=tuple(option.format(**values) for option in (*each["options"], *plan.get("common", ()))),
            )
            for each in study["configuration"]
        )
        names = [each.name for each in configurations]
        for role in ("base", "whole"):
            if study[role] not in names:
                raise SystemExit(f"{path}: the {role} {study[role]!r} is no configuration of {study['name']}")
        studies.append(
            Study(
                name=study["name"],
                title=study["title"],
                base=study["base"],
                whole=study["whole"],
                goal=study.get("goal"),
                configurations=configurations,
            )
        )
    return studies


def measure(study: Study, options: argparse.Namespace) -> None:
    """Run all configurations; one that fails ends the command."""
    for configuration in study.configurations:
        command = [sys.executable, "-m", "ramify", "batch", "run", str(options.problems)]
        command += ["--out", str(options.out / study.name / configuration.folder), *configuration.options]
        command += ["--shuffle", "--shuffle-seed", str(options.seed), "--limit", str(options.count)]
        command += ["--threads", str(options.threads)] if options.threads else []
        sys.stderr.write(f"{study.name}: {configuration.name}\n")
        code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        if code not in (0, 5):
            raise SystemExit(code)


def measured(study: Study, out: Path) -> list[Measured]:
    """Return the configurations that have rows, on the problems that all of them have."""
    rows = dict[str, dict[str, dict[str, Any]]]()
    for configuration in study.configurations:
        folder = out / study.name / configuration.folder
        found = {str(row["id"]): row for row in read_items(folder)} if folder.is_dir() else {}
        if found:
            rows[configuration.name] = found
    shared = sorted(set.intersection(*(set(found) for found in rows.values()))) if rows else []

    def column(name: str, of: Any) -> Array:
        return np.array([float(of(rows[name][each])) for each in shared])

    return [
        Measured(
            name=name,
            right=column(name, lambda row: bool(row["correct"])),
            seconds=column(name, lambda row: row["usage"]["seconds"]),
            tokens=column(name, lambda row: row["usage"]["policy"]["generated_tokens"]),
        )
        for name in rows
        if shared
    ]


def report(study: Study, found: Sequence[Measured]) -> str:
    """Return the table of a study and the sentences on it."""
    by_name = {each.name: each for each in found}
    base, whole = by_name.get(study.base), by_name.get(study.whole)
    rows = list[tuple[str, ...]]()
    for each in found:
        low, high = wilson(int(each.right.sum()), len(each.right))
        rows.append(
            (
                each.name,
                f"{each.right.mean():.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{each.seconds.mean():.1f}",
                f"{each.tokens.mean():.0f}",
                "" if base is None or each is base else str(paired_difference(each.right, base.right)),
                "" if whole is None or each is whole else str(paired_difference(whole.right, each.right)),
            )
        )
    head = ("configuration", "accuracy", "95 % interval", "seconds", "tokens")
    head += (f"minus {study.base}", f"{study.whole} minus this")
    count = len(found[0].right) if found else 0
    lines = [
        f"## {study.title}",
        f"{count} problem{'' if count == 1 else 's'}; seconds and tokens are means a problem.",
        markdown_table(head, rows),
    ]
    if base is not None:
        lines.append(at_equal_seconds(base, [each for each in found if each is not base]))
    if study.goal is not None and whole is not None:
        low, high = wilson(int(whole.right.sum()), count)
        reached = (
            "reached" if whole.right.mean() >= study.goal else "within the interval" if high >= study.goal else "missed"
        )
        lines.append(f"The goal of {study.goal:.3f} is {reached} ({whole.right.mean():.3f}, {low:.3f} to {high:.3f}).")
    return "\n\n".join(lines) + "\n"


def at_equal_seconds(base: Measured, others: Sequence[Measured]) -> str:
    """Return the sentence on the configuration with the most seconds that are not more than the base's."""
    limit = float(base.seconds.mean())
    within = [each for each in others if each.seconds.mean() <= limit]
    if not within:
        return f"Nothing else takes at most the {limit:.1f} s of {base.name}."
    dearest = max(within, key=lambda each: float(each.seconds.mean()))
    found = paired_difference(dearest.right, base.right)
    verdict = "better" if found.low > 0 else "worse" if found.high < 0 else "not told apart"
    return (
        f"At equal seconds: {dearest.name} ({dearest.seconds.mean():.1f} s) against {base.name} ({limit:.1f} s): "
        f"{found}, {verdict}."
    )


def point(label: str, seconds: float, right: int, problems: int) -> Point:
    """Return a point of the figure, with Wilson's interval."""
    low, high = wilson(right, problems)
    return Point(seconds, right / problems, low, high, label)


def points_of(rows: Sequence[Measured]) -> tuple[Point, ...]:
    """Return the points of a study, by their seconds a problem."""
    ordered = sorted(rows, key=lambda row: float(row.seconds.mean()))
    return tuple(
        point(each.name, float(each.seconds.mean()), int(each.right.sum()), len(each.right)) for each in ordered
    )


def draw_figure(series: Sequence[tuple[str, tuple[Point, ...]]], path: Path) -> None:
    """Draw accuracy, with intervals, against seconds a problem: a line for each of the series."""
    with drawing():
        canvas = new_figure(9.0, 5.0)
        axes = canvas.add_subplot()
        draw(axes, Figure("", "seconds of a problem", tuple(series)))
        # Labels stand to the right of their points.
        axes.set_xlim(right=axes.get_xlim()[1] * 1.5)
        for each in (each for _, points in series for each in points):
            place = (each.x, each.y)
            axes.annotate(each.label, place, xytext=(6, 5), textcoords="offset points", fontsize="small")
        save_figure(canvas, path, option="--figure")


def read_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=Path, help="file of problems with answers")
    parser.add_argument("--count", type=int, default=200, help="problems, chosen by the seed")
    parser.add_argument("--seed", type=int, help="chooses the problems")
    parser.add_argument("--small", help="the smaller model")
    parser.add_argument("--large", help="the larger model")
    parser.add_argument("--reward", default="mean-logprob", help="reward that guides the searches")
    parser.add_argument("--study", action="append", help="study of the plan; may be repeated  [default: all]")
    parser.add_argument("--threads", type=int, help="threads of each model  [default: all processors]")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--figure", type=Path, help="image file, .svg or .png, of accuracy against seconds")
    parser.add_argument("--points", type=Path, help="only draw the figure, from a file such as results/gsm8k.json")
    options = parser.parse_args()
    needed = ("figure",) if options.points else ("problems", "seed", "small", "large", "out")
    missing = [name for name in needed if getattr(options, name) is None]
    if missing:
        parser.error(f"--{missing[0]} is missing")
    return options


def main() -> None:
    """Measure what is left, and write the report."""
    options = read_options()
    if options.points:
        measured_before = json.loads(options.points.read_text("utf-8"))["series"]
        draw_figure(
            [(name, tuple(point(*each) for each in points)) for name, points in measured_before.items()], options.figure
        )
        return
    studies = read_plan(options.plan, {name: getattr(options, name) for name in ("small", "large", "reward")})
    unknown = {*(options.study or ())} - {study.name for study in studies}
    if unknown:
        raise SystemExit(f"{options.plan} has no study {sorted(unknown)[0]!r}")
    texts, found = list[str](), list[tuple[Study, Sequence[Measured]]]()
    for study in studies:
        if options.study and study.name not in options.study:
            continue
        if not options.report:
            measure(study, options)
        found.append((study, measured(study, options.out)))
        texts.append(report(*found[-1]))
    options.out.mkdir(parents=True, exist_ok=True)
    write_text(options.out / "report.md", "\n".join(texts))
    sys.stdout.write("\n".join(texts))
    if options.figure:
        draw_figure([(study.title, points_of(rows)) for study, rows in found], options.figure)


if __name__ == "__main__":
    main()
