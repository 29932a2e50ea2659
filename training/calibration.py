"""Calibration of strategies: their accuracy and costs on problems with known answers, as a profile for "auto"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from anyio.to_thread import run_sync

from ramify.engine.engine import Engine
from ramify.engine.planning.profile import PROBE_PATHS, UNITS, Cost, Point, Profile, Unit, fit
from ramify.engine.planning.risk import posterior
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.search.budget import Budget
from ramify.search.registry import make_strategy, strategy_option_names, strategy_to_dict
from ramify.search.strategies.auto import Auto
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import MajorityVote, WeightedVote
from ramify.search.strategy import Strategy
from ramify.solution import Solution
from ramify.usage import Usage

from .preflight import check_answered

WIDTHS = (1, 2, 4, 8, 16, 32, 64)
NO_LIMIT = Budget()


@dataclass(frozen=True, slots=True)
class Files:
    """SHA-256 of the files of a policy and a reward, as a profile keeps them; None for what has no file."""

    policy: str | None = None
    reward: str | None = None


UNKNOWN_FILES = Files()


def grid(
    names: Sequence[str], widths: Sequence[int] = WIDTHS, *, has_reward: bool, temperature: float | None = None
) -> list[Strategy]:
    """Return each named strategy at each width; those without a width once, those that need a reward only with one.

    REBASE has the `temperature`, None for its own.

    Raises:
        StrategyError: if a name is unknown.
    """
    found = list[Strategy]()
    for name in names:
        sized = "width" in strategy_option_names(name)
        given = {} if temperature is None or name != Rebase.name else {"temperature": temperature}
        made = [make_strategy(name, width=width, **given) for width in widths] if sized else [make_strategy(name)]
        found += [strategy for strategy in made if has_reward or not strategy.uses_reward]
    return found


async def calibrate(
    engine: Engine,
    problems: Sequence[Problem],
    strategies: Iterable[Strategy],
    *,
    source: str,
    seed: int = 0,
    parallel: int = 1,
    on_point: Callable[[Point, Profile], None] = lambda point, profile: None,
    known: Profile | None = None,
    files: Files = UNKNOWN_FILES,
    **options: Any,
) -> Profile:
    """Measure every strategy on every problem and return the profile; `source` names the problems.

    Points of `known`, the profile of an interrupted calibration, are not measured again; `on_point` gets each new
    point with the profile so far. `files` are those of the engine's models. Further options are those of
    `Engine.run`; a budget would distort the measurement.

    Raises:
        UsageError: if a problem has no answer, there are none, or `known` was measured on others or with other models.
    """
    check_calibration(problems, source=source, seed=seed, known=known, files=files)
    reward = None if engine.reward is None else engine.reward.name
    if known is not None and (known.policy, known.reward) != (engine.policy.name, reward):
        raise UsageError(
            f"the profile is of {_models(known.policy, known.reward)}, not of {_models(engine.policy.name, reward)}",
            "go on with the same models, or write a new profile to another file",
        )
    hardness = () if known is None else known.difficulty
    if len(hardness) != len(problems):
        hardness = await measure_difficulty(engine, problems, seed=seed, parallel=parallel, **options)
    points = list[Point]() if known is None else [*known.points]

    def profile() -> Profile:
        return Profile(
            policy=engine.policy.name,
            reward=reward,
            policy_file=files.policy,
            reward_file=files.reward,
            problems=source,
            seed=seed,
            points=fit(points),
            probe_paths=PROBE_PATHS,
            difficulty=hardness,
        )

    done = [point.strategy for point in points]
    for strategy in strategies:
        if strategy_to_dict(strategy) not in done:
            points.append(await measure(engine, problems, strategy, seed=seed, parallel=parallel, **options))
            on_point(points[-1], profile())
    return profile()


def check_calibration(
    problems: Sequence[Problem], *, source: str, seed: int, known: Profile | None, files: Files = UNKNOWN_FILES
) -> None:
    """Check all that `calibrate` needs and that can be told without a model.

    Raises:
        UsageError: if a problem has no answer, there are none, or `known` was measured on others or with other files.
    """
    if not problems:
        raise UsageError("there are no problems to calibrate on", "give a file with at least a few dozen")
    check_answered(problems, "calibrate on")
    if known is None:
        return
    if (known.problems, known.seed) != (source, seed):
        raise UsageError(
            f"the profile was measured on {known.problems} with seed {known.seed}, not on {source} with seed {seed}",
            "go on with the same problems and seed, or write a new profile to another file",
        )
    other = next((point.problems for point in known.points if point.problems != len(problems)), None)
    if other is not None:
        raise UsageError(
            f"the profile was measured on {other} problems, not on {len(problems)}",
            "go on with the same problems, or write a new profile to another file",
        )
    kinds = (("policy", known.policy_file, files.policy), ("reward", known.reward_file, files.reward))
    for kind, before, now in kinds:
        if before is not None and now is not None and before != now:
            raise UsageError(
                f"the profile was measured with another {kind} file (SHA-256 {before[:12]}…, now {now[:12]}…)",
                "go on with the same models, or write a new profile to another file",
            )


def _models(policy: str, reward: str | None) -> str:
    return f"{policy} with {reward or 'no reward'}"


async def measure(
    engine: Engine,
    problems: Sequence[Problem],
    strategy: Strategy,
    *,
    seed: int = 0,
    parallel: int = 1,
    **options: Any,
) -> Point:
    """Solve all problems with one strategy and return its accuracy and costs."""
    solved = await _solve_all(engine, problems, strategy, seed=seed, parallel=parallel, **options)
    pairs = list(zip(solved, problems, strict=True))
    outcomes = await run_sync(lambda: [_right(solution, problem) for solution, problem in pairs])
    total = sum((each.usage for each in solved), Usage())
    return Point(
        strategy=strategy_to_dict(strategy),
        problems=len(problems),
        right=sum(outcomes),
        fitted=sum(outcomes) / len(problems),
        costs=_costs(solved),
        outcomes="".join(str(int(right)) for right in outcomes),
        posteriors=tuple(map(posterior, solved)),
        energy_source=total.energy_source,
        currency=total.currency,
    )


def _costs(solved: Sequence[Solution]) -> dict[Unit, Cost]:
    """Return the costs in all units that are known of every solution."""
    found = dict[Unit, Cost]()
    for unit in UNITS:
        values = [_spent(each, unit) for each in solved]
        known = [value for value in values if value is not None]
        if len(known) == len(values):
            found[unit] = _cost(known)
    return found


async def measure_difficulty(
    engine: Engine, problems: Sequence[Problem], *, seed: int = 0, parallel: int = 1, **options: Any
) -> tuple[float, ...]:
    """Return the difficulty of each problem, in [0, 1], after the paths of a probe."""
    alone = MajorityVote(width=PROBE_PATHS) if engine.reward is None else WeightedVote(width=PROBE_PATHS)
    probe = Auto(choices=(alone,), probe_paths=PROBE_PATHS)
    solved = await _solve_all(engine, problems, probe, seed=seed, parallel=parallel, **options)
    return tuple(1.0 if each.tree is None else probe.difficulty(each.tree) for each in solved)


async def _solve_all(
    engine: Engine, problems: Sequence[Problem], strategy: Strategy, *, seed: int, parallel: int, **options: Any
) -> list[Solution]:
    """Return the solutions in the order of the problems."""
    solved = dict[str | None, Solution]()
    options = {"budget": NO_LIMIT, **options}
    async with engine.solve_many(problems, parallel=parallel, strategy=strategy, seed=seed, **options) as stream:
        async for solution in stream:
            solved[solution.problem_id] = solution
    return [solved[problem.id] for problem in problems]


def _right(solution: Solution, problem: Problem) -> bool:
    return problem.grader().right(solution.answer)


def _spent(solution: Solution, unit: Unit) -> float | None:
    usage = solution.usage
    match unit:
        case "generated_tokens":
            return usage.policy.generated_tokens
        case "total_tokens":
            return usage.total_tokens
        case "flops":
            return usage.flops
        case "seconds":
            return usage.seconds
        case "joules":
            return usage.energy_j
        case "cost":
            return usage.cost
        case "nodes":
            return 0 if solution.tree is None else len(solution.tree) - 1


def _cost(values: Sequence[float]) -> Cost:
    ranked = sorted(values)
    return Cost(mean=sum(ranked) / len(ranked), p90=ranked[ceil(0.9 * len(ranked)) - 1])
