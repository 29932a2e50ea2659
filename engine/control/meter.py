"""Meter of one run: the usage that it reports, checked against its budget, and reservations for steps in flight.

A limit is checked against the very usage that is reported. Steps in flight hold their foreseen price on top of it:
work is reserved before it starts, and the reservation of a step is replaced by its real usage. Usage and
reservations together never exceed a limit, so a run overshoots by no more than its foreseen prices were too low.

While no path has finished, a part of each limit is withheld from ordinary work (`Meter.withheld`), so that the best
unfinished path can still be brought to its answer by `Meter.reserve_finish`. Once that was asked the run is ending,
and no more ordinary work is granted.

Time, energy and money by the hour or the kilowatt-hour pass by themselves: no step has a price in them, and
the run looks at their limits again and again (`Meter.time_left`, `Meter.time_to_cut`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import accumulate, repeat
from math import floor
from typing import TYPE_CHECKING

from ramify.errors import BudgetError
from ramify.reward.protocol import ScoreUsage
from ramify.search.budget import UNITS, Budget, TokenPrice
from ramify.search.node import FinishReason
from ramify.search.stopping import StopReason
from ramify.usage import Usage

from ..metering.machine import MachineMeter
from ..runtime.messages import StepResult
from .grants import Grant, Held, StepInFlight
from .usage_counter import UsageCounter, evaluated_tokens

if TYPE_CHECKING:
    # Prices need pydantic, whose import takes long.
    from ramify.prices import Charge

FINISH_SHARE = 1 / 8
"""Share of each limit that is withheld while no path has finished."""
FINISH_TOKENS = 64
"""Least number of tokens withheld, where the limit is large enough that this is at most half of it."""
LEAST_SECONDS = 0.001
"""Time in which no step is worth starting: with no more of it left, a limit of time counts as reached."""
LOOK_S = 0.1
"""Seconds between two looks at a limit of energy or cost."""
_TOKEN_LIKE = ("generated_tokens", "total_tokens", "flops", "cost")


class Meter(UsageCounter):
    """Usage, limits and reservations of one run; it has one owner and no lock.

    `price` foresees the cost of steps. `clock` returns seconds from any origin. `min_step_tokens` is the least that a
    step is worth starting with: a grant has at least so many tokens for each child. `machine` measures energy and the
    time of the machine, None for neither; `charge` gives the cost of tokens and of the machine, None without prices.
    `count_reused` says that tokens from a store count like all others; if not, limits of tokens and FLOPs count only
    those of this run.

    Raises:
        BudgetError: if a limit cannot be checked: FLOPs of a policy of unknown size, energy that nothing measures, cost
            without prices; or if `min_step_tokens` is below 1.
    """

    def __init__(
        self,
        budget: Budget,
        price: TokenPrice | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        min_step_tokens: int = 1,
        machine: MachineMeter | None = None,
        charge: Charge | None = None,
        count_reused: bool = True,
    ) -> None:
        price = price or TokenPrice()
        price = price if charge is None else charge.foreseen(price)
        super().__init__(price, clock=clock, machine=machine, charge=charge)
        self.budget = budget
        self._check_limits(budget)
        if min_step_tokens < 1:
            raise BudgetError(f"min_step_tokens is {min_step_tokens}; give 1 or more")
        self.alone = False
        """True while a single path grows, which needs no time withheld: it is the one to be finished."""
        self.cut_by: StopReason | None = None
        """The limit that first cut a step short, None if all steps had the tokens that they were to have."""
        self._count_reused = count_reused
        self._min_step_tokens = min_step_tokens
        self._prompts = (0, 0)
        self._unread_prompts = (0, 0)
        self._step_input = 0
        """Most tokens that the policy was expected to read for one step."""
        self._held = Held()
        self._steps: dict[int, StepInFlight] = {}
        self._finished = self._finishing = False

    # Usage and prompts

    @property
    def _energy_age_s(self) -> float:
        limited = self.budget.joules is not None or self.budget.cost is not None
        return LOOK_S if limited else super()._energy_age_s

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the policy's prompt; 0 before it is known."""
        return self._prompts[0]

    def foresee_prompts(self, prompt_tokens: int) -> None:
        """Reserve the prompt until it has been read, for both models if the reward model reads: theirs are alike."""
        self._prompts = self._unread_prompts = (prompt_tokens, prompt_tokens if self.price.reads else 0)

    def written(self, result: StepResult, *, probe: bool = False) -> None:
        """Add a written step, or the answer of a probe, to the usage, and take it off its reservation."""
        super().written(result, probe=probe)
        if evaluated_tokens(result):
            self._unread_prompts = (0, self._unread_prompts[1])
        step = self._steps.get(result.child)
        if step is None:
            return
        grant = step.grant
        if result.finish_reason is FinishReason.BUDGET and self.cut_by is None:
            self.cut_by = grant.limit
        self._held.add(grant, -1)
        step.generated_tokens = result.generated_tokens
        grant.written += 1
        grant.written_tokens += result.generated_tokens
        grant.input_tokens -= step.input_tokens
        self._held.add(grant, 1)

    def scored(self, total: ScoreUsage) -> None:
        """Set the usage of the reward session since it was opened."""
        super().scored(total)
        self._unread_prompts = (self._unread_prompts[0], 0)

    # Reservations

    def reserve(
        self, children: int, max_step_tokens: int, *, expected_tokens: int = 1, input_tokens: Sequence[int] = ()
    ) -> Grant:
        """Reserve for up to `children` steps of up to `max_step_tokens` each, as many as the budget allows.

        `expected_tokens` is the expected need of each of them: fewer are granted if there is less for each, so
        that some reach their ends instead of all being cut; one is granted in any case that allows a step.
        `input_tokens` are the tokens that the policy is expected to read for each of them, none if empty.

        Reserve once for all steps that start together: they share the allowance, and the first of them in order
        should be the most promising if fewer are granted. The grant has 0 children if nothing can be afforded until
        others are settled; if none are in flight either, `exhausted` names the limit.
        """
        if self._finishing:
            return Grant(0, 0, max_step_tokens, None)
        return self._grant(children, max_step_tokens, expected_tokens, input_tokens)

    def reserve_finish(self, max_step_tokens: int, *, input_tokens: Sequence[int] = ()) -> Grant:
        """Reserve for one step that should end a path, from all that is left; ordinary work ends with this call."""
        self._finishing = True
        return self._grant(1, max_step_tokens, 1, input_tokens)

    def begin(self, grant: Grant, nodes: Sequence[int]) -> None:
        """Note which steps are being written under a grant, one for each of its children, in their order."""
        for node, input_tokens in zip(nodes, grant.inputs or repeat(0), strict=False):
            self._steps[node] = StepInFlight(grant, input_tokens)

    def settle(self, node: int) -> None:
        """Free the rest of a written step's reservation; call it when no model has to read the step any more.

        A step without a grant, such as one by hand, has nothing reserved.
        """
        step = self._steps.pop(node, None)
        if step is None:
            return
        grant = step.grant
        self._held.add(grant, -1)
        grant.children -= 1
        grant.tokens = max(0, grant.tokens - step.generated_tokens)
        grant.written -= 1
        grant.written_tokens -= step.generated_tokens
        self._held.add(grant, 1)

    def change(self, budget: Budget) -> None:
        """Set other limits; usage and reservations stay.

        Raises:
            BudgetError: if a limit cannot be checked.
        """
        self._check_limits(budget)
        self.budget = budget

    def _check_limits(self, budget: Budget) -> None:
        if budget.flops is not None and not self.price.policy_flops:
            raise BudgetError("FLOPs are limited but the model's size is unknown; limit tokens instead")
        if budget.joules is not None and (self._machine is None or self._machine.source is None):
            raise BudgetError("energy is limited and nothing measures it here; give watts to estimate it")
        if budget.cost is not None and self._charge is None:
            raise BudgetError("the cost is limited and there are no prices; give a file of prices")

    def note_finished(self) -> None:
        """Record that a path has finished, so that nothing needs to be withheld any more."""
        self._finished = True

    # State of the limits

    def used(self, name: str, usage: Usage | None = None) -> float:
        """Return the amount of the limit `name` in `usage`, None for the present one, in the limit's unit."""
        usage = usage or self.usage()
        roles, fresh = (usage.policy, usage.reward), not self._count_reused
        match name:
            case "generated_tokens":
                return usage.policy.generated_tokens - (self._stored_generated if fresh else 0)
            case "total_tokens":
                return sum(each.fresh_tokens for each in roles) if fresh else usage.total_tokens
            case "flops":
                return sum(each.fresh_flops for each in roles) if fresh else usage.flops
            case "seconds":
                return usage.seconds
            case "joules":
                # A limit that cannot be checked any more counts as reached.
                lost = usage.energy_j is None and self._account is not None
                return (self.budget.joules if lost else usage.energy_j) or 0.0
            case "cost":
                return usage.cost or 0.0
            case _:
                return self.nodes

    def progress(self, usage: Usage | None = None) -> float:
        """Return the largest share that `usage`, None for that of now, has of any limit.

        From 0 to 1; 0 without limits.
        """
        usage = usage or self.usage()
        shares = (self.used(name, usage) / limit for name in UNITS if (limit := getattr(self.budget, name)))
        return min(1.0, max(shares, default=0.0))

    def exhausted(self) -> StopReason | None:
        """Return the limit that allows no further ordinary step, steps in flight aside; None if there is none.

        While no path has finished, the withheld part counts as gone. Reservations in flight count as free, since they
        may turn out unused.
        """
        for name in UNITS:
            if getattr(self.budget, name) is not None and not self._affords_one(name):
                return StopReason(f"budget_{name}")
        return None

    def time_left(self) -> float | None:
        """Return the seconds until the limits that pass by themselves have to be looked at again, None without one.

        0.0 if no time, energy or money is left for ordinary work.
        """
        passing = self._passing()
        if any(self._available(name, in_flight=False) <= 0 for name in passing):
            return 0.0
        waits = [self.seconds_left(), LOOK_S if passing else None]
        if self.alone and self.budget.seconds is not None:
            # Once paths grow side by side, time is withheld that is not yet.
            ahead_s = self.budget.seconds * (1 - FINISH_SHARE) - self.seconds
            waits.append(ahead_s if ahead_s > 0 else LOOK_S)
        return min((each for each in waits if each is not None), default=None)

    def reached(self) -> StopReason:
        """Return the limit that let `time_left` be 0.0."""
        found = (name for name in self._passing() if self._available(name, in_flight=False) <= 0)
        return StopReason(f"budget_{next(found, 'seconds')}")

    def time_to_cut(self) -> float | None:
        """Return the seconds until the whole of these limits has to be looked at again, None without one.

        0.0 if one is used up, so that even the step that finishes a path is cut.
        """
        passing, limit = self._passing(), self.budget.seconds
        if any(self.used(name) >= getattr(self.budget, name) for name in passing):
            return 0.0
        waits = [None if limit is None else max(0.0, limit - self.seconds), LOOK_S if passing else None]
        return min((each for each in waits if each is not None), default=None)

    def _passing(self) -> list[str]:
        """Return the limits of energy, and of money that time or energy costs."""
        found = [] if self.budget.joules is None else ["joules"]
        if self.budget.cost is not None and self._charge is not None and self._charge.prices.passes:
            found.append("cost")
        return found

    def seconds_left(self) -> float | None:
        """Return the seconds until ordinary work must stop, 0.0 if it must now, None without a limit of time.

        While no path has finished it must stop earlier, to leave time for finishing one. LEAST_SECONDS or less are 0.0.
        """
        limit = self.budget.seconds
        if limit is None:
            return None
        left_s = limit - self.withheld("seconds") - self.seconds
        return left_s if left_s > LEAST_SECONDS else 0.0

    def withheld(self, name: str) -> float:
        """Return how much of a limit is kept for finishing a path, in its own unit.

        Of tokens and FLOPs an eighth of what the prompts leave, or the price of a step of 64 tokens, with the input of
        the longest step so far, where that is more but at most half; of time and energy an eighth; of nodes one. 0
        without the limit, once a path has finished, and when the run is finishing.
        """
        limit = getattr(self.budget, name)
        if limit is None or self._finished or self._finishing:
            return 0.0
        if name == "nodes":
            return 1.0
        if name in ("seconds", "joules"):
            return 0.0 if self.alone else limit * FINISH_SHARE
        free = max(0.0, limit - self._price_of_prompts(name, self._prompts))
        per_token, per_node = self.price.step(name)
        step = FINISH_TOKENS * per_token + per_node + self._step_input * self.price.rates(name).input
        return max(free * FINISH_SHARE, min(step, free / 2))

    # Arithmetic

    def _available(self, name: str, *, in_flight: bool) -> float:
        """Return the rest of a limit for ordinary work; `in_flight` takes off the reservations of steps in flight."""
        left = getattr(self.budget, name) - self.used(name) - self.withheld(name)
        if name == "nodes":
            return left - (self._held.nodes if in_flight else 0)
        left -= self._price_of_prompts(name, self._unread_prompts)
        return left - (self._price_in_flight(name) if in_flight else 0.0)

    def _price_of_prompts(self, name: str, prompts: tuple[int, int]) -> float:
        rates = self.price.rates(name)
        return prompts[0] * rates.input + prompts[1] * rates.read

    def _price_in_flight(self, name: str) -> float:
        held, price, rates = self._held, self.price, self.price.rates(name)
        read = held.scored_tokens * price.reward_tokens_per_generated + held.scored_nodes * price.reward_tokens_per_node
        return held.tokens * rates.generated + held.input_tokens * rates.input + read * rates.read

    def _affords_one(self, name: str) -> bool:
        if name == "seconds":
            return self.seconds_left() != 0.0
        if name == "nodes":
            return self._available(name, in_flight=False) >= 1
        per_token, per_node = self.price.step(name)
        if not per_token:
            return self._available(name, in_flight=False) > 0
        return self._available(name, in_flight=False) >= self._min_step_tokens * per_token + per_node

    def _grant(self, children: int, max_step_tokens: int, expected_tokens: int, input_tokens: Sequence[int]) -> Grant:
        if children < 0 or max_step_tokens < 1:
            raise BudgetError(f"cannot reserve {children} steps of {max_step_tokens} tokens; ask for 1 or more")
        inputs = list(accumulate(input_tokens, initial=0)) if input_tokens else [0] * (children + 1)
        self._step_input = max(self._step_input, *input_tokens, 0)
        children, tokens, limit, refused_by = self._fit(children, max_step_tokens, expected_tokens, inputs)
        read = tuple(input_tokens[:children])
        grant = Grant(children, tokens, max_step_tokens, limit, read, inputs[children], refused_by)
        self._held.add(grant, 1)
        return grant

    def _fit(
        self, children: int, max_step_tokens: int, expected_tokens: int, inputs: Sequence[int]
    ) -> tuple[int, int, StopReason | None, StopReason | None]:
        """Return the most children, up to those wanted, the most tokens for them, and what bounds each of these.

        The limits are None where they bound nothing, that of the tokens first. `inputs[n]` are the tokens that the
        policy is expected to read for the first n children.
        """
        limit: StopReason | None = None
        refused_by: StopReason | None = None
        limits = [name for name in _TOKEN_LIKE if getattr(self.budget, name) is not None and self.price.step(name)[0]]
        unpriced = [name for name in ("seconds", "joules", "cost") if getattr(self.budget, name) and name not in limits]
        spent = next((name for name in unpriced if not self._affords_one(name)), None)
        if spent is not None:
            return 0, 0, None, StopReason(f"budget_{spent}")
        if self.budget.nodes is not None:
            allowed = min(children, max(0, floor(self._available("nodes", in_flight=True))))
            children, refused_by = allowed, StopReason.BUDGET_NODES if allowed < children else None
        room = {name: self._available(name, in_flight=True) for name in limits}
        expected_tokens = max(expected_tokens, self._min_step_tokens)
        for name in limits:
            least = self._most(name, room[name], children, self._min_step_tokens, inputs)
            enough = self._most(name, room[name], children, expected_tokens, inputs)
            allowed = min(least, max(1, enough))
            children, refused_by = allowed, StopReason(f"budget_{name}") if allowed < children else refused_by
        tokens = children * max_step_tokens
        for name in limits:
            per_token, per_node = self.price.step(name)
            fixed = children * per_node + inputs[children] * self.price.rates(name).input
            affordable = max(0, floor((room[name] - fixed) / per_token))
            if affordable < tokens:
                tokens, limit = affordable, StopReason(f"budget_{name}")
        return (children, tokens, limit, refused_by) if tokens else (0, 0, None, refused_by or limit)

    def _most(self, name: str, room: float, children: int, tokens: int, inputs: Sequence[int]) -> int:
        """Return how many of the children have room for so many tokens each."""
        per_token, per_node = self.price.step(name)
        most = min(children, max(0, floor(room / (tokens * per_token + per_node))))
        per_input = self.price.rates(name).input
        while inputs[most] and most * (tokens * per_token + per_node) + inputs[most] * per_input > room:
            most -= 1
        return most
