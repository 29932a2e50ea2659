"""Set-up of one run: checks of its models against its settings, its answers, its meter and its risk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ramify.answers.checkers import DEFAULT_CHECK, PYTHON_TESTS, AnswerEquality, make_checker
from ramify.answers.kinds import AnswerKind
from ramify.answers.programs import ProgramEquality
from ramify.answers.reading import AUTO, AnswerReader
from ramify.answers.schemas import AnswerSchema, same_values
from ramify.config import RunConfig
from ramify.errors import UsageError
from ramify.events import Event
from ramify.problem import Problem
from ramify.reward.callable import CallableReward
from ramify.reward.protocol import RewardModel
from ramify.sampling_params import SamplingParams
from ramify.search.budget import TokenPrice
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.tools.forms import CallReader
from ramify.tools.toolbox import Toolbox

from .control.continuations import Continuations
from .control.controller import SearchController
from .control.meter import Meter
from .control.tool_calls import ToolCalls
from .loading import default_sampling
from .metering.plan import Metering
from .planning.profile import Profile, risk_profile_for
from .planning.risk import RiskRule, risk_rule
from .policy.protocol import (
    Calculates,
    CallsTools,
    EndsItself,
    ExtendsThoughts,
    PolicyModel,
    PromptsByKind,
    TellsRates,
    Thinks,
    WritesForms,
)
from .run import Run
from .runtime.serve.rates import Rates

if TYPE_CHECKING:
    from .store.solved import ProblemMemory

MIN_STEP_TOKENS = 16
"""With fewer tokens a step is unlikely to end, so near its limit a run starts fewer steps instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSetup:
    """Makes runs of the models of one engine.

    `metering` measures what runs use, `memory` holds the problems that were solved earlier, None without a store.
    `profile` is the file of a calibration, None for the bundled ones.
    """

    policy: PolicyModel
    reward: RewardModel | None
    metering: Metering
    memory: ProblemMemory | None
    profile: str | None

    def with_similar(self, problem: Problem, count: int) -> Problem:
        """Return a problem with the most similar ones that were solved earlier as examples.

        Raises:
            UsageError: if there is no store for the policy.
        """
        if not count:
            return problem
        if self.memory is None:
            raise UsageError(
                f"{self.policy.name} has no store from which it could remember problems",
                "open the engine with a store, and a model file",
            )
        return self.memory.shown(problem, count)

    def run(
        self,
        problem: Problem,
        strategy: Strategy,
        config: RunConfig,
        tree: SearchTree | None,
        *,
        progress: bool,
        toolbox: Toolbox | None = None,
        schema: AnswerSchema | None = None,
    ) -> Run:
        """Return a run, which has not begun; `tree` is a saved one to go on with, `progress` adds StepProgress events.

        Raises:
            UsageError: if the models cannot do what is asked, a limit cannot be checked, or a risk is not calibrated.
        """
        policy = self.policy
        if schema is not None and not isinstance(policy, WritesForms):
            raise UsageError(f"{policy.name} cannot write answers by a schema", "leave it out, or use a model file")
        reward = self.reward if strategy.uses_reward else None
        if reward is not None and tree is not None and any(node.score is None for node in tree.finished_nodes()):
            raise UsageError(
                f"the finished paths of the tree have no scores, which the strategy {strategy.name} needs",
                "go on with the strategy that the tree was made with, or another one without a reward",
            )
        if config.budget.flops is not None and not policy.parameters:
            raise UsageError(f"FLOPs are limited and the size of {policy.name} is not known", "limit tokens instead")
        if config.calculator and not (isinstance(policy, Calculates) and policy.calculates):
            raise UsageError(f"{policy.name} cannot write with a calculator", "leave it out, or use a model file")
        read_by = None if reward is None or isinstance(reward, CallableReward) else reward.parameters
        self.metering.check(config.budget, policy.name)
        meter = Meter(
            config.budget,
            TokenPrice.of(policy.parameters, read_by),
            min_step_tokens=min(MIN_STEP_TOKENS, config.max_step_tokens),
            machine=self.metering.machine,
            charge=self.metering.charge(policy.name, None if reward is None else reward.name),
            count_reused=config.count_reused,
        )

        answers, ends_at_answer = answers_of(policy, problem, config.answer if schema is None else AnswerKind.JSON)
        equality = _equality(policy, problem, answers)

        tool_calls = None if toolbox is None else _tool_calls(policy, toolbox)
        check_thoughts(policy, config)

        def controller(emit: Callable[[Event], None]) -> SearchController:
            return SearchController(
                strategy=strategy,
                config=config,
                meter=meter,
                answers=answers,
                same=equality.same,
                emit=emit,
                tree=None if tree is None else tree.restarted(),
                parameters=policy.parameters,
                rates=lambda: (policy.rates if isinstance(policy, TellsRates) else None) or Rates(),
                ends_at_answer=ends_at_answer,
                tools=tool_calls,
                usable=equality.works if isinstance(equality, ProgramEquality) else None,
                context_tokens=policy.context_tokens,
                steers_thoughts=isinstance(policy, ExtendsThoughts),
            )

        return Run(
            problem=problem,
            policy=policy,
            reward=reward,
            controller=controller,
            equality=equality,
            model={"policy": policy.name, "reward": None if reward is None else reward.name},
            progress=progress,
            toolbox=toolbox,
            schema=schema,
            risk=None if config.risk is None else self._risk_rule(strategy, config.risk, config.sampling),
            keep=None if self.memory is None or toolbox or schema else self.memory.keeper(problem),
        )

    def _risk_rule(self, strategy: Strategy, level: float, sampling: SamplingParams) -> RiskRule:
        """Return the rule by which answers are given at a risk.

        Raises:
            UsageError: if nothing was calibrated for these models and this strategy.
        """
        if sampling != SamplingParams.of(default_sampling(self.policy)):
            raise UsageError("a risk is calibrated with the sampling of the model", "leave settings of sampling out")
        return risk_rule(self._risk_profile(strategy.uses_reward), strategy, level)

    def _risk_profile(self, uses_reward: bool) -> Profile:
        reward = None if self.reward is None or not uses_reward else self.reward.name
        profile = risk_profile_for(self.policy.name, reward, self.profile)
        measured = (profile.policy, profile.reward if uses_reward else None)
        if measured != (self.policy.name, reward):
            raise UsageError(
                f"the risk was calibrated for {profile.policy} with {profile.reward or 'no reward model'}",
                "name the models of the calibration, or measure these with `ramify calibrate`",
            )
        return profile


