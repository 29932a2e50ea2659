"""Plans of a scaling measurement: its stages in order, and the views on which each claim is judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ramify.errors import UsageError

from .config import ON_FILE, QUICK, ScalingConfig

CLAIMS = (1, 2, 3, 4, 5, 6)
PROBLEMS = 500
PART, DEEPER = 0.2, 0.4
"""Shares of the problems of the plan "hour" on which files of other quantizations and great widths are measured."""
POLICIES = ("demo-s", "demo-m", "demo-l")
DEEP = ("demo-s", "demo-m")
"""Policies that the judge, which is demo-l, scores, and that are sampled often enough to see a vote saturate."""
POOL = ("majority", "weighted", "best-of-n")
GUIDED = ("beam", "dvts", "mcts", "particle")
PRM, JUDGE = "demo-prm", "mean-logprob:demo-l"
SIGMAS = (0.0, 1.0, 2.0, 4.0)
_NAMED = re.compile(r"([A-Za-z0-9][\w.+-]*)=(.+)")
_FOLDERS = re.compile(r"[^\s:,@(]*/")
UP_TO_16 = (1, 2, 4, 8, 16)
UP_TO_256 = (*UP_TO_16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Settings that were measured on the same problems, and the claims that are judged on them.

    `name` stands in reports and file names.
    """

    name: str
    config: ScalingConfig
    claims: tuple[int, ...] = CLAIMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The stages of a measurement, and the views of its results.

    Stages share their problems: a smaller stage has the first problems of a larger one. Units of an earlier stage are
    not measured again.
    """

    name: str
    stages: tuple[ScalingConfig, ...]
    views: tuple[View, ...]

    @property
    def config(self) -> ScalingConfig:
        """The settings of the view with the most problems."""
        return max((view.config for view in self.views), key=lambda config: config.problems)


def crossed(name: str = "full", **settings: Any) -> Plan:
    """Return a plan of every strategy at every width with every reward; `settings` are those of ScalingConfig."""
    config = ScalingConfig(**settings)
    return Plan(name=name, stages=(config,), views=(View(name="all", config=config),))


def quick(**settings: Any) -> Plan:
    """Return the plan of a minute or two, with other settings of ScalingConfig where given."""
    return crossed("quick", **QUICK | settings)


def on_file(**settings: Any) -> Plan:
    """Return the plan for the problems of a file, with other settings of ScalingConfig where given.

    Raises:
        UsageError: if no policies are named, or a setting is out of range.
    """
    if "policies" not in settings:
        raise UsageError("no policies are named", "add --policies MODEL,MODEL")
    return crossed("problems", **ON_FILE | settings)


def named_sources(texts: Iterable[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the names of models or rewards for reports, and the argument of an engine where it is not the name.

    A text is NAME=SOURCE, or a source whose files are called by their names without folders.
    """
    names, sources = list[str](), list[tuple[str, str]]()
    for text in texts:
        given = _NAMED.fullmatch(text)
        name, source = (given[1], given[2]) if given else (text if "://" in text else _FOLDERS.sub("", text), text)
        name = name.removesuffix(".gguf") if source != name else name
        names.append(name)
        if name != source:
            sources.append((name, source))
    return tuple(dict.fromkeys(names)), tuple(sources)


_OF_THE_HOUR = ("policies", "parts", "problems", "problem_seed", "sources", "steps", "threads", "prices", "watts")
"""Settings that can be changed in the plan of an hour."""


