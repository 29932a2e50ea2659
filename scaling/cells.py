"""Cells of a scaling measurement: the figures of one setting on every problem, from the rows of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import fsum, inf, nan
from typing import Any

import numpy as np

from ramify.reward.noise import disturbed
from ramify.search.votes import VoteRule
from ramify.statistics import bootstrap_mean, wilson

from .config import SAMPLED, ScalingConfig, is_sized, split_strategy, units
from .fits import Array

Row = Mapping[str, Any]
RULES = {"majority": VoteRule.MAJORITY, "weighted": VoteRule.WEIGHTED, "best-of-n": VoteRule.BEST}


class CostKind(StrEnum):
    """Costs at which settings are compared; the values are their names in reports."""

    ALL_FLOPS = "with the reward counted"
    POLICY_FLOPS = "policy alone"
    SECONDS = "in seconds"
    JOULES = "in joules"
    MONEY = "in money"

    @property
    def unit(self) -> str:
        """The unit of `text`, "" for money."""
        return {CostKind.SECONDS: "s", CostKind.JOULES: "J", CostKind.MONEY: ""}.get(self, "GFLOPs")

    def text(self, cost: float) -> str:
        """Return a cost as a number of units."""
        return f"{cost / 1e9 if self.unit == 'GFLOPs' else cost:.3g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Setting that a cell measures; `reward` is None for strategies without one, `sigma` the noise on its logits."""

    policy: str
    reward: str | None
    strategy: str
    width: int
    sigma: float = 0.0

    def __str__(self) -> str:
        sized = is_sized(split_strategy(self.strategy)[0])
        noise = f" ~{self.sigma:g}" if self.sigma else ""
        judged = f" by {self.reward}" if self.reward else ""
        return f"{self.policy} {self.strategy}{f'@{self.width}' if sized else ''}{judged}{noise}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchFigures:
    """One search of one problem: whether its answer is right, the tokens that the policy generated, and FLOPs.

    `seconds` are wall-clock time, NaN where it was not measured; so are `joules` and `money`.
    """

    right: bool
    tokens: int
    policy_flops: float
    reward_flops: float
    seconds: float = nan
    joules: float = nan
    money: float = nan


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A setting on all problems; arrays [problems] hold means over the sampling seeds.

    `first` is 1 where the first sampling seed's answer is right; `seeds` is the number of sampling seeds. `seconds`,
    `joules` and `money` are NaN where they were not measured.
    """

    label: Label
    parameters: int
    seeds: int
    right: Array
    first: Array
    tokens: Array
    policy_flops: Array
    reward_flops: Array
    seconds: Array
    joules: Array | None = None
    money: Array | None = None

    @cached_property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    @cached_property
    def band(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy: Wilson's for one sampling seed, else by bootstrap over problems."""
        if self.seeds == 1:
            return wilson(round(float(self.right.sum())), len(self.right))
        found = bootstrap_mean(self.right)
        return found.low, found.high

    def knows(self, by: CostKind) -> bool:
        """Return whether the cost of every problem is known."""
        return not bool(np.isnan(self.costs(by)).any())

    def cost(self, by: CostKind) -> float:
        """Return the mean cost of a problem."""
        return float(self.costs(by).mean())

    def costs(self, by: CostKind) -> Array:
        """Return the cost of each problem."""
        match by:
            case CostKind.ALL_FLOPS:
                return self.policy_flops + self.reward_flops
            case CostKind.POLICY_FLOPS:
                return self.policy_flops
            case CostKind.SECONDS:
                return self.seconds
            case CostKind.JOULES:
                return np.full_like(self.right, nan) if self.joules is None else self.joules
            case CostKind.MONEY:
                return np.full_like(self.right, nan) if self.money is None else self.money


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """All complete cells, the rows of samples by (policy, sampling seed, problem), and those of quantized files.

    `quantized` is by (policy, problem). `left_out` are the labels of cells that lack some problems. `energy_sources`
    names the counters of the joules, and `currencies` the currencies of the money.
    """

    config: ScalingConfig
    problems: tuple[str, ...]
    cells: tuple[Cell, ...]
    samples: Mapping[tuple[str, int, str], Row]
    quantized: Mapping[tuple[str, str], Row]
    left_out: tuple[str, ...]
    energy_sources: frozenset[str] = frozenset()
    currencies: frozenset[str] = frozenset()

    @cached_property
    def cost_kinds(self) -> tuple[CostKind, ...]:
        """The costs at which settings can be compared: seconds where some were measured alone, energy where known."""
        return tuple(kind for kind in CostKind if any(cell.knows(kind) for cell in self.cells))

    def comparable(self, by: CostKind) -> list[Cell]:
        """Return the cells without noise whose cost is known."""
        return [cell for cell in self.cells if cell.label.sigma == 0 and cell.knows(by)]

    def of(
        self,
        policy: str,
        strategy: str,
        reward: str | None,
        *,
        sigma: float = 0.0,
        by: CostKind = CostKind.ALL_FLOPS,
    ) -> list[Cell]:
        """Return the cells of a strategy whose cost is known, narrowest first."""
        found = [
            cell
            for cell in self.cells
            if cell.knows(by)
            and (cell.label.policy, cell.label.strategy, cell.label.reward, cell.label.sigma)
            == (policy, strategy, reward, sigma)
        ]
        return sorted(found, key=lambda cell: cell.label.width)

    def rows(self, policy: str) -> list[list[Row]]:
        """Return the samples of each problem, a row for each sampling seed; none if they are not complete."""
        found = [
            [row for seed in range(self.config.seeds) if (row := self.samples.get((policy, seed, problem))) is not None]
            for problem in self.problems
        ]
        return found if all(found) else []