def _equality(policy: PolicyModel, problem: Problem, answers: AnswerReader) -> AnswerEquality:
    """Return which answers to a problem mean the same."""
    if answers.kind is AnswerKind.PROGRAM:
        return ProgramEquality(problem.question)
    if answers.kind is AnswerKind.JSON:
        return AnswerEquality(same_values, same_values)
    check = policy.check if isinstance(policy, PromptsByKind) and problem.check == DEFAULT_CHECK else None
    checker = make_checker(check or problem.check)
    return AnswerEquality(checker.same_quickly, checker.same)


def _tool_calls(policy: PolicyModel, toolbox: Toolbox) -> Callable[[SearchTree, Continuations], ToolCalls]:
    """Return a function that finds the calls of tools in a tree.

    Raises:
        UsageError: if the policy cannot call the tools.
    """
    if not isinstance(policy, CallsTools):
        raise UsageError(f"{policy.name} cannot call tools", "leave them out, or use a model file")
    reader = CallReader(policy.call_form(tuple(toolbox.tools.values())), frozenset(toolbox.tools))
    return lambda tree, continued: ToolCalls(tree, reader, toolbox.limits.path_calls, continued)


def answers_of(policy: PolicyModel, problem: Problem, asked: str) -> tuple[AnswerReader, bool]:
    """Return the reader of a policy's answers to a problem, and whether a path ends with its first answer.

    A problem with a system message of its own may ask for any kind of answer, and one with tests for a program.
    """
    if asked == AUTO and problem.check == PYTHON_TESTS:
        asked = AnswerKind.PROGRAM
    own_system = problem.conversation.system is not None
    form = policy.answer_kind if isinstance(policy, PromptsByKind) and not own_system else None
    has_rule = form is not None and ":" in form
    marked = asked == AnswerKind.BOX or (asked == AUTO and not has_rule)
    thoughts = policy.thoughts if isinstance(policy, Thinks) else None
    if marked and (not isinstance(policy, EndsItself) or policy.ends_at_answer):
        return AnswerReader(thoughts=thoughts), True
    return replace(AnswerReader.of(problem.question, asked, form), thoughts=thoughts), False


def check_thoughts(policy: PolicyModel, config: RunConfig) -> None:
    """Check that the policy can limit, extend and show its thoughts as the settings ask.

    Raises:
        UsageError: if it does not think, or has no thoughts that can be ended or kept going.
    """
    if not config.asks_of_thoughts:
        return
    if not isinstance(policy, Thinks) or policy.thoughts is None:
        raise UsageError(
            f"{policy.name} does not think, so its thoughts cannot be limited, extended or probed",
            "leave the settings of thoughts out, or use a model that thinks",
        )
    if not isinstance(policy, ExtendsThoughts):
        raise UsageError(
            f"the thoughts of {policy.name} cannot be limited, extended or probed here",
            "leave the settings of thoughts out, or use a model file",
        )
    if config.thinking_extend and not policy.keeps_thinking:
        raise UsageError(
            f"the thoughts of {policy.name} do not end with one token, so they cannot be extended",
            "leave --thinking-extend out",
        )
