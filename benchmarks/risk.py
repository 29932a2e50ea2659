"""Risk and coverage of `--risk`: a threshold from calibration problems, against the plain posterior, on other problems.

    python benchmarks/risk.py --out build/risk

Each block of problems is measured once and kept, so that the same command goes on where it was stopped. With
`--profiles FOLDER` the calibrations are written as the profiles that `--risk` reads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

import ramify
from ramify.engine.library.catalog import profile_name
from ramify.engine.loading import default_reward
from ramify.engine.planning.profile import Point, Profile, fit
from ramify.engine.planning.risk import CONFIDENCE, certified_threshold
from ramify.statistics import wilson
from ramify.training.calibration import measure

LEVELS = (0.05, 0.1, 0.2)
BLOCK = 50
"""Problems that are measured and kept at a time."""


@dataclass(frozen=True)
class Problems:
    """A set of problems: its name, its number of steps, its seed and its task."""

    name: str
    steps: tuple[int, int]
    seed: int
    count: int
    task: str = "arithmetic"

    @property
    def source(self) -> str:
        """The call that makes them."""
        return f"generate_problems(steps={self.steps}, count={self.count}, seed={self.seed}, task={self.task!r})"


CALIBRATION = Problems("calibration", (2, 8), 731401, 300)
SETS = (
    CALIBRATION,
    Problems("fresh", (2, 8), 731402, 300),
    Problems("harder", (9, 12), 731403, 100),
    Problems("lists", (2, 8), 731404, 100, "lists"),
)


def main() -> None:
    """Measure what is not there yet, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strategies", default="majority")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--model", default="demo-m")
    parser.add_argument("--seconds", type=float, help="begin no block of problems after so long")
    parser.add_argument("--profiles", type=Path, help="folder that the profiles of --risk are written to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.strategies.split(","):
        points = anyio.run(measured, options, name)
        if points is None:
            print("some blocks are left; the same command goes on")
            return
        print(f"\n## {name} of {options.width}, {options.model}\n")
        print(table(points))
        if options.profiles is not None:
            write_profile(options, name, points["calibration"])


async def measured(options: argparse.Namespace, name: str) -> dict[str, Point] | None:
    """Return the outcomes and posteriors of a strategy on all sets, None if the time is up before."""
    began = time.monotonic()
    blocks = {
        (each, start): options.out / f"{name}-{each.name}-{start}.json"
        for each in SETS
        for start in range(0, each.count, BLOCK)
    }
    left = {block: path for block, path in blocks.items() if not path.exists()}
    strategy = ramify.Rebase(width=options.width) if name == "rebase" else ramify.MajorityVote(width=options.width)
    if left:
        async with ramify.Engine(options.model, "default" if strategy.uses_reward else None) as engine:
            if isinstance(strategy, ramify.Rebase):
                strategy = ramify.Rebase(width=options.width, temperature=engine.default_temperature)
            for (each, start), path in left.items():
                if options.seconds is not None and time.monotonic() - began > options.seconds:
                    return None
                problems = ramify.generate_problems(each.steps, each.count, each.seed, task=each.task)
                point = await measure(engine, problems[start : start + BLOCK], strategy, seed=1, parallel=4)
                path.write_text(json.dumps(point.model_dump()), "utf-8")
                passed_s = time.monotonic() - began
                print(f"{path.stem}: {point.right} of {point.problems} right, {passed_s:.0f} s", flush=True)
    points = {block: Point(**json.loads(path.read_text("utf-8"))) for block, path in blocks.items()}
    return {each.name: joined([point for (of, _), point in points.items() if of is each]) for each in SETS}


def joined(points: Sequence[Point]) -> Point:
    """Return the point of several blocks of problems; costs are those of the first block."""
    count, right = sum(point.problems for point in points), sum(point.right for point in points)
    whole = {
        "problems": count,
        "right": right,
        "fitted": right / count,
        "outcomes": "".join(point.outcomes for point in points),
        "posteriors": tuple(value for point in points for value in point.posteriors),
    }
    return points[0].model_copy(update=whole)


def plain(posteriors: Sequence[float], right: Sequence[bool], level: float) -> float:
    """Return the threshold of one who believes the posterior."""
    return 1 - level


def counted(posteriors: Sequence[float], right: Sequence[bool], level: float) -> float | None:
    """Return the lowest threshold with (wrong + 1) / (answers + 1) up to the level, without any certificate."""
    found = None
    for threshold in sorted(set(posteriors), reverse=True):
        given = [ok for value, ok in zip(posteriors, right, strict=True) if value >= threshold]
        if (given.count(False) + 1) / (len(given) + 1) <= level:
            found = threshold
    return found


RULES: dict[str, Callable[[Sequence[float], Sequence[bool], float], float | None]] = {
    "plain posterior": plain,
    "counted": counted,
    f"certified at {CONFIDENCE:g}": certified_threshold,
}


def table(points: dict[str, Point]) -> str:
    """Return a Markdown table of coverage and risk."""
    rows = [
        "| level | threshold | problems | answered | wrong of these | risk, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    posteriors, right = points["calibration"].posteriors, [each == "1" for each in points["calibration"].outcomes]
    for level in LEVELS:
        for title, rule in RULES.items():
            threshold = rule(posteriors, right, level)
            rows += [_row(level, title, threshold, name, points[name]) for name in ("fresh", "harder", "lists")]
    return "\n".join(rows)


def _row(level: float, title: str, threshold: float | None, name: str, point: Point) -> str:
    pairs = zip(point.posteriors, point.outcomes, strict=True)
    given = [ok for value, ok in pairs if threshold is not None and value >= threshold]
    wrong = given.count("0")
    low, high = wilson(wrong, len(given))
    shown = "none" if threshold is None else f"{threshold:.5f}"
    risk = f"{wrong / len(given):.3f} [{low:.3f}, {high:.3f}]" if given else "-"
    share = len(given) / point.problems
    return f"| {level} | {title}: {shown} | {name} | {share:.3f} ({len(given)}/{point.problems}) | {wrong} | {risk} |"


def write_profile(options: argparse.Namespace, name: str, point: Point) -> None:
    """Write the calibration of a strategy as the profile that `--risk` reads."""
    reward = default_reward(options.model) if name == "rebase" else None
    profile = Profile(
        policy=options.model, reward=reward, problems=CALIBRATION.source, seed=1, points=fit([point]), difficulty=()
    )
    profile.save(options.profiles / profile_name(options.model, reward, "risk-"))


if __name__ == "__main__":
    main()