def measurements(rows: Sequence[Row], config: ScalingConfig, problems: Sequence[str]) -> Measurements:
    """Return the measurements of a plan, from all rows of its folder."""
    wanted, planned = {*problems}, {unit.key for unit in units(config)}
    samples = dict[tuple[str, int, str], Row]()
    quantized = dict[tuple[str, str], Row]()
    found_by_label = dict[Label, dict[tuple[str, int], SearchFigures]]()
    parameters = dict[str, int]()
    timed = list[Row]()
    for row in rows:
        if row["problem"] not in wanted or row["policy"] not in config.policies or row["seed"] >= config.seeds:
            continue
        if row["part"] == "quantization":
            if row["key"] in planned:
                quantized[(row["policy"], row["problem"])] = row
            continue
        parameters[row["policy"]] = row["parameters"]
        if row["part"] == "timing":
            timed.append(row)
        elif row["part"] == "samples":
            place = (row["policy"], row["seed"], row["problem"])
            if place not in samples or _extent(row) >= _extent(samples[place]):
                samples[place] = row
        elif _asked(row, config):
            label = Label(
                policy=row["policy"],
                reward=row["rewards"][0] if row["rewards"] else None,
                strategy=row["strategy"],
                width=row["width"],
                sigma=row["sigma"],
            )
            found_by_label.setdefault(label, {})[(row["problem"], row["seed"])] = _searched(row)
    paces = _paces(samples, timed)
    for (_, seed, problem), row in samples.items():
        for label, figures in sampled_figures(row, config, paces.get(row["policy"], {})):
            found_by_label.setdefault(label, {})[(problem, seed)] = figures
    cells, left_out = list[Cell](), list[str]()
    for label, found in found_by_label.items():
        cell = _cell(label, parameters[label.policy], found, problems)
        if cell is None:
            left_out.append(str(label))
        else:
            cells.append(cell)
    return Measurements(
        config=config,
        problems=tuple(problems),
        cells=tuple(sorted(cells, key=lambda cell: str(cell.label))),
        samples=samples,
        quantized=quantized,
        left_out=tuple(sorted(left_out)),
        energy_sources=frozenset(row["energy_source"] for row in rows if "energy_source" in row),
        currencies=frozenset(row["currency"] for row in rows if "currency" in row),
    )


