"""Prices of tokens, of the machine's time and of energy, from a TOML file, and the cost of a usage by them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ramify.search.budget import TokenPrice

from .errors import MalformedText, UsageError
from .files import read_bytes
from .json_text import read_toml
from .usage import RoleUsage

ANY_MODEL = "*"
"""Name of the prices of models that the file does not name."""
_JOULES_PER_KWH = 3.6e6
_PER_MILLION = 1e-6


class TokenPrices(BaseModel):
    """Prices of a million tokens of one model: read, taken from the cache, and generated.

    `cached` None means that tokens from the cache cost as much as those that are read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    cached: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    output: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    def cost(self, usage: RoleUsage) -> float:
        """Return the cost of the tokens of a usage; tokens that were evaluated again count as read."""
        read = usage.prompt_tokens + usage.reevaluated_tokens + usage.rejected_tokens
        cached = self.input if self.cached is None else self.cached
        parts = (read * self.input, usage.cached_tokens * cached, usage.generated_tokens * self.output)
        return fsum(parts) * _PER_MILLION


class Prices(BaseModel):
    """Prices in one currency; 0 where nothing is charged.

    `machine_hour` is the price of an hour of this machine, `kwh` of a kilowatt-hour of its energy. `models` has prices
    of tokens by the name of the policy or the reward: the whole name, for a model behind a server also the part after
    `#`, or `*` for all others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str = Field(default="USD", min_length=1, max_length=16)
    machine_hour: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    kwh: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    models: dict[str, TokenPrices] = Field(default_factory=dict[str, TokenPrices])

    @model_validator(mode="after")
    def _has_a_price(self) -> Prices:
        tokens = any(each.input or each.cached or each.output for each in self.models.values())
        if not (tokens or self.machine_hour or self.kwh):
            raise ValueError("all prices are 0")
        return self

    @property
    def passes(self) -> bool:
        """True if time or energy costs money, even without tokens."""
        return self.machine_hour > 0 or self.kwh > 0

    def named(self, model: str) -> TokenPrices | None:
        """Return the prices of a model's tokens, None if the file has none."""
        names = (model, model.rpartition("#")[2], ANY_MODEL)
        return next((self.models[name] for name in names if name in self.models), None)

    def of(self, model: str | None) -> TokenPrices:
        """Return the prices of a model's tokens, those of nothing if the file has none or there is no model."""
        return (None if model is None else self.named(model)) or TokenPrices()

    def machine_cost(self, machine_s: float, joules: float | None) -> float:
        """Return the cost of seconds of the machine and of its energy; energy that is not known costs nothing."""
        return machine_s / 3600 * self.machine_hour + (joules or 0.0) / _JOULES_PER_KWH * self.kwh


@dataclass(frozen=True, slots=True)
class Charge:
    """Prices of a run: those of the machine, and those of the tokens of the policy and of the reward model."""

    prices: Prices
    policy: TokenPrices
    reward: TokenPrices

    @classmethod
    def of(cls, prices: Prices, policy: str, reward: str | None) -> Charge:
        """Return the prices of models by their names; `reward` None for no reward model."""
        return cls(prices, prices.of(policy), prices.of(reward))

    def foreseen(self, price: TokenPrice) -> TokenPrice:
        """Return a foreseen price with the money that tokens cost."""
        return replace(
            price,
            generated_cost=self.policy.output * _PER_MILLION,
            input_cost=self.policy.input * _PER_MILLION,
            read_cost=self.reward.input * _PER_MILLION,
        )


def read_prices(path: str | Path) -> Prices:
    """Read a file of prices.

    Raises:
        UsageError: if it cannot be read, or holds no prices.
    """
    advice = "see docs/howto/compute.md for the form of the file"
    try:
        text = read_bytes(Path(path).expanduser()).decode("utf-8-sig")
        return Prices.model_validate(read_toml(text))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", "check the path") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} cannot be read: it is not UTF-8 text", advice) from None
    except MalformedText as error:
        raise UsageError(f"{path} {error.message.removeprefix('it ')}", "correct the file") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{path} is no file of prices: {reason}", advice) from None
