"""Registry of the strategies by name, for the command line and saved runs.

A new strategy is one line in `_MODULES`.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any, cast

from ramify.errors import StrategyError
from ramify.text import nearest

from .strategy import Strategy

_MODULES = {
    "ab-mcts": ("ab_mcts", "ABMCTS"),
    "beam": ("beam", "BeamSearch"),
    "best-of-n": ("sampling", "BestOfN"),
    "dvts": ("dvts", "DVTS"),
    "greedy": ("sampling", "Greedy"),
    "majority": ("sampling", "MajorityVote"),
    "mcts": ("mcts", "MCTS"),
    "particle": ("particle", "ParticleFilter"),
    "rebase": ("rebase", "Rebase"),
    "refine": ("refine", "Refine"),
    "widening": ("widening", "Widening"),
    "weighted": ("sampling", "WeightedVote"),
}
_COMPOSED = {"auto": ("auto", "Auto")}
"""Strategies that are composed of others, so that their name alone does not make one."""


def strategy_names() -> list[str]:
    """Return the known names, sorted."""
    return sorted(_MODULES)


def strategy_option_names(name: str) -> list[str]:
    """Return the names of a strategy's options, in the order of its documentation.

    Raises:
        StrategyError: if there is no strategy of that name.
    """
    return _option_names(_strategy_type(name))


def make_strategy(name: str, **options: Any) -> Strategy:
    """Return the named strategy with the given options, the rest at their defaults.

    Raises:
        StrategyError: for an unknown name or option (naming the nearest), and for a value out of range.
    """
    kind = _strategy_type(name)
    known = strategy_option_names(name)
    for option in options:
        if option not in known:
            raise StrategyError(f"{name} has no option {option!r}{nearest(option, known)}")
    return kind(**options)


def strategy_to_dict(strategy: Strategy) -> dict[str, Any]:
    """Return a strategy as JSON-ready values; of a known one `make_strategy(**values)` gives an equal one."""
    options = {name: getattr(strategy, name) for name in _option_names(type(strategy))}
    return {"name": strategy.name} | {key: _plain(value) for key, value in options.items()}


def _option_names(kind: type[Any]) -> list[str]:
    return [field.name for field in fields(kind) if field.init]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, tuple):
        values = cast("tuple[Any, ...]", value)
        return [strategy_to_dict(each) if isinstance(each, Strategy) else each for each in values]
    return value


def _strategy_type(name: str) -> type[Any]:
    known = _MODULES | _COMPOSED
    if name not in known:
        raise StrategyError(f"there is no strategy {name!r}{nearest(name, known)}")
    module, attribute = known[name]
    return getattr(import_module(f".strategies.{module}", __package__), attribute)
