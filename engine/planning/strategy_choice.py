"""Choice of a strategy: the one that was named, the default, or the best of a measured profile within a budget."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from ramify.errors import StrategyError, UsageError, check_kind
from ramify.search.budget import Budget
from ramify.search.registry import make_strategy
from ramify.search.strategies.auto import Auto
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategy import Strategy
from ramify.statistics import sign_test

from ..policy.defaults import WIDEST
from .profile import Point, Profile

AUTO = "auto"
"""Instead of a strategy: the best of the models' profile within the budget."""
BINS = 5
"""Quintiles of difficulty (Snell et al., arXiv 2408.03314, section 3.2)."""
SIGNIFICANCE = 0.05
"""Chance of any choice by difficulty at all where in truth difficulty makes no difference (Bonferroni)."""


def default_strategy(*, has_reward: bool) -> str:
    """Return the name of the strategy of a run for which none was chosen."""
    return "rebase" if has_reward else "majority"


def choose_strategy(
    wanted: Strategy | str | None,
    *,
    has_reward: bool,
    budget: Budget,
    profile: Callable[[], Profile],
    options: Mapping[str, Any] | None = None,
    remedy: str = "load one with reward=..., or use majority or greedy",
    width: int | None = None,
    temperature: float | None = None,
) -> Strategy:
    """Return the strategy of a run.

    `wanted` is a strategy or a name; None means the default strategy, and AUTO the one that `profile` finds best within
    the budget. `options` are those of a strategy by name and of the default one; None leaves them at their defaults.
    `remedy` is the advice of the error where a reward model is missing. `width` is the number of paths of a strategy by
    name for which `options` give none and that has WIDEST by default; None leaves it at that. `temperature` is that of
    REBASE where none was given; None leaves it open.

    Raises:
        UsageError: if the strategy needs a reward model and there is none, or there is no profile for AUTO.
        StrategyError: if there is no strategy of that name, or it refuses an option.
    """
    if wanted is None:
        wanted = default_strategy(has_reward=has_reward)
    if wanted == AUTO:
        strategy = plan(profile(), budget)
    elif isinstance(wanted, str):
        strategy = _made(wanted, options or {}, width)
    else:
        check_kind("the strategy", wanted, Strategy, "a name or a Strategy such as Rebase(width=16)")
        strategy = wanted
    if isinstance(strategy, Rebase) and strategy.temperature is None:
        strategy = replace(strategy, temperature=temperature)
    if strategy.uses_reward and not has_reward:
        raise UsageError(f"the strategy {strategy.name} needs a reward model and there is none", remedy)
    return strategy


def _made(name: str, options: Mapping[str, Any], width: int | None) -> Strategy:
    strategy = make_strategy(name, **options)
    if width is None or "width" in options or strategy.width != WIDEST:
        return strategy
    return make_strategy(name, **options, width=width)


def plan(profile: Profile, budget: Budget) -> Strategy:
    """Return the strategy for a budget.

    It is the best of the profile within the budget, unless another one beats it among the problems of some quintile of
    difficulty by more than chance; then it is an `Auto` that looks at each problem first.
    """
    best = profile.choose(budget)
    edges = _edges(profile.difficulty)
    rivals = [point for point in profile.fitting(budget) if point is not best and _comparable(point, best, profile)]
    if not edges or not rivals:
        return best.make()
    places = [bisect_right(edges, each) for each in profile.difficulty]
    level = SIGNIFICANCE / (len(rivals) * (len(edges) + 1))
    chosen = [
        _best_of_bin(best, rivals, [i for i, bin in enumerate(places) if bin == place], level)
        for place in range(len(edges) + 1)
    ]
    return _composed(chosen, edges, profile.probe_paths)


def _edges(values: Sequence[float]) -> list[float]:
    """Return the quintiles' limits, without those that would leave a bin empty."""
    ranked = sorted(values)
    cuts = {ranked[len(ranked) * part // BINS] for part in range(1, BINS)} if len(ranked) >= BINS else set[float]()
    return sorted(cut for cut in cuts if cut > ranked[0])


def _comparable(point: Point, best: Point, profile: Profile) -> bool:
    wide = all(each.make().width >= profile.probe_paths for each in (point, best))
    return wide and len(point.outcomes) == len(best.outcomes) == len(profile.difficulty)


def _best_of_bin(best: Point, rivals: Sequence[Point], problems: Sequence[int], level: float) -> Point:
    chosen, gain = best, 0
    for point in rivals:
        wins = sum(point.outcomes[i] > best.outcomes[i] for i in problems)
        losses = sum(point.outcomes[i] < best.outcomes[i] for i in problems)
        if sign_test(wins, losses) <= level and wins - losses > gain:
            chosen, gain = point, wins - losses
    return chosen


def _composed(chosen: Sequence[Point], edges: Sequence[float], probe_paths: int) -> Strategy:
    runs = [list(group) for _, group in groupby(range(len(chosen)), key=lambda place: id(chosen[place]))]
    if len(runs) == 1:
        return chosen[0].make()
    try:
        return Auto(
            choices=tuple(chosen[run[0]].make() for run in runs),
            edges=tuple(edges[run[0] - 1] for run in runs[1:]),
            probe_paths=probe_paths,
        )
    except StrategyError:
        # Choices that revise their texts by different instructions do not go together.
        return chosen[0].make()
