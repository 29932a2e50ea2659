"""Asynchronous reasoning engine for GGUF models, guided by a process reward model, under compute budgets.

Names load on first use (PEP 562), so that `import ramify` alone loads no model library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ramify.answers.equality import answers_equal
    from ramify.answers.extract import extract_answer
    from ramify.engine.engine import Engine
    from ramify.engine.run import Run
    from ramify.engine.sync import solve_sync
    from ramify.models.tasks import generate_problems
    from ramify.reward.callable import CallableReward
    from ramify.search.allocation import rebase_allocation
    from ramify.search.budget import Budget
    from ramify.search.stopping import (
        AgreementWindow,
        AllOf,
        AnyOf,
        BetaMajority,
        CannotBeOvertaken,
        LaneConfidence,
        NoImprovement,
        ScoreThreshold,
        Stop,
        StopReason,
        WeightedPosterior,
    )
    from ramify.search.strategies.ab_mcts import AbMcts
    from ramify.search.strategies.auto import Auto
    from ramify.search.strategies.beam import BeamSearch
    from ramify.search.strategies.dvts import Dvts
    from ramify.search.strategies.greedy import Greedy
    from ramify.search.strategies.mcts import Mcts
    from ramify.search.strategies.particle import ParticleFilter
    from ramify.search.strategies.rebase import Rebase
    from ramify.search.strategies.refine import Refine
    from ramify.search.strategies.sampling import BestOfN, Majority, Weighted
    from ramify.search.strategies.widening import Widening
    from ramify.search.tree import SearchTree

    from .config import EngineConfig
    from .errors import (
        EngineClosed,
        ExitCode,
        ModelCrashed,
        ModelLoadError,
        NoAnswer,
        QuestionTooLong,
        RamifyError,
        RewardError,
        RewardSpecError,
        SearchError,
        UsageError,
    )
    from .events import (
        AnswerUpdate,
        BudgetChanged,
        BudgetUsed,
        Event,
        NodeAdded,
        NodePinned,
        NodePruned,
        NodeScored,
        NodesDispatched,
        RunFinished,
        RunPaused,
        RunResumed,
        RunStarted,
        StepProgress,
    )
    from .problem import Problem
    from .sampling_params import SamplingParams
    from .solution import Solution, SolutionCandidate
    from .usage import RoleUsage, Usage

_MODULES = {
    "answers.equality": ("answers_equal",),
    "answers.extract": ("extract_answer",),
    "config": ("EngineConfig",),
    "engine.engine": ("Engine",),
    "errors": (
        "RewardError",
        "RewardSpecError",
        "SearchError",
        "EngineClosed",
        "ExitCode",
        "ModelCrashed",
        "ModelLoadError",
        "NoAnswer",
        "QuestionTooLong",
        "RamifyError",
        "UsageError",
    ),
    "events": (
        "AnswerUpdate",
        "BudgetChanged",
        "BudgetUsed",
        "Event",
        "NodeAdded",
        "NodePinned",
        "NodePruned",
        "NodeScored",
        "NodesDispatched",
        "RunFinished",
        "RunPaused",
        "RunResumed",
        "RunStarted",
        "StepProgress",
    ),
    "problem": ("Problem",),
    "engine.run": ("Run",),
    "sampling_params": ("SamplingParams",),
    "solution": ("Solution", "SolutionCandidate"),
    "engine.sync": ("solve_sync",),
    "usage": ("RoleUsage", "Usage"),
    "models.tasks": ("generate_problems",),
    "reward.callable": ("CallableReward",),
    "search.allocation": ("rebase_allocation",),
    "search.budget": ("Budget",),
    "search.stopping": (
        "AgreementWindow",
        "AllOf",
        "AnyOf",
        "BetaMajority",
        "CannotBeOvertaken",
        "LaneConfidence",
        "NoImprovement",
        "ScoreThreshold",
        "Stop",
        "StopReason",
        "WeightedPosterior",
    ),
    "search.strategies.ab_mcts": ("AbMcts",),
    "search.strategies.auto": ("Auto",),
    "search.strategies.beam": ("BeamSearch",),
    "search.strategies.dvts": ("Dvts",),
    "search.strategies.greedy": ("Greedy",),
    "search.strategies.mcts": ("Mcts",),
    "search.strategies.particle": ("ParticleFilter",),
    "search.strategies.rebase": ("Rebase",),
    "search.strategies.refine": ("Refine",),
    "search.strategies.sampling": ("BestOfN", "Majority", "Weighted"),
    "search.strategies.widening": ("Widening",),
    "search.tree": ("SearchTree",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AbMcts",
    "AgreementWindow",
    "AllOf",
    "AnswerUpdate",
    "AnyOf",
    "Auto",
    "BeamSearch",
    "BestOfN",
    "BetaMajority",
    "Budget",
    "BudgetChanged",
    "BudgetUsed",
    "CallableReward",
    "CannotBeOvertaken",
    "Dvts",
    "Engine",
    "EngineClosed",
    "EngineConfig",
    "Event",
    "ExitCode",
    "Greedy",
    "LaneConfidence",
    "Majority",
    "Mcts",
    "ModelCrashed",
    "ModelLoadError",
    "NoAnswer",
    "NoImprovement",
    "NodeAdded",
    "NodePinned",
    "NodePruned",
    "NodeScored",
    "NodesDispatched",
    "ParticleFilter",
    "Problem",
    "QuestionTooLong",
    "RamifyError",
    "Rebase",
    "Refine",
    "RewardError",
    "RewardSpecError",
    "RoleUsage",
    "Run",
    "RunFinished",
    "RunPaused",
    "RunResumed",
    "RunStarted",
    "SamplingParams",
    "ScoreThreshold",
    "SearchError",
    "SearchTree",
    "Solution",
    "SolutionCandidate",
    "StepProgress",
    "Stop",
    "StopReason",
    "Usage",
    "UsageError",
    "Weighted",
    "WeightedPosterior",
    "Widening",
    "__version__",
    "answers_equal",
    "extract_answer",
    "generate_problems",
    "rebase_allocation",
    "solve_sync",
]

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("ramify")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