def hour(**settings: Any) -> Plan:
    """Return the plan of about an hour on two cores.

    It has few widths of each strategy; great widths are measured on the first two fifths of the problems alone, and
    files of other quantizations on the first fifth. `settings` make it smaller (policies, parts, problems) or are
    problem_seed, steps, sources and threads.

    Raises:
        UsageError: if a setting cannot be changed in this plan, or nothing is left of it.
    """
    for name in settings:
        if name not in _OF_THE_HOUR:
            raise UsageError(f"{name.replace('_', '-')} cannot be changed in the plan of an hour", "add --full")
    stages = tuple(_narrowed(_stages(), settings))
    views = tuple(
        View(name=name, claims=claims, config=config)
        for name, claims, stage in (
            ("whole", (1, 3, 5, 6), _WHOLE),
            ("deep", (2, 3), _DEEP),
            ("files", (4,), _FILES),
        )
        for config in _narrowed([stage], settings)
    )
    if not stages:
        raise UsageError("nothing is left to be measured", "choose other parts or policies, or add --full")
    return Plan(name="hour", stages=stages, views=views)


_WHOLE: dict[str, Any] = {
    "strategies": ("greedy", *POOL, *GUIDED, "rebase", "auto", "majority+beta:0.95", "widening"),
    "rewards": (PRM, JUDGE),
    "widths": UP_TO_16,
    "seeds": 3,
    "sigmas": SIGMAS,
    "noise_width": 16,
    "parts": ("samples", "search", "noise"),
}
_DEEP: dict[str, Any] = {
    "share": DEEPER,
    "policies": DEEP,
    "strategies": ("greedy", *POOL, "rebase"),
    "rewards": (PRM, JUDGE),
    "widths": UP_TO_256,
    "seeds": 3,
    "sigmas": (0.0,),
    "parts": ("samples", "search"),
}
_FILES: dict[str, Any] = {
    "share": PART,
    "strategies": POOL,
    "rewards": (PRM, JUDGE),
    "widths": (8,),
    "parts": ("quantization",),
    "quantization_width": 8,
    "seeds": 1,
}


def _stages() -> Iterator[dict[str, Any]]:
    """Yield the stages, those first that most claims need."""
    prm = {"rewards": (PRM,), "parts": ("search",), "seeds": 1}
    judged = prm | {"rewards": (JUDGE,), "policies": DEEP}
    pool = {"strategies": POOL, "parts": ("samples",), "seeds": 1, "rewards": (PRM, JUDGE), "policies": DEEP}
    large = pool | {"rewards": (PRM,), "policies": ("demo-l",)}
    one = {"policies": ("demo-m",)}
    yield prm | {"strategies": ("greedy",), "widths": (1,)}
    yield pool | {"widths": UP_TO_16}
    yield large | {"widths": UP_TO_16}
    yield prm | {"strategies": ("rebase",), "widths": (4, 16)}
    yield judged | {"strategies": ("rebase",), "widths": (4, 16)}
    yield prm | {"strategies": GUIDED, "widths": (4, 16)}
    yield judged | one | {"strategies": GUIDED, "widths": (4, 16)}
    yield pool | one | {"widths": UP_TO_256, "share": DEEPER}
    yield judged | one | {"strategies": ("rebase",), "parts": ("noise",), "sigmas": SIGMAS[1:]}
    yield prm | one | {"strategies": ("majority+beta:0.95", "widening"), "widths": (16,)}
    yield judged | one | {"strategies": ("rebase",), "widths": (32, 64), "share": DEEPER}
    yield prm | one | {"strategies": ("auto",), "widths": (4, 16)}
    yield pool | {"policies": ("demo-s",), "widths": (*UP_TO_16, 32, 64), "share": DEEPER}
    yield pool | {"widths": UP_TO_16, "seeds": 3}
    yield large | {"widths": UP_TO_16, "seeds": 3}
    yield _FILES


def _narrowed(stages: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]) -> Iterator[ScalingConfig]:
    """Yield the stages of which something is left."""
    for stage in stages:
        made: dict[str, Any] = {"policies": POLICIES, **stage}
        share = made.pop("share", 1.0)
        made |= {name: value for name, value in settings.items() if name not in ("policies", "parts", "problems")}
        for name in ("policies", "parts"):
            if name in settings and name in made:
                made[name] = tuple(each for each in made[name] if each in settings[name])
        made["problems"] = max(1, round(share * settings.get("problems", PROBLEMS)))
        if made["policies"] and made.get("parts", True):
            yield ScalingConfig(**made)
