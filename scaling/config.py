"""Configuration of a scaling measurement, and the units of work that it consists of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal, get_args

from ramify.engine.library.quantize import quantization_named
from ramify.errors import UsageError
from ramify.search.registry import make_strategy, strategy_option_names
from ramify.search.stopping import make_stop_rule
from ramify.tools.loading import check_tools

Part = Literal["samples", "search", "noise", "quantization", "timing"]
PARTS: tuple[Part, ...] = get_args(Part)
"""Parts of a measurement: independent samples, guided and stopped searches, noisy rewards, quantizations, and the
seconds of samples that are fewer than those of the part "samples"."""
GENERATED_PARTS: tuple[Part, ...] = ("samples", "search", "noise", "quantization")
"""Parts of a measurement on generated problems."""
SAMPLED = ("majority", "weighted", "best-of-n")
"""Strategies whose smaller widths are prefixes of the largest one, so that one run serves them all."""
AUTO = "auto"
AUTO_TOKENS_PER_PATH = 100
"""Generated tokens that "auto" may use for each path of its width; a path takes about 80."""
PROBLEM_SEED = 20261203
"""Seed of the generated problems; nothing was trained, chosen or tuned on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingConfig:
    """The plan of a scaling measurement.

    A strategy is a name, or `name+rules` with stop rules, such as "majority+beta:0.95". Those that are no prefixes of
    one sampling are run at each of `search_widths`, () for `widths`. `seeds` is the number of
    sampling seeds, from 0 up. `sigmas` are the standard deviations of the noise on the logits of the rewards, measured
    at `noise_width`; 0 is the reward itself. `quantization_width` is the number of samples of each file of a policy:
    those that come with it, and those of `quantizations` that do not, which are made of the F16 one.
    `threads` None means all processors. `prices` and `watts` are those of EngineConfig, for costs in money and joules.

    The problems are generated, or those of `file`: so many of them, in an order that `problem_seed` shuffles.
    `policies` and `rewards` may be names of one's own, for which `sources` has the argument of an engine. `together`
    problems are searched at a time, None for as many as the width allows; seconds are kept if it is 1. `timings` is
    the number of problems on which the part "timing" samples each narrower width. `max_path_tokens` None is that of
    every run, and `tools` has the names of those that paths may call, as --tools has them; None for none.

    Raises:
        UsageError: if a number is out of range, a list is empty, or a name is unknown.
    """

    policies: tuple[str, ...] = ("demo-s", "demo-m", "demo-l")
    rewards: tuple[str, ...] = ("demo-prm", "mean-logprob:demo-l")
    strategies: tuple[str, ...] = (
        "greedy",
        "majority",
        "weighted",
        "best-of-n",
        "beam",
        "dvts",
        "mcts",
        "particle",
        "rebase",
        "auto",
        "widening",
        "majority+beta:0.95",
    )
    widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    seeds: int = 3
    problems: int = 500
    problem_seed: int = PROBLEM_SEED
    steps: tuple[int, int] = (2, 8)
    sigmas: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    noise_width: int = 16
    quantization_width: int = 16
    quantizations: tuple[str, ...] = ("f16", "q8_0", "q5_k_m", "q4_k_m", "q4_0")
    parts: tuple[Part, ...] = GENERATED_PARTS
    threads: int | None = None
    file: str | None = None
    sources: tuple[tuple[str, str], ...] = ()
    together: int | None = None
    timings: int = 2
    search_widths: tuple[int, ...] = ()
    max_path_tokens: int | None = None
    tools: str | None = None
    prices: str | None = None
    watts: float | None = None

    def __post_init__(self) -> None:
        numbers = [self.seeds, self.problems, self.noise_width, self.quantization_width, self.timings, *self.widths]
        numbers += self.search_widths
        numbers += [each for each in (self.together, self.max_path_tokens) if each is not None]
        if min(numbers) < 1:
            raise UsageError("a number of seeds, problems or samples is below 1", "use 1 or more")
        for name in ("policies", "strategies", "widths", "parts"):
            if not getattr(self, name):
                raise UsageError(f"there are no {name}", "name at least one")
        if min(self.sigmas, default=0) < 0:
            raise UsageError("a sigma is below 0", "use 0 or more")
        if self.tools is not None:
            check_tools(self.tools)
        for text in self.quantizations:
            quantization_named(text)
        for text in self.strategies:
            _check_strategy(text)
        if "quantization" in self.parts and (self.file is not None or self.sources):
            raise UsageError(
                "files of other quantizations are measured of bundled models on generated problems",
                "leave out the part quantization, and name each file as a policy",
            )
        if "timing" in self.parts and self.together != 1:
            raise UsageError("seconds are measured with one problem at a time", "leave out the part timing")
        repeated = next((name for name, count in Counter(name for name, _ in self.sources).items() if count > 1), None)
        if repeated is not None:
            raise UsageError(f"two models or rewards are called {repeated!r}", "give one of them another name")

    def source(self, name: str) -> str:
        """Return the argument of an engine for the name of a policy or a reward."""
        return dict(self.sources).get(name, name)

    @property
    def width(self) -> int:
        """Samples that are drawn, for all widths at once."""
        return max(self.widths)

    @property
    def searched_widths(self) -> tuple[int, ...]:
        """Widths of the strategies that are run at each of them."""
        return self.search_widths or self.widths

    @property
    def metering(self) -> dict[str, Any]:
        """Settings of an engine that meter energy and money."""
        return {"prices": self.prices, "watts": self.watts}

    def identity(self) -> dict[str, Any]:
        """Return the settings that all rows of one folder share, the problems of a file aside."""
        named = {"together": self.together, "max_path_tokens": self.max_path_tokens, "tools": self.tools}
        steps = {"steps": list(self.steps)} if self.file is None else {}
        return {"problem_seed": self.problem_seed} | steps | {k: v for k, v in named.items() if v is not None}


