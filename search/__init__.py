"""The search layer: trees, strategies, votes and budget arithmetic. Pure: no I/O, no async, no model.

Names load on first use (PEP 562), so that importing one module never pays for the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.errors import AllocationError, BudgetError, SearchError, StrategyError, TreeError

    from .aggregation import Aggregation, aggregate
    from .allocation import (
        RoundingRule,
        allocate,
        independent_rounding_allocation,
        largest_remainder_allocation,
        rebase_allocation,
    )
    from .budget import Budget, TokenPrice
    from .export import export_tree, to_dot, to_graphml, to_mermaid, to_svg
    from .node import FinishReason, Node, NodeState, Origin, PruneReason
    from .registry import make_strategy, strategy_names, strategy_option_names, strategy_to_dict
    from .selection import SelectionRule
    from .stopping import (
        AgreementWindow,
        AllOf,
        AnyOf,
        BetaMajority,
        CannotBeOvertaken,
        LaneConfidence,
        NoImprovement,
        PathRule,
        ScoreThreshold,
        Situation,
        Stop,
        StopReason,
        StopRule,
        WeightedPosterior,
        make_stop_rule,
        stop_rule_names,
    )
    from .strategies.ab_mcts import AbMcts
    from .strategies.auto import Auto
    from .strategies.beam import BeamSearch
    from .strategies.dvts import Dvts
    from .strategies.greedy import Greedy
    from .strategies.mcts import Mcts
    from .strategies.particle import ParticleFilter, Resampling
    from .strategies.rebase import Rebase
    from .strategies.refine import Refine
    from .strategies.sampling import BestOfN, Majority, Weighted
    from .strategies.widening import Widening
    from .strategy import AnyStrategy, Ask, Converses, Expansion, NoState, Settles, Strategy, WindsDown
    from .tree import SearchTree
    from .votes import AnswerGroup, Candidate, Vote, VoteRule, candidates, decide, group_answers

_MODULES = {
    "aggregation": ("Aggregation", "aggregate"),
    "allocation": (
        "RoundingRule",
        "allocate",
        "independent_rounding_allocation",
        "largest_remainder_allocation",
        "rebase_allocation",
    ),
    "budget": ("Budget", "TokenPrice"),
    ".errors": ("AllocationError", "BudgetError", "SearchError", "StrategyError", "TreeError"),
    "export": ("export_tree", "to_dot", "to_graphml", "to_mermaid", "to_svg"),
    "node": (
        "FinishReason",
        "Node",
        "NodeState",
        "Origin",
        "PruneReason",
    ),
    "registry": ("make_strategy", "strategy_names", "strategy_option_names", "strategy_to_dict"),
    "selection": ("SelectionRule",),
    "stopping": (
        "AgreementWindow",
        "AllOf",
        "AnyOf",
        "BetaMajority",
        "CannotBeOvertaken",
        "LaneConfidence",
        "NoImprovement",
        "PathRule",
        "ScoreThreshold",
        "Situation",
        "Stop",
        "StopReason",
        "StopRule",
        "WeightedPosterior",
        "make_stop_rule",
        "stop_rule_names",
    ),
    "strategies.ab_mcts": ("AbMcts",),
    "strategies.auto": ("Auto",),
    "strategies.beam": ("BeamSearch",),
    "strategies.dvts": ("Dvts",),
    "strategies.greedy": ("Greedy",),
    "strategies.mcts": ("Mcts",),
    "strategies.particle": ("ParticleFilter", "Resampling"),
    "strategies.rebase": ("Rebase",),
    "strategies.refine": ("Refine",),
    "strategies.sampling": ("BestOfN", "Majority", "Weighted"),
    "strategies.widening": ("Widening",),
    "strategy": (
        "AnyStrategy",
        "Ask",
        "Converses",
        "Expansion",
        "NoState",
        "Settles",
        "Strategy",
        "WindsDown",
    ),
    "tree": ("SearchTree",),
    "votes": ("AnswerGroup", "Candidate", "Vote", "VoteRule", "candidates", "decide", "group_answers"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AbMcts",
    "Aggregation",
    "AgreementWindow",
    "AllOf",
    "AllocationError",
    "AnswerGroup",
    "AnyOf",
    "AnyStrategy",
    "Ask",
    "Auto",
    "BeamSearch",
    "BestOfN",
    "BetaMajority",
    "Budget",
    "BudgetError",
    "Candidate",
    "CannotBeOvertaken",
    "Converses",
    "Dvts",
    "Expansion",
    "FinishReason",
    "Greedy",
    "LaneConfidence",
    "Majority",
    "Mcts",
    "NoImprovement",
    "NoState",
    "Node",
    "NodeState",
    "Origin",
    "ParticleFilter",
    "PathRule",
    "PruneReason",
    "Rebase",
    "Refine",
    "Resampling",
    "RoundingRule",
    "ScoreThreshold",
    "SearchError",
    "SearchTree",
    "SelectionRule",
    "Settles",
    "Situation",
    "Stop",
    "StopReason",
    "StopRule",
    "Strategy",
    "StrategyError",
    "TokenPrice",
    "TreeError",
    "Vote",
    "VoteRule",
    "Weighted",
    "WeightedPosterior",
    "Widening",
    "WindsDown",
    "aggregate",
    "allocate",
    "candidates",
    "decide",
    "export_tree",
    "group_answers",
    "independent_rounding_allocation",
    "largest_remainder_allocation",
    "make_stop_rule",
    "make_strategy",
    "rebase_allocation",
    "stop_rule_names",
    "strategy_names",
    "strategy_option_names",
    "strategy_to_dict",
    "to_dot",
    "to_graphml",
    "to_mermaid",
    "to_svg",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