def _paces(samples: Mapping[tuple[str, int, str], Row], timed: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Return, by policy and narrower width, the seconds of a token over those of a token of the widest samples.

    Both are those of the problems on which the narrower width was timed.
    """
    sums = dict[tuple[str, int], list[float]]()
    for row in timed:
        wide = samples.get((row["policy"], row["seed"], row["problem"]))
        if wide is None or "wall_s" not in wide or "wall_s" not in row:
            continue
        found = sums.setdefault((row["policy"], row["width"]), [0.0, 0.0, 0.0, 0.0])
        for place, value in enumerate(
            (row["wall_s"], row["generated_tokens"], wide["wall_s"], sum(wide["tokens"])),
        ):
            found[place] += value
    paces = dict[str, dict[int, float]]()
    for (policy, width), (seconds, tokens, wide_seconds, wide_tokens) in sums.items():
        if tokens and wide_seconds:
            paces.setdefault(policy, {})[width] = (seconds / tokens) / (wide_seconds / wide_tokens)
    return paces


def sampled_figures(
    row: Row, config: ScalingConfig, paces: Mapping[int, float] | None = None
) -> list[tuple[Label, SearchFigures]]:
    """Return the figures of each narrower vote among a row's samples; `paces` are as in `prefix_figures`."""
    found = list[tuple[Label, SearchFigures]]()
    for strategy in SAMPLED:
        if strategy not in config.strategies:
            continue
        rewards = [None] if strategy == "majority" else [name for name in row["scored"] if name in config.rewards]
        for reward in rewards:
            for sigma in (0.0,) if reward is None else sorted({0.0, *config.sigmas}):
                widths = config.widths if sigma == 0 else (config.noise_width,)
                for width in widths:
                    if width <= len(row["groups"]) and (reward is None or str(width) in row["scored"][reward]["read"]):
                        label = Label(policy=row["policy"], reward=reward, strategy=strategy, width=width, sigma=sigma)
                        found.append((label, prefix_figures(row, strategy, width, reward, sigma, paces)))
    return found


def prefix_figures(
    row: Row,
    strategy: str,
    width: int,
    reward: str | None,
    sigma: float = 0.0,
    paces: Mapping[int, float] | None = None,
) -> SearchFigures:
    """Return the figures of a vote among the first `width` samples of a row; `strategy` is one of SAMPLED.

    `paces` has the seconds of a token at each narrower width over those of a token of all samples.
    """
    groups = row["groups"][:width]
    scores = None if reward is None else scores_of(row, reward, sigma)[:width]
    chosen = winner(groups, RULES[strategy], scores)
    tokens = sum(row["tokens"][:width])
    # Only the wide run may be short of memory, so its tokens evaluated again are no cost of a narrower one.
    again = row.get("reevaluated_tokens", 0) if width == len(row["groups"]) else 0
    judged = None if reward is None else row["scored"][reward]
    # The policy evaluated the prompt and the samples; a reward read them outside of the search that was metered.
    # What was put into the other samples is no cost of a narrower run either.
    prompt = row["prompt_tokens"] - sum(row.get("told", ())[width:])
    whole = row["prompt_tokens"] + sum(row["tokens"]) + row.get("reevaluated_tokens", 0)
    share = (prompt + tokens + again) / whole if whole and reward is None else nan
    return SearchFigures(
        right=chosen in row["right"],
        tokens=tokens,
        policy_flops=2.0 * row["parameters"] * (prompt + tokens + again),
        reward_flops=0.0 if judged is None else 2.0 * judged["parameters"] * judged["read"][str(width)],
        seconds=_seconds(row, width, judged, paces or {}),
        joules=share * row.get("joules", nan),
        money=share * row.get("cost", nan),
    )


def _seconds(row: Row, width: int, judged: Row | None, paces: Mapping[int, float]) -> float:
    """Return the seconds of the first `width` samples and their scores, NaN if they are not known."""
    scoring = 0.0 if judged is None else judged.get("seconds", {}).get(str(width), nan)
    if width == len(row["groups"]):
        return row.get("wall_s", nan) + scoring
    share = sum(row["tokens"][:width]) / max(1, sum(row["tokens"]))
    return row.get("wall_s", nan) * share * paces.get(width, nan) + scoring


def scores_of(row: Row, reward: str, sigma: float = 0.0) -> list[float | None]:
    """Return the scores of a row's samples, with noise on their logits."""
    return [
        None if score is None else disturbed(score, sigma * draw)
        for score, draw in zip(row["scored"][reward]["scores"], row["noise"], strict=True)
    ]


def winner(groups: Sequence[int], rule: VoteRule, scores: Sequence[float | None] | None = None) -> int:
    """Return the group that wins, -1 if nothing voted; `scores` None means that there are none.

    Ties go to the group with the better best score, then to the one that came first.
    """
    members = dict[int, list[float]]()
    for place, group in enumerate(groups):
        if group < 0:
            continue
        score = None if scores is None else scores[place]
        members.setdefault(group, []).append(-inf if score is None else score)
    if not members:
        return -1
    first = {group: place for place, group in enumerate(members)}

    def rank(group: int) -> tuple[float, float, int]:
        values = members[group]
        best = max(values)
        if rule is VoteRule.MAJORITY:
            return -len(values), -best, first[group]
        return -(fsum(values) if rule is VoteRule.WEIGHTED else best), -best, first[group]

    return min(members, key=rank)


def _searched(row: Row) -> SearchFigures:
    return SearchFigures(
        right=row["right"],
        tokens=row["generated_tokens"],
        policy_flops=row["policy_flops"],
        reward_flops=row["reward_flops"],
        seconds=row.get("wall_s", nan),
        joules=row.get("joules", nan),
        money=row.get("cost", nan),
    )


def _cell(
    label: Label, parameters: int, found: Mapping[tuple[str, int], SearchFigures], problems: Sequence[str]
) -> Cell | None:
    """Return the cell, with the sampling seeds that all problems have; None if there is none."""
    seeds = [seed for seed in sorted({seed for _, seed in found}) if all((each, seed) in found for each in problems)]
    if not seeds:
        return None

    def column(name: str, of: Sequence[int]) -> Array:
        return np.array([[float(getattr(found[(each, seed)], name)) for seed in of] for each in problems]).mean(axis=1)

    return Cell(
        label=label,
        parameters=parameters,
        seeds=len(seeds),
        right=column("right", seeds),
        first=column("right", seeds[:1]),
        tokens=column("tokens", seeds),
        policy_flops=column("policy_flops", seeds),
        reward_flops=column("reward_flops", seeds),
        seconds=column("seconds", seeds),
        joules=column("joules", seeds),
        money=column("money", seeds),
    )


def _asked(row: Row, config: ScalingConfig) -> bool:
    rewarded = not row["rewards"] or row["rewards"][0] in config.rewards
    if row["part"] == "noise":
        return rewarded and row["sigma"] in config.sigmas and row["width"] == config.noise_width
    sized = is_sized(split_strategy(row["strategy"])[0])
    return rewarded and row["strategy"] in config.strategies and (not sized or row["width"] in config.searched_widths)


def _extent(row: Row) -> tuple[int, int]:
    return row["width"], len(row["scored"])
