"""Why runs end, and rules that end one early when going on is not worth it."""

from ramify.search.stopping.parse import make_stop_rule, stop_rule_names
from ramify.search.stopping.paths import LaneConfidence, PathRule
from ramify.search.stopping.reasons import StopReason
from ramify.search.stopping.rule import AllOf, AnyOf, Gauged, Situation, Stop, StopRule, standing
from ramify.search.stopping.rules import AgreementWindow, BetaMajority, CannotBeOvertaken, NoImprovement, ScoreThreshold, WeightedPosterior

__all__ = [
    "AgreementWindow",
    "AllOf",
    "AnyOf",
    "BetaMajority",
    "CannotBeOvertaken",
    "Gauged",
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
    "standing",
    "stop_rule_names",
]
