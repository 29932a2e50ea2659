"""Usage of one run: tokens of both models, time, energy and cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ramify.reward.protocol import ScoreUsage
from ramify.search.budget import TokenPrice
from ramify.usage import RoleUsage, Usage

from ..metering.machine import MOST_AGE_S, Account, MachineMeter
from ..runtime.messages import StepResult

if TYPE_CHECKING:
    # Prices need pydantic, whose import takes long.
    from ramify.prices import Charge


class UsageCounter:
    """Counter of the usage of one run; it has one owner and no lock.

    `price` has the FLOPs of a token. `clock` returns seconds from any origin. `machine` measures energy and the time of
    the machine, None for neither; `charge` gives the cost of tokens and of the machine, None without prices.
    """

    def __init__(
        self,
        price: TokenPrice,
        *,
        clock: Callable[[], float] = time.monotonic,
        machine: MachineMeter | None = None,
        charge: Charge | None = None,
    ) -> None:
        self.price = price
        self.nodes = 0
        """Steps written so far."""
        self._clock = clock
        self._machine = machine
        self._charge = charge
        self._account: Account | None = None
        self._policy = RoleUsage()
        self._reward = RoleUsage()
        self._started_s: float | None = None
        self._stopped_s: float | None = None
        self._first_token_s: float | None = None
        self._stored_generated = 0

    def start(self) -> None:
        """Start the clock, and the account of the machine."""
        self._started_s = self._clock()
        if self._machine is not None:
            self._account = self._machine.open(self._work)

    def stop(self) -> None:
        """Stop the clock, and close the account; later results are counted but take no time and no energy."""
        self._stopped_s = self._clock()
        self.close()

    def close(self) -> None:
        """Close the account of the machine; it is there that a run which was cancelled ends."""
        if self._account is not None:
            self._account.close()

    def _work(self) -> float:
        """Return the work of the models so far: FLOPs, or tokens of models of unknown size."""
        tokens = self._policy.fresh_tokens + self._reward.fresh_tokens
        return self._policy.fresh_flops + self._reward.fresh_flops or float(tokens)

    @property
    def seconds(self) -> float:
        """Seconds since `start`, up to `stop`; 0.0 before."""
        if self._started_s is None:
            return 0.0
        return (self._clock() if self._stopped_s is None else self._stopped_s) - self._started_s

    def usage(self) -> Usage:
        """Return the usage so far; energy and the machine's time as of the last reading."""
        account, joules = self._account, None
        if account is not None:
            account.refresh(self._energy_age_s)
            joules = account.joules
        return Usage(
            policy=self._policy,
            reward=self._reward,
            seconds=self.seconds,
            time_to_first_token_s=self._first_token_s,
            energy_j=joules,
            energy_source=None if account is None else account.source,
            cost=None if self._charge is None else self._cost(self._charge, joules),
            currency=None if self._charge is None else self._charge.prices.currency,
        )

    def _cost(self, charge: Charge, joules: float | None) -> float:
        machine_s = self.seconds if self._account is None else self._account.machine_s
        tokens = charge.policy.cost(self._policy) + charge.reward.cost(self._reward)
        return tokens + charge.prices.machine_cost(machine_s, joules)

    @property
    def _energy_age_s(self) -> float:
        """Age in seconds from which on the energy is read again."""
        return MOST_AGE_S

    def written(self, result: StepResult, *, probe: bool = False) -> None:
        """Add a written step, or the answer of a probe."""
        if result.generated_tokens:
            self._note_first_token(result.first_token_at)
        self._policy += RoleUsage(
            prompt_tokens=result.prompt_tokens,
            cached_tokens=result.cached_tokens,
            generated_tokens=result.generated_tokens,
            reevaluated_tokens=result.reevaluated_tokens,
            shared_tokens=result.shared_tokens,
            calculated_tokens=result.calculated_tokens,
            reused_tokens=result.reused_tokens + result.stored_tokens,
            stored_tokens=result.stored_tokens,
            prefilled_tokens=result.prefilled_tokens,
            probe_tokens=result.generated_tokens if probe else 0,
            drafted_tokens=result.drafted_tokens,
            rejected_tokens=result.rejected_tokens,
            flops=self.price.policy_flops * evaluated_tokens(result),
        )
        self._stored_generated += result.generated_tokens if result.stored_tokens else 0
        self.nodes += not probe

    def _note_first_token(self, at: float | None) -> None:
        """Keep the time of the first token: the earliest that a step tells, else that of the first step's end."""
        if at is None or self._started_s is None:
            if self._first_token_s is None:
                self._first_token_s = self.seconds
            return
        after_s = max(0.0, at - self._started_s)
        if self._first_token_s is None or after_s < self._first_token_s:
            self._first_token_s = min(after_s, self.seconds)

    def scored(self, total: ScoreUsage) -> None:
        """Set the usage of the reward session since it was opened."""
        evaluated = total.evaluated_tokens + total.generated_tokens + total.reevaluated_tokens
        self._reward = RoleUsage(
            prompt_tokens=total.evaluated_tokens,
            cached_tokens=total.cached_tokens,
            generated_tokens=total.generated_tokens,
            reevaluated_tokens=total.reevaluated_tokens,
            reused_tokens=total.stored_tokens,
            stored_tokens=total.stored_tokens,
            prefilled_tokens=total.prefilled_tokens,
            flops=self.price.reward_flops * evaluated if total.flops is None else total.flops,
        )


def evaluated_tokens(result: StepResult) -> int:
    """Return how many tokens the policy has evaluated for a step."""
    return result.prompt_tokens + result.generated_tokens + result.reevaluated_tokens + result.rejected_tokens
