"""Process reward models behind one protocol; whatever runs their tokens is injected.

Names are loaded when first used, so that importing one module does not import the others.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.errors import RewardContextExceeded as RewardContextExceeded
    from ramify.errors import RewardError as RewardError
    from ramify.errors import RewardSpecError as RewardSpecError

    from .callable import CallableReward as CallableReward
    from .lm_head import LmHeadReward as LmHeadReward
    from .protocol import ReadRequest as ReadRequest
    from .protocol import ReadResult as ReadResult
    from .protocol import RewardModel as RewardModel
    from .protocol import RewardSession as RewardSession
    from .protocol import ScoredStep as ScoredStep
    from .protocol import ScorerRun as ScorerRun
    from .protocol import ScoreUsage as ScoreUsage
    from .protocol import Tokenizer as Tokenizer
    from .protocol import TokenScorer as TokenScorer
    from .spec_loading import BUILTIN_SPECS as BUILTIN_SPECS
    from .spec_loading import load_spec as load_spec
    from .spec_loading import resolve_spec as resolve_spec
    from .specs import ImplicitSpec as ImplicitSpec
    from .specs import RewardSpec as RewardSpec
    from .specs import VerifierSpec as VerifierSpec
    from .testing import ScriptedReward as ScriptedReward

_HOMES = {
    "BUILTIN_SPECS": "spec_loading",
    "CallableReward": "callable",
    "ImplicitSpec": "specs",
    "LmHeadReward": "lm_head",
    "RewardContextExceeded": ".errors",
    "RewardError": ".errors",
    "RewardModel": "protocol",
    "RewardSession": "protocol",
    "RewardSpec": "specs",
    "RewardSpecError": ".errors",
    "ReadRequest": "protocol",
    "ReadResult": "protocol",
    "ScoreUsage": "protocol",
    "ScoredStep": "protocol",
    "ScorerRun": "protocol",
    "ScriptedReward": "testing",
    "TokenScorer": "protocol",
    "Tokenizer": "protocol",
    "VerifierSpec": "specs",
    "load_spec": "spec_loading",
    "resolve_spec": "spec_loading",
}

__all__ = [
    "BUILTIN_SPECS",
    "CallableReward",
    "ImplicitSpec",
    "LmHeadReward",
    "ReadRequest",
    "ReadResult",
    "RewardContextExceeded",
    "RewardError",
    "RewardModel",
    "RewardSession",
    "RewardSpec",
    "RewardSpecError",
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
