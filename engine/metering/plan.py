"""Metering of an engine's runs: the meter of the machine, the prices, and the check of limits that need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ramify.config import EngineConfig
from ramify.errors import UsageError
from ramify.search.budget import Budget

from .machine import MachineMeter, machine_meter, time_meter

if TYPE_CHECKING:
    # Prices need pydantic, whose import takes long.
    from ramify.prices import Charge, Prices

Place = Literal["processor", "gpu", "server"]
"""Place of a model: the processor, GPUs of this machine, or a server."""


@dataclass(frozen=True, slots=True)
class Metering:
    """Meter and prices of the runs of one engine; `prices` None for none."""

    machine: MachineMeter
    prices: Prices | None

    @classmethod
    def of(cls, config: EngineConfig, place: Place, prices: Prices | None) -> Metering:
        """Return the metering of models at `place`; on a server only an estimate of energy is known."""
        if place == "server" and config.watts is None:
            machine = time_meter()
        else:
            machine = machine_meter(config.watts, gpu=place == "gpu")
        return cls(machine, prices)

    def charge(self, policy: str, reward: str | None) -> Charge | None:
        """Return the prices of a run of these models, None without prices."""
        if self.prices is None:
            return None
        from ramify.prices import Charge

        return Charge.of(self.prices, policy, reward)

    def check(self, budget: Budget, policy: str) -> None:
        """Check that the limits of energy and cost can be held for a policy of this name.

        Raises:
            UsageError: if the energy cannot be measured, or there are no prices for the limited cost.
        """
        source = self.machine.source
        if budget.joules is not None and source is None:
            raise UsageError(
                "energy is limited and cannot be measured here", "give the machine's power with --watts to estimate it"
            )
        if self.prices is None:
            if budget.cost is not None:
                raise UsageError("the cost is limited and there are no prices", "give a file of prices with --prices")
            return
        if self.prices.kwh and source is None:
            raise UsageError(
                "energy has a price and cannot be measured here", "give the machine's power with --watts to estimate it"
            )
        if budget.cost is not None and not self.prices.passes and self.prices.named(policy) is None:
            raise UsageError(
                f"the cost is limited and the file of prices has none for {policy}",
                f'write [models."{policy}"] into it',
            )


def prices_of(config: EngineConfig) -> Prices | None:
    """Return the prices that a configuration names, None if it names none.

    Raises:
        UsageError: if the file cannot be read, or holds no prices.
    """
    if config.prices is None:
        return None
    from ramify.prices import read_prices

    return read_prices(config.prices)


def check_before_loading(config: EngineConfig, budget: Budget, policy: str, *, remote: bool) -> None:
    """Check limits of energy and cost as far as that goes without models; `remote` if a model runs elsewhere.

    Raises:
        UsageError: as `Metering.check`.
    """
    if config.prices is None and budget.joules is None and budget.cost is None:
        return
    places: tuple[Place, ...] = (
        ("server",) if remote else ("processor",) if config.gpu_layers == 0 else ("processor", "gpu")
    )
    prices = prices_of(config)
    found = [Metering.of(config, place, prices) for place in places]
    next((each for each in found if each.machine.source is not None), found[0]).check(budget, policy)
