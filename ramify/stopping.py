"""Rules that end a run early, and the reasons why runs end."""

from __future__ import annotations

from ramify.search.path_rules import PathConfidence, PathRule
from ramify.search.stopping import (
    AgreementWindow,
    AllOf,
    AnyOf,
    BetaMajority,
    CannotBeOvertaken,
    NoImprovement,
    ScoreThreshold,
    Situation,
    Stop,
    StopReason,
    StopRule,
    WeightedPosterior,
    make_stop_rule,
)

__all__ = [
    "AgreementWindow",
    "AllOf",
    "AnyOf",
    "BetaMajority",
    "CannotBeOvertaken",
    "NoImprovement",
    "PathConfidence",
    "PathRule",
    "ScoreThreshold",
    "Situation",
    "Stop",
    "StopReason",
    "StopRule",
    "WeightedPosterior",
    "make_stop_rule",
]
