"""Process reward models behind one protocol; whatever runs their tokens is injected.

Names are loaded when first used, so that importing one module does not import the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.reward.builtin import BUILTIN_SPECS as BUILTIN_SPECS
    from ramify.reward.builtin import load_spec as load_spec
    from ramify.reward.builtin import resolve_spec as resolve_spec
    from ramify.reward.callable import CallableReward as CallableReward
    from ramify.reward.errors import RewardContextExceeded as RewardContextExceeded
    from ramify.reward.errors import RewardError as RewardError
    from ramify.reward.errors import RewardSpecError as RewardSpecError
    from ramify.reward.lm_head import LmHeadReward as LmHeadReward
    from ramify.reward.other_specs import ImplicitSpec as ImplicitSpec
    from ramify.reward.other_specs import VerifierSpec as VerifierSpec
    from ramify.reward.protocol import RewardModel as RewardModel
    from ramify.reward.protocol import RewardSession as RewardSession
    from ramify.reward.protocol import ScoredStep as ScoredStep
    from ramify.reward.protocol import ScoreJob as ScoreJob
    from ramify.reward.protocol import ScoreRow as ScoreRow
    from ramify.reward.protocol import ScorerRun as ScorerRun
    from ramify.reward.protocol import ScoreUsage as ScoreUsage
    from ramify.reward.protocol import Tokenizer as Tokenizer
    from ramify.reward.protocol import TokenScorer as TokenScorer
    from ramify.reward.spec import RewardSpec as RewardSpec
    from ramify.reward.testing import ScriptedReward as ScriptedReward

_HOMES = {
    "BUILTIN_SPECS": "builtin",
    "CallableReward": "callable",
    "ImplicitSpec": "other_specs",
    "LmHeadReward": "lm_head",
    "RewardContextExceeded": "errors",
    "RewardError": "errors",
    "RewardModel": "protocol",
    "RewardSession": "protocol",
    "RewardSpec": "spec",
    "RewardSpecError": "errors",
    "ScoreJob": "protocol",
    "ScoreRow": "protocol",
    "ScoreUsage": "protocol",
    "ScoredStep": "protocol",
    "ScorerRun": "protocol",
    "ScriptedReward": "testing",
    "TokenScorer": "protocol",
    "Tokenizer": "protocol",
    "VerifierSpec": "other_specs",
    "load_spec": "builtin",
    "resolve_spec": "builtin",
}

__all__ = [
    "BUILTIN_SPECS",
    "CallableReward",
    "ImplicitSpec",
    "LmHeadReward",
    "RewardContextExceeded",
    "RewardError",
    "RewardModel",
    "RewardSession",
    "RewardSpec",
    "RewardSpecError",
    "ScoreJob",
    "ScoreRow",
    "ScoreUsage",
    "ScoredStep",
    "ScorerRun",
    "ScriptedReward",
    "TokenScorer",
    "Tokenizer",
    "VerifierSpec",
    "load_spec",
    "resolve_spec",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
