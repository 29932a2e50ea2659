"""From rows to cells: one configuration's figures on every problem, means over its sampling seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ramify.reward.noise import disturbed
from ramify.search.votes import VoteRule

from .config import SAMPLED, ScalingConfig, is_sized, split_strategy, units
from .fits import Array
from .votes import winner

Row = Mapping[str, Any]
RULES = {"majority": VoteRule.MAJORITY, "weighted": VoteRule.WEIGHTED, "best-of-n": VoteRule.BEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a cell is of. `reward` is None for strategies without one; `sigma` is the noise on its logits."""

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
class Outcome:
    """One search of one problem; tokens that the policy wrote, FLOPs of both roles."""

    right: bool
    tokens: int
    policy_flops: float
    reward_flops: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A configuration on all problems of a board; arrays have a value for each, means over the sampling seeds.

    `first` is whether the first sampling seed's answer is right; `seeds` the number of sampling seeds.
    """

    label: Label
    parameters: int
    seeds: int
    right: Array
    first: Array
    tokens: Array
    policy_flops: Array
    reward_flops: Array

    @cached_property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.right.mean())

    def cost(self, *, counted: bool) -> float:
        """Return mean FLOPs a problem, with the reward model's if these are counted."""
        return float(self.flops(counted=counted).mean())

    def flops(self, *, counted: bool) -> Array:
        """Return FLOPs by problem, with the reward model's if these are counted."""
        return self.policy_flops + self.reward_flops if counted else self.policy_flops


@dataclass(frozen=True, kw_only=True)
class Board:
    """All complete cells, and the rows of samples by (policy, sampling seed, problem).

    `left_out` are the labels of cells that have not been measured on all problems.
    """

    config: ScalingConfig
    problems: tuple[str, ...]
    cells: tuple[Cell, ...]
    samples: Mapping[tuple[str, int, str], Row]
    quantized: Mapping[tuple[str, str], Row]
    left_out: tuple[str, ...]

    def of(self, policy: str, strategy: str, reward: str | None, *, sigma: float = 0.0) -> list[Cell]:
        """Return the cells of a strategy, narrowest first."""
        found = [
            cell
            for cell in self.cells
            if (cell.label.policy, cell.label.strategy, cell.label.reward, cell.label.sigma)
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


def board(rows: Sequence[Row], config: ScalingConfig, problems: Sequence[str]) -> Board:
    """Return the board of a plan, from all rows of its folder."""
    wanted, planned = {*problems}, {unit.key for unit in units(config)}
    samples = dict[tuple[str, int, str], Row]()
    quantized = dict[tuple[str, str], Row]()
    outcomes = dict[Label, dict[tuple[str, int], Outcome]]()
    parameters = dict[str, int]()
    for row in rows:
        if row["problem"] not in wanted or row["policy"] not in config.policies or row["seed"] >= config.seeds:
            continue
        if row["part"] == "quantization":
            if row["key"] in planned:
                quantized[(row["policy"], row["problem"])] = row
            continue
        parameters[row["policy"]] = row["parameters"]
        if row["part"] == "samples":
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
            outcomes.setdefault(label, {})[(row["problem"], row["seed"])] = _searched(row)
    for (_, seed, problem), row in samples.items():
        for label, outcome in sampled_outcomes(row, config):
            outcomes.setdefault(label, {})[(problem, seed)] = outcome
    cells, left_out = list[Cell](), list[str]()
    for label, found in outcomes.items():
        cell = _cell(label, parameters[label.policy], found, problems)
        if cell is None:
            left_out.append(str(label))
        else:
            cells.append(cell)
    return Board(
        config=config,
        problems=tuple(problems),
        cells=tuple(sorted(cells, key=lambda cell: str(cell.label))),
        samples=samples,
        quantized=quantized,
        left_out=tuple(sorted(left_out)),
    )


def sampled_outcomes(row: Row, config: ScalingConfig) -> list[tuple[Label, Outcome]]:
    """Return what each narrower vote among a row's samples would have found and cost."""
    found = list[tuple[Label, Outcome]]()
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
                        found.append((label, prefix_outcome(row, strategy, width, reward, sigma)))
    return found


def prefix_outcome(row: Row, strategy: str, width: int, reward: str | None, sigma: float = 0.0) -> Outcome:
    """Return what the first `width` samples of a row come to; `strategy` is one of SAMPLED."""
    groups = row["groups"][:width]
    scores = None if reward is None else scores_of(row, reward, sigma)[:width]
    chosen = winner(groups, RULES[strategy], scores)
    tokens = sum(row["tokens"][:width])
    # Memory is short only in the wide run: what had to be evaluated again there is no cost of a narrower one.
    again = row.get("reevaluated_tokens", 0) if width == len(row["groups"]) else 0
    judged = None if reward is None else row["scored"][reward]
    return Outcome(
        right=chosen in row["right"],
        tokens=tokens,
        policy_flops=2.0 * row["parameters"] * (row["prompt_tokens"] + tokens + again),
        reward_flops=0.0 if judged is None else 2.0 * judged["parameters"] * judged["read"][str(width)],
    )


def scores_of(row: Row, reward: str, sigma: float = 0.0) -> list[float | None]:
    """Return the scores of a row's samples, with noise on their logits."""
    return [
        None if score is None else disturbed(score, sigma * draw)
        for score, draw in zip(row["scored"][reward]["scores"], row["noise"], strict=True)
    ]


def _searched(row: Row) -> Outcome:
    return Outcome(
        right=row["right"],
        tokens=row["generated_tokens"],
        policy_flops=row["policy_flops"],
        reward_flops=row["reward_flops"],
    )


def _cell(
    label: Label, parameters: int, found: Mapping[tuple[str, int], Outcome], problems: Sequence[str]
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
    )


def _asked(row: Row, config: ScalingConfig) -> bool:
    rewarded = not row["rewards"] or row["rewards"][0] in config.rewards
    if row["part"] == "noise":
        return rewarded and row["sigma"] in config.sigmas and row["width"] == config.noise_width
    sized = is_sized(split_strategy(row["strategy"])[0])
    return rewarded and row["strategy"] in config.strategies and (not sized or row["width"] in config.widths)


def _extent(row: Row) -> tuple[int, int]:
    return row["width"], len(row["scored"])
