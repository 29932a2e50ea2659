"""Profile of a model: the measured accuracy and cost of its strategies, and the best within a budget."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ramify.errors import MalformedText, UsageError
from ramify.files import read_bytes, write_text
from ramify.json_text import read_json
from ramify.search.budget import Budget
from ramify.search.registry import make_strategy
from ramify.search.strategy import Strategy

from ..library.catalog import profile_path

PROFILE_VERSION = 1
PROBE_PATHS = 4
"""Whole paths that tell how hard a problem looks."""
Unit = Literal["generated_tokens", "total_tokens", "flops", "seconds", "nodes", "joules", "cost"]
UNITS: tuple[Unit, ...] = get_args(Unit)
"""Costs that a profile may have; energy and money only where they were known."""


class Cost(BaseModel):
    """Cost of a strategy on the problems of a calibration: the mean, and the 90th percentile."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean: float = Field(ge=0)
    p90: float = Field(ge=0)


class Point(BaseModel):
    """One strategy as measured. `strategy` is its configuration; costs are for one problem, reward model included.

    `energy_source` names the counter of the joules and `currency` that of the cost, None where there are none.

    `fitted` is the accuracy after isotonic regression over the widths of one strategy: more compute of the same kind
    is taken not to hurt, which evens out the luck of single measurements. `outcomes` has a character for each problem,
    in the calibration's order: 1 for right, 0 for wrong; empty if they were not kept. `posteriors` are those of the
    votes in the same order, by which `--risk` finds its threshold; empty if they were not kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: dict[str, Any]
    problems: int = Field(ge=1)
    right: int = Field(ge=0)
    fitted: float = Field(ge=0, le=1)
    costs: dict[Unit, Cost]
    outcomes: str = Field(default="", pattern="^[01]*$")
    posteriors: tuple[float, ...] = ()
    energy_source: str | None = None
    currency: str | None = None

    @property
    def accuracy(self) -> float:
        """Share of problems answered right."""
        return self.right / self.problems

    def make(self) -> Strategy:
        """Return the strategy.

        Raises:
            StrategyError: if this version of ramify does not know it.
        """
        return make_strategy(**self.strategy)


class Profile(BaseModel):
    """All points of one policy and reward model. `problems` names the problems that they were measured on.

    `policy_file` and `reward_file` are the SHA-256 of the models' files, None where there is no file or it is unknown.
    `difficulty` is that of each problem after `probe_paths` paths (see `ramify.search.strategies.auto.difficulty`), in
    the order of the outcomes; empty if it was not measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = PROFILE_VERSION
    policy: str
    reward: str | None
    problems: str
    seed: int
    points: tuple[Point, ...] = Field(min_length=1)
    probe_paths: int = Field(default=PROBE_PATHS, ge=1)
    difficulty: tuple[float, ...] = ()
    policy_file: str | None = None
    reward_file: str | None = None

    def front(self, unit: Unit) -> tuple[Point, ...]:
        """Return the points that no other beats at the same mean cost or less, cheapest first.

        Points whose cost in this unit is not known are left out.
        """
        kept = list[Point]()
        known = (point for point in self.points if unit in point.costs)
        for point in sorted(known, key=lambda each: (each.costs[unit].mean, -each.fitted)):
            if not kept or point.fitted > kept[-1].fitted:
                kept.append(point)
        return tuple(kept)

    def choose(self, budget: Budget) -> Point:
        """Return the point with the highest fitted accuracy that nine of ten problems finish within the budget.

        Of equals the cheapest in FLOPs; the cheapest of all if nothing fits.

        Raises:
            UsageError: if a limit is in a unit that was not measured.
        """
        fitting = self.fitting(budget)
        if not fitting:
            return min(self.points, key=lambda point: point.costs["flops"].mean)
        return min(fitting, key=lambda point: (-point.fitted, point.costs["flops"].mean))

    def fitting(self, budget: Budget) -> list[Point]:
        """Return the points that nine of ten problems finish within the budget.

        Raises:
            UsageError: if a limit is in a unit that was not measured.
        """
        limits: dict[Unit, float] = {unit: limit for unit in UNITS if (limit := getattr(budget, unit)) is not None}
        for unit in limits:
            if not all(unit in point.costs for point in self.points):
                raise UsageError(
                    f"the profile was measured without {unit}, which the budget limits",
                    "measure one with `ramify calibrate --watts` or `--prices`, or choose a strategy",
                )
        return [point for point in self.points if all(point.costs[unit].p90 <= limit for unit, limit in limits.items())]

    def save(self, path: Path) -> None:
        """Write the profile as JSON.

        Raises:
            UsageError: if the file cannot be written.
        """
        data = self.model_dump()
        for name in ("policy_file", "reward_file"):
            if data[name] is None:
                del data[name]
        for point in data["points"]:
            for name in ("posteriors", "energy_source", "currency"):
                if not point[name]:
                    del point[name]
        try:
            write_text(path, json.dumps(data, indent=1) + "\n", private=False)
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror})", "make room, or choose another file"
            ) from error


