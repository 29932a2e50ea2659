"""Why runs end, and rules that end one early when going on is not worth it."""

from ..reasons import StopReason
from .parse import make_stop_rule, stop_rule_names
from .paths import LaneConfidence, PathRule
from .rule import AllOf, AnyOf, Gauged, Situation, Stop, StopRule, standing
from .rules import AgreementWindow, BetaMajority, CannotBeOvertaken, NoImprovement, ScoreThreshold, WeightedPosterior

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