QUICK: dict[str, Any] = {
    "policies": ("demo-s", "demo-m"),
    "rewards": ("mean-logprob:demo-l",),
    "strategies": ("greedy", "majority", "weighted", "best-of-n", "beam", "rebase", "widening"),
    "widths": (1, 2, 4, 8),
    "seeds": 1,
    "problems": 24,
    "sigmas": (0.0, 2.0),
    "noise_width": 8,
    "quantization_width": 4,
    "quantizations": (),
}
"""Settings that differ from the defaults in a measurement of a minute or two."""
ON_FILE: dict[str, Any] = {
    "rewards": ("mean-logprob",),
    "strategies": ("greedy", "majority", "weighted", "best-of-n", "rebase"),
    "widths": (1, 2, 4, 8, 16),
    "seeds": 1,
    "problems": 200,
    "sigmas": (0.0,),
    "parts": ("timing", "samples", "search"),
    "together": 1,
}
"""Settings that differ from the defaults in a measurement on the problems of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of work: one setting on all problems, or on the first ones for the part "timing".

    `rewards` of the part "samples" score the same samples; the part "search" has one at most, with noise of `sigma`.
    `quantizations` are files that the part "quantization" makes if they do not come with the models. `strategy` may
    have stop rules, `width` is 1 for strategies without one.
    """

    part: Part
    policy: str
    rewards: tuple[str, ...]
    strategy: str
    width: int
    seed: int
    sigma: float = 0.0
    quantizations: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """A name that no other unit has."""
        noise = f"~{self.sigma:g}" if self.sigma else ""
        parts = [
            self.part,
            self.policy,
            "&".join(self.rewards) + noise,
            f"{self.strategy}@{self.width}",
            str(self.seed),
            *self.quantizations,
        ]
        return "|".join(parts)


def units(config: ScalingConfig) -> list[Unit]:
    """Return all units of a plan, those of the first sampling seed first."""
    found = list[Unit]()
    for seed in range(config.seeds):
        for policy in config.policies:
            found += _samples(config, policy, seed)
            found += _timings(config, policy) if seed == 0 else []
            # The cost of a reward's errors shows with one sampling seed already.
            searches = _searches(config, policy, seed) + (_noise(config, policy) if seed == 0 else [])
            # Those with the same models follow one another, so that these are loaded once.
            found += sorted(searches, key=lambda unit: (unit.rewards, unit.sigma))
        found += _quantizations(config) if seed == 0 else []
    return list(dict.fromkeys(found))


def split_strategy(text: str) -> tuple[str, str | None]:
    """Return the name and the stop rules of a strategy."""
    name, _, rules = text.partition("+")
    return name, rules or None


def is_sized(name: str) -> bool:
    """Return whether a strategy is measured at each width."""
    return name == AUTO or "width" in strategy_option_names(name)


def uses_reward(name: str) -> bool:
    """Return whether a strategy needs a reward model."""
    return name == AUTO or make_strategy(name).uses_reward


def _samples(config: ScalingConfig, policy: str, seed: int) -> list[Unit]:
    if "samples" not in config.parts or not set(SAMPLED) & {*config.strategies}:
        return []
    rewards = config.rewards if {"weighted", "best-of-n"} & {*config.strategies} else ()
    return [Unit(part="samples", policy=policy, rewards=rewards, strategy="majority", width=config.width, seed=seed)]


def _searches(config: ScalingConfig, policy: str, seed: int) -> list[Unit]:
    if "search" not in config.parts:
        return []
    found = list[Unit]()
    for text in config.strategies:
        name = split_strategy(text)[0]
        if text in SAMPLED or (name == "greedy" and seed):
            continue
        rewards = [(each,) for each in config.rewards] if uses_reward(name) else [()]
        widths = config.searched_widths if is_sized(name) else (1,)
        found += [
            Unit(part="search", policy=policy, rewards=each, strategy=text, width=width, seed=seed)
            for each in rewards
            for width in widths
        ]
    return found


def _noise(config: ScalingConfig, policy: str) -> list[Unit]:
    if "noise" not in config.parts or "rebase" not in config.strategies:
        return []
    width = config.noise_width
    searched = "search" in config.parts and width in config.searched_widths
    return [
        Unit(part="noise", policy=policy, rewards=(reward,), strategy="rebase", width=width, seed=0, sigma=sigma)
        for reward in config.rewards
        for sigma in config.sigmas
        if sigma or not searched
    ]


def _timings(config: ScalingConfig, policy: str) -> list[Unit]:
    if "timing" not in config.parts or not _samples(config, policy, 0):
        return []
    return [
        Unit(part="timing", policy=policy, rewards=(), strategy="majority", width=width, seed=0)
        for width in sorted(config.widths)
        if width < config.width
    ]


def _quantizations(config: ScalingConfig) -> list[Unit]:
    if "quantization" not in config.parts:
        return []
    width = config.quantization_width
    return [
        Unit(
            part="quantization",
            policy=policy,
            rewards=config.rewards,
            strategy="majority",
            width=width,
            seed=0,
            quantizations=config.quantizations,
        )
        for policy in config.policies
    ]


def _check_strategy(text: str) -> None:
    name, rules = split_strategy(text)
    if name != AUTO:
        make_strategy(name)
    if rules is not None:
        make_stop_rule(rules)


def problems_for(unit: Unit, config: ScalingConfig) -> int:
    """Return the number of problems, from the first on, on which a unit is measured."""
    return min(config.problems, config.timings) if unit.part == "timing" else config.problems