def load_profile(path: Path) -> Profile:
    """Read a profile.

    Raises:
        UsageError: if the file cannot be read or is none.
    """
    try:
        return Profile.model_validate(read_json(read_bytes(path)))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "make one with `ramify calibrate`") from error
    except (ValidationError, MalformedText) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"{path} is not a profile: {first}", "make one with `ramify calibrate`") from error


def profile_for(policy: str, reward: str | None, path: str | None = None) -> Profile:
    """Return the profile in the file `path`; None means the bundled one of these models.

    Raises:
        UsageError: if there is none, or the file cannot be read.
    """
    found = profile_path(policy, reward) if path is None else Path(path)
    if found is None:
        raise UsageError(
            f"there is no profile of {policy} with {reward or 'no reward model'}",
            "measure one with `ramify calibrate` and name it with --profile, or choose a strategy",
        )
    return load_profile(found)


def risk_profile_for(policy: str, reward: str | None, path: str | None = None) -> Profile:
    """Return the profile with posteriors in the file `path`; None means the bundled one of these models.

    Raises:
        UsageError: if there is none, or the file cannot be read.
    """
    found = profile_path(policy, reward, "risk-") if path is None else Path(path)
    if found is None:
        raise UsageError(
            f"no risk was calibrated for {policy} with {reward or 'no reward model'}",
            "measure it with `ramify calibrate` and name the file with --profile",
        )
    return load_profile(found)


def fitted(points: Sequence[tuple[float, float, int]]) -> list[float]:
    """Return the isotonic regression of accuracy on cost, in input order (pool adjacent violators).

    `points` are (cost, accuracy, number of problems); Barlow et al., "Statistical Inference under Order
    Restrictions", 1972, section 1.2.
    """
    order = sorted(range(len(points)), key=lambda i: points[i][0])
    blocks = list[tuple[float, int, list[int]]]()
    for index in order:
        _, accuracy, count = points[index]
        block = (accuracy * count, count, [index])
        while blocks and blocks[-1][0] / blocks[-1][1] >= block[0] / block[1]:
            total, size, members = blocks.pop()
            block = (total + block[0], size + block[1], members + block[2])
        blocks.append(block)
    values = [0.0] * len(points)
    for total, size, members in blocks:
        for index in members:
            values[index] = total / size
    return values


def fit(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return the points with `fitted` set from the others of the same strategy, by FLOPs."""
    done = list[Point]()
    by_name = sorted(points, key=lambda point: str(point.strategy["name"]))
    for _, group in groupby(by_name, key=lambda point: str(point.strategy["name"])):
        same = list(group)
        values = fitted([(each.costs["flops"].mean, each.accuracy, each.problems) for each in same])
        done += [each.model_copy(update={"fitted": value}) for each, value in zip(same, values, strict=True)]
    return tuple(done)
