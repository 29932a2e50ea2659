"""Keeping a run within its budget: work is reserved before it starts and settled when its result is in.

Three rules follow from that. What is spent plus what is reserved never exceeds a limit, so a run cannot overshoot by
more than the prices were too low. While nothing has finished, a part of each limit is withheld from ordinary work
(`FINISH_SHARE`, see `withheld`), so that the best unfinished path can still be brought to its answer by
`reserve_finish`; as soon as a path has finished (`note_finished`) that part is ordinary budget. Once `reserve_finish`
was asked the run is ending, and no more ordinary work is granted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor
from time import monotonic

from ramify.errors import BudgetError

from .limits import UNITS, Budget, Remaining, Spent, amount
from .prices import TokenPrice
from .reasons import StopReason

__all__ = ["Budget", "BudgetMeter", "Grant", "Remaining", "Spent", "TokenPrice"]

FINISH_SHARE = 1 / 8
"""Share of each limit that is withheld while no path has finished."""
FINISH_TOKENS = 64
"""Least number of tokens withheld, where the limit is large enough that this is at most half of it."""
_TOKEN_LIKE = ("generated_tokens", "total_tokens", "flops")


@dataclass(frozen=True, slots=True)
class Grant:
    """Permission to generate: `children` steps which together may use `tokens` tokens.

    `tokens` is one allowance that all steps draw on, so that short steps leave more to long ones.
    0 children: nothing can be afforded now.
    """

    id: int
    children: int
    tokens: int
    max_step_tokens: int


@dataclass(slots=True)
class _Open:
    """What is outstanding of a grant."""

    children: int
    tokens: int
    max_step_tokens: int

    @property
    def bound(self) -> tuple[int, int]:
        """Nodes and tokens that may still be used."""
        return self.children, min(self.tokens, self.children * self.max_step_tokens)


class BudgetMeter:
    """Meters one run; it has one owner and no lock.

    `clock` returns seconds from any origin. `spent` is what a resumed run used before. `min_step_tokens` is the
    least that a step is worth starting with: a grant has at least so many tokens for each child.
    Raises BudgetError if FLOPs are limited but the price of a token in FLOPs is unknown.
    """

    def __init__(
        self,
        budget: Budget,
        price: TokenPrice | None = None,
        *,
        clock: Callable[[], float] = monotonic,
        spent: Spent | None = None,
        min_step_tokens: int = 1,
    ) -> None:
        self.budget = budget
        self.price = price or TokenPrice()
        _check_price(budget, self.price)
        if min_step_tokens < 1:
            raise BudgetError(f"min_step_tokens is {min_step_tokens}; give 1 or more")
        before = spent or Spent()
        self._clock, self._started = clock, clock() - before.seconds
        self._min_step_tokens = min_step_tokens
        self._spent: dict[str, float] = {name: float(getattr(before, name)) for name in (*_TOKEN_LIKE, "nodes")}
        self._charged: dict[str, float] = dict.fromkeys(_TOKEN_LIKE, 0.0)
        self._reserved: dict[str, float] = dict.fromkeys(self._spent, 0.0)
        self._open: dict[int, _Open] = {}
        self._grants = 0
        self._finished = self._finishing = False

    # --- paying ------------------------------------------------------------------------------------------------

    def charge(self, *, generated_tokens: int = 0, total_tokens: int = 0, flops: float = 0.0) -> None:
        """Book what no grant covers, such as the prompts of both models when the run starts."""
        for name, value in (("generated_tokens", generated_tokens), ("total_tokens", total_tokens), ("flops", flops)):
            if value < 0:
                raise BudgetError(f"a charge of {value} {UNITS[name]} is negative; charge what was used")
            self._charged[name] += value
            self._spent[name] += value

    def reserve(self, children: int, max_step_tokens: int, *, worth_tokens: int = 1) -> Grant:
        """Reserve for up to `children` steps of up to `max_step_tokens` each, as many as the budget allows.

        `worth_tokens` is what each of them is expected to need: fewer are granted if there is less for each, so that
        some reach their ends instead of all being cut; one is granted in any case that allows a step.

        Reserve once for all steps that start together: they share the allowance, and the first of them in order
        should be the most promising if fewer are granted. The grant has 0 children if nothing can be afforded until
        others are settled; if none are in flight either, `exhausted` names the limit.
        """
        if self._finishing:
            return self._grant(0, 0, max_step_tokens)
        return self._grant(*self._fit(children, max_step_tokens, worth_tokens), max_step_tokens)

    def reserve_finish(self, max_step_tokens: int) -> Grant:
        """Reserve for one step that should end a path, from all that is left; ordinary work ends with this call."""
        self._finishing = True
        return self._grant(*self._fit(1, max_step_tokens), max_step_tokens)

    def settle(
        self,
        grant: Grant,
        *,
        generated_tokens: int,
        children: int | None = None,
        total_tokens: int | None = None,
        flops: float | None = None,
    ) -> None:
        """Book what `children` of a grant's steps really used and free what they did not need.

        None settles all that are outstanding. Settle a step after it was scored, so that the reward model's share
        stays reserved until then. `total_tokens` and `flops` are over both models; None takes the price.
        Raises BudgetError if the grant has fewer steps outstanding.
        """
        entry = self._open.get(grant.id)
        outstanding = entry.children if entry else 0
        count = outstanding if children is None else children
        if entry is None or not 0 < count <= outstanding:
            raise BudgetError(f"{count} steps of grant {grant.id} cannot be settled; {outstanding} are outstanding")
        if generated_tokens < 0:
            raise BudgetError(f"{generated_tokens} generated tokens cannot be settled; give what was used")
        self._hold(entry, -1)
        entry.children -= count
        entry.tokens = max(0, entry.tokens - generated_tokens)
        self._hold(entry, 1)
        if not entry.children:
            self._close(grant.id)
        actual = {"generated_tokens": generated_tokens, "total_tokens": total_tokens, "flops": flops}
        for name, used in actual.items():
            per_token, per_node = self._per(name)
            self._spent[name] += generated_tokens * per_token + count * per_node if used is None else used
        self._spent["nodes"] += count

    def cancel(self, grant: Grant) -> None:
        """Give back what is outstanding of a grant; its steps never started. A settled grant is left as it is."""
        entry = self._open.get(grant.id)
        if entry is not None:
            self._hold(entry, -1)
            self._close(grant.id)

    def change(self, budget: Budget) -> None:
        """Set other limits; what was spent and reserved stays.

        Raises:
            BudgetError: if FLOPs are limited but the price of a token in FLOPs is unknown.
        """
        _check_price(budget, self.price)
        self.budget = budget

    def note_finished(self) -> None:
        """Record that a path has finished, so that nothing needs to be withheld any more."""
        self._finished = True

    # --- looking -----------------------------------------------------------------------------------------------

    def exhausted(self) -> StopReason | None:
        """Return the limit that allows no further ordinary step, whatever is in flight; None if there is none.

        While nothing has finished, the withheld part counts as gone. What is in flight counts as free, since it may
        turn out unused.
        """
        for name in UNITS:
            if getattr(self.budget, name) is not None and not self._affords_one(name):
                return StopReason(f"budget_{name}")
        return None

    def deadline(self) -> float | None:
        """Return the clock's reading at which work must stop, None without a limit of time.

        While nothing has finished it comes earlier, to leave time for finishing.
        """
        return None if self.budget.seconds is None else self._started + self.budget.seconds - self.withheld("seconds")

    def withheld(self, name: str) -> float:
        """Return how much of a limit is kept for finishing a path, in its own unit.

        Of tokens and FLOPs an eighth of what the up-front charges left, or the price of 64 tokens where that is more
        but at most half; of time an eighth; of nodes one. Nothing once a path has finished or the run is finishing.
        """
        limit = getattr(self.budget, name)
        if limit is None or self._finished or self._finishing:
            return 0.0
        if name == "nodes":
            return 1.0
        if name == "seconds":
            return limit * FINISH_SHARE
        free = max(0.0, limit - self._charged[name])
        step = getattr(self.price.cost(1, FINISH_TOKENS), name)
        return max(free * FINISH_SHARE, min(step, free / 2))

    @property
    def spent(self) -> Spent:
        """What was settled and charged, and the seconds since the start."""
        return Spent(
            generated_tokens=round(self._spent["generated_tokens"]),
            total_tokens=round(self._spent["total_tokens"]),
            flops=self._spent["flops"],
            seconds=self._clock() - self._started,
            nodes=round(self._spent["nodes"]),
        )

    def remaining(self) -> Remaining:
        """Return what is left of each limit, reservations not deducted."""
        spent = self.spent
        left = {
            name: None if (limit := getattr(self.budget, name)) is None else max(0, limit - getattr(spent, name))
            for name in UNITS
        }
        return Remaining(**left)

    def progress(self) -> float:
        """Return the largest share used of any limit, from 0 to 1; 0 without limits."""
        spent = self.spent
        shares = (getattr(spent, name) / limit for name in UNITS if (limit := getattr(self.budget, name)))
        return min(1.0, max(shares, default=0.0))

    def describe(self) -> str:
        """Return what was used of what, such as `512 of 4096 generated tokens, 3.2 of 30 s`."""
        spent = self.spent
        parts = (
            f"{amount(round(getattr(spent, name), 1))} of {amount(limit)} {unit}"
            for name, unit in UNITS.items()
            if (limit := getattr(self.budget, name))
        )
        return ", ".join(parts) or "no limit"

    def forecast(self, children: int, tokens_per_child: int) -> Spent:
        """Return what such steps would cost in every unit; seconds are not forecast."""
        return self.price.cost(children, children * tokens_per_child)

    # --- arithmetic --------------------------------------------------------------------------------------------

    def _available(self, name: str, *, reserved: bool) -> float:
        held = self._reserved[name] if reserved else 0.0
        return getattr(self.budget, name) - self._spent[name] - held - self.withheld(name)

    def _per(self, name: str) -> tuple[float, float]:
        """Price of a token and of a node in a token-like unit."""
        price = self.price
        match name:
            case "generated_tokens":
                return 1.0, 0.0
            case "total_tokens":
                return price.total_per_generated, price.total_per_node
            case _:
                return price.flops_per_generated, price.flops_per_node

    def _affords_one(self, name: str) -> bool:
        if name == "seconds":
            return (self.deadline() or 0.0) > self._clock()
        if name == "nodes":
            return self._available(name, reserved=False) >= 1
        per_token, per_node = self._per(name)
        return self._available(name, reserved=False) >= self._min_step_tokens * per_token + per_node

    def _fit(self, children: int, max_step_tokens: int, worth_tokens: int = 1) -> tuple[int, int]:
        """Return the most children, up to those wanted, and the most tokens for them that every limit allows."""
        if children < 0 or max_step_tokens < 1:
            raise BudgetError(f"cannot reserve {children} steps of {max_step_tokens} tokens; ask for 1 or more")
        if self.budget.seconds is not None and not self._affords_one("seconds"):
            return 0, 0
        if self.budget.nodes is not None:
            children = min(children, max(0, floor(self._available("nodes", reserved=True))))
        limits = [name for name in _TOKEN_LIKE if getattr(self.budget, name) is not None]
        room = {name: self._available(name, reserved=True) for name in limits}
        for name in limits:
            per_token, per_node = self._per(name)
            least = max(0, floor(room[name] / (self._min_step_tokens * per_token + per_node)))
            worth = floor(room[name] / (max(worth_tokens, self._min_step_tokens) * per_token + per_node))
            children = min(children, least, max(1, worth))
        tokens = children * max_step_tokens
        for name in limits:
            per_token, per_node = self._per(name)
            tokens = min(tokens, max(0, floor((room[name] - children * per_node) / per_token)))
        return (children, tokens) if tokens else (0, 0)

    def _grant(self, children: int, tokens: int, max_step_tokens: int) -> Grant:
        grant = Grant(self._grants, children, tokens, max_step_tokens)
        self._grants += 1
        if children:
            self._open[grant.id] = entry = _Open(children, tokens, max_step_tokens)
            self._hold(entry, 1)
        return grant

    def _hold(self, entry: _Open, sign: int) -> None:
        nodes, tokens = entry.bound
        self._reserved["nodes"] += sign * nodes
        for name in _TOKEN_LIKE:
            per_token, per_node = self._per(name)
            self._reserved[name] += sign * (tokens * per_token + nodes * per_node)

    def _close(self, grant_id: int) -> None:
        del self._open[grant_id]
        if not self._open:
            # Prices may be fractions: without this, sums of differences would leave a residue.
            self._reserved = dict.fromkeys(self._reserved, 0.0)


def _check_price(budget: Budget, price: TokenPrice) -> None:
    if budget.flops is not None and not price.flops_per_generated:
        raise BudgetError("FLOPs are limited but the model's size is unknown; limit tokens instead")
