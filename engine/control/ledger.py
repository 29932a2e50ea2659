"""Counts what a run uses, from the results themselves; the only place where usage is added up."""

from __future__ import annotations

import time

from ramify.reward.protocol import ScoreUsage
from ramify.usage import RoleUsage, Usage

from ..policy.protocol import StepResult


class Ledger:
    """The usage of one run.

    `policy_parameters` and `reward_parameters` are numbers of weights; 0 (unknown, or no model) makes FLOPs 0.
    """

    def __init__(self, *, policy_parameters: int, reward_parameters: int) -> None:
        self._policy_flops_per_token = 2.0 * policy_parameters
        self._reward_flops_per_token = 2.0 * reward_parameters
        self._policy = RoleUsage()
        self._reward = RoleUsage()
        self._started_s: float | None = None
        self._stopped_s: float | None = None
        self._first_token_s: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds since `start`, up to `stop`; 0.0 before."""
        if self._started_s is None:
            return 0.0
        end = time.monotonic() if self._stopped_s is None else self._stopped_s
        return end - self._started_s

    def start(self) -> None:
        """Start the clock."""
        self._started_s = time.monotonic()

    def stop(self) -> None:
        """Stop the clock; later results are counted but take no time."""
        self._stopped_s = time.monotonic()

    def generated(self, result: StepResult) -> None:
        """Add one written step."""
        if self._first_token_s is None and result.generated_tokens:
            self._first_token_s = self.seconds
        evaluated = result.prompt_tokens + result.generated_tokens + result.reevaluated_tokens
        self._policy += RoleUsage(
            prompt_tokens=result.prompt_tokens,
            cached_tokens=result.cached_tokens,
            generated_tokens=result.generated_tokens,
            reevaluated_tokens=result.reevaluated_tokens,
            shared_tokens=result.shared_tokens,
            flops=self._policy_flops_per_token * evaluated,
        )

    def scored(self, total: ScoreUsage) -> None:
        """Set what the reward session has used since it was opened."""
        self._reward = RoleUsage(
            prompt_tokens=total.evaluated_tokens,
            cached_tokens=total.cached_tokens,
            generated_tokens=total.generated_tokens,
            reevaluated_tokens=total.reevaluated_tokens,
            flops=self._reward_flops_per_token
            * (total.evaluated_tokens + total.generated_tokens + total.reevaluated_tokens),
        )

    def usage(self) -> Usage:
        """Return what has been used so far."""
        return Usage(
            policy=self._policy,
            reward=self._reward,
            seconds=self.seconds,
            time_to_first_token_s=self._first_token_s,
        )
