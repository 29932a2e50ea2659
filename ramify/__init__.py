"""Asynchronous reasoning engine for GGUF models, guided by a process reward model, under compute budgets.

Names load on first use, so that `import ramify` alone loads no model library. More stands in the modules
`ramify.events`, `ramify.stopping`, `ramify.errors`, `ramify.ensembles`, `ramify.history`, `ramify.batch` and
`ramify.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ramify.answers.equality import answers_equal as answers_equal
    from ramify.answers.extract import extract_answer as extract_answer
    from ramify.engine.engine import Engine as Engine
    from ramify.engine.policy.protocol import PolicyModel as PolicyModel
    from ramify.engine.run import Run as Run
    from ramify.engine.sync import solve_sync as solve_sync
    from ramify.models.tasks.tasks import generate_problems as generate_problems
    from ramify.reward.callable import CallableReward as CallableReward
    from ramify.reward.protocol import RewardModel as RewardModel
    from ramify.search.allocation import rebase_allocation as rebase_allocation
    from ramify.search.budget import Budget as Budget
    from ramify.search.stopping import StopRule as StopRule
    from ramify.search.strategies.ab_mcts import ABMCTS as ABMCTS
    from ramify.search.strategies.auto import Auto as Auto
    from ramify.search.strategies.beam import BeamSearch as BeamSearch
    from ramify.search.strategies.dvts import DVTS as DVTS
    from ramify.search.strategies.mcts import MCTS as MCTS
    from ramify.search.strategies.particle import ParticleFilter as ParticleFilter
    from ramify.search.strategies.rebase import Rebase as Rebase
    from ramify.search.strategies.refine import Refine as Refine
    from ramify.search.strategies.sampling import BestOfN as BestOfN
    from ramify.search.strategies.sampling import Greedy as Greedy
    from ramify.search.strategies.sampling import MajorityVote as MajorityVote
    from ramify.search.strategies.sampling import WeightedVote as WeightedVote
    from ramify.search.strategies.widening import Widening as Widening
    from ramify.search.strategy import Strategy as Strategy
    from ramify.search.tree import SearchTree as SearchTree
    from ramify.tools.tool import tool as tool

    from .config import EngineConfig as EngineConfig
    from .errors import EngineClosed as EngineClosed
    from .errors import ModelCrashed as ModelCrashed
    from .errors import ModelLoadError as ModelLoadError
    from .errors import ModelUnreachable as ModelUnreachable
    from .errors import RamifyError as RamifyError
    from .errors import UsageError as UsageError
    from .problem import Problem as Problem
    from .sampling_params import SamplingParams as SamplingParams
    from .solution import Solution as Solution
    from .usage import RoleUsage as RoleUsage
    from .usage import Usage as Usage

    __version__: str
else:
    from . import _deprecated
    from ._lazy import lazy_names

    _public_name, __dir__, __all__ = lazy_names(
        __name__,
        {
            "ramify.answers.equality": "answers_equal",
            "ramify.answers.extract": "extract_answer",
            "ramify.config": "EngineConfig",
            "ramify.engine.engine": "Engine",
            "ramify.engine.policy.protocol": "PolicyModel",
            "ramify.engine.run": "Run",
            "ramify.engine.sync": "solve_sync",
            "ramify.errors": "EngineClosed ModelCrashed ModelLoadError ModelUnreachable RamifyError UsageError",
            "ramify.models.tasks.tasks": "generate_problems",
            "ramify.problem": "Problem",
            "ramify.reward.callable": "CallableReward",
            "ramify.reward.protocol": "RewardModel",
            "ramify.sampling_params": "SamplingParams",
            "ramify.search.allocation": "rebase_allocation",
            "ramify.search.budget": "Budget",
            "ramify.search.stopping": "StopRule",
            "ramify.search.strategies.ab_mcts": "ABMCTS",
            "ramify.search.strategies.auto": "Auto",
            "ramify.search.strategies.beam": "BeamSearch",
            "ramify.search.strategies.dvts": "DVTS",
            "ramify.search.strategies.mcts": "MCTS",
            "ramify.search.strategies.particle": "ParticleFilter",
            "ramify.search.strategies.rebase": "Rebase",
            "ramify.search.strategies.refine": "Refine",
            "ramify.search.strategies.sampling": "BestOfN Greedy MajorityVote WeightedVote",
            "ramify.search.strategies.widening": "Widening",
            "ramify.search.strategy": "Strategy",
            "ramify.search.tree": "SearchTree",
            "ramify.solution": "Solution",
            "ramify.tools.tool": "tool",
            "ramify.usage": "RoleUsage Usage",
        },
    )

    def __getattr__(name):
        if name == "__version__":
            from importlib.metadata import version

            return version("ramify")
        return _public_name(name)

    _deprecated.install()
