"""Usage of a run by role: tokens, floating point operations, seconds, energy and money."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

_LEFT_OUT = (
    "calculated_tokens",
    "reused_tokens",
    "probe_tokens",
    "drafted_tokens",
    "rejected_tokens",
    "stored_tokens",
    "prefilled_tokens",
)
"""Counts that are left out of JSON where they are 0."""
_LEFT_OUT_IF_UNKNOWN = ("energy_j", "energy_source", "cost", "currency")
"""Facts of a usage that are left out of JSON where they are None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleUsage:
    """Tokens and FLOPs of one model in one role (policy or reward).

    `prompt_tokens` were evaluated as input, each counted when it was evaluated for the first time (for a reward
    model every token that it reads is one). `cached_tokens` were needed as context and taken from the KV cache
    instead of being evaluated. `generated_tokens` were sampled. `reevaluated_tokens` had been evaluated before and
    were evaluated again: the cache had to drop them because memory was short, or a server keeps nothing between steps.
    `shared_tokens` are those of the generated ones that were not evaluated by themselves, since another path had drawn
    the same tokens so far. `calculated_tokens` are those of the generated ones that the calculator put in instead of
    their being sampled, and `probe_tokens` those that probes of thoughts wrote. `drafted_tokens` are those
    of the generated ones that were evaluated as part of a draft, together with a token before them, and
    `rejected_tokens` are tokens of drafts that were evaluated and not drawn. `flops` is 2 x parameters x (prompt +
    generated + reevaluated + rejected tokens), the forward-pass estimate of Kaplan et al. (arXiv 2001.08361, section
    2.1), as if no token were shared; 0.0 if the number of parameters is unknown.

    `reused_tokens` were taken over from other runs: those of the cached ones that are part of the prompt, which another
    run with the same beginning had evaluated, and `stored_tokens`. These are counted like all others in `prompt_tokens`
    and `generated_tokens`, and in `flops`, but were taken from a store of earlier runs instead of being evaluated
    (docs/howto/store.md). `prefilled_tokens` were evaluated on top of all others because of that: paths from the store,
    read before a step that was not there, and steps that had to be written once more.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    reevaluated_tokens: int = 0
    flops: float = 0.0
    shared_tokens: int = 0
    calculated_tokens: int = 0
    reused_tokens: int = 0
    probe_tokens: int = 0
    drafted_tokens: int = 0
    rejected_tokens: int = 0
    stored_tokens: int = 0
    prefilled_tokens: int = 0

    def __add__(self, other: RoleUsage) -> RoleUsage:
        return RoleUsage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            generated_tokens=self.generated_tokens + other.generated_tokens,
            reevaluated_tokens=self.reevaluated_tokens + other.reevaluated_tokens,
            flops=self.flops + other.flops,
            shared_tokens=self.shared_tokens + other.shared_tokens,
            calculated_tokens=self.calculated_tokens + other.calculated_tokens,
            reused_tokens=self.reused_tokens + other.reused_tokens,
            probe_tokens=self.probe_tokens + other.probe_tokens,
            drafted_tokens=self.drafted_tokens + other.drafted_tokens,
            rejected_tokens=self.rejected_tokens + other.rejected_tokens,
            stored_tokens=self.stored_tokens + other.stored_tokens,
            prefilled_tokens=self.prefilled_tokens + other.prefilled_tokens,
        )

    @property
    def evaluated_tokens(self) -> int:
        """Tokens that cost a forward pass, if each path pays for all of its own."""
        return self.prompt_tokens + self.generated_tokens + self.reevaluated_tokens + self.rejected_tokens

    @property
    def fresh_tokens(self) -> int:
        """Tokens of this role that were evaluated in this very run, none of them taken from a store."""
        return self.evaluated_tokens - self.stored_tokens + self.prefilled_tokens

    @property
    def fresh_flops(self) -> float:
        """FLOPs of `fresh_tokens`."""
        return self.flops * self.fresh_tokens / self.evaluated_tokens if self.evaluated_tokens else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Usage of one run, or of several added up. The limits of a run are checked against it (see Budget).

    `seconds` is wall-clock time from the first request to the answer. `time_to_first_token_s` is None until a token
    exists. `energy_j` is the energy in joules, None if it is not known, and `energy_source` names its counter:
    "nvml" or "rapl", both joined with "+", or "estimate" for a power that the user gave. `cost` is in `currency`, by
    the prices that the user gave; None without prices.

    Adding two usages adds tokens, FLOPs and seconds, and keeps the earlier first-token time of the left one. The energy
    of the sum is known if that of both is, and so is the cost if both are in one currency; an empty usage does not
    count.
    """

    policy: RoleUsage = field(default_factory=RoleUsage)
    reward: RoleUsage = field(default_factory=RoleUsage)
    seconds: float = 0.0
    time_to_first_token_s: float | None = None
    energy_j: float | None = None
    energy_source: str | None = None
    cost: float | None = None
    currency: str | None = None

    def __add__(self, other: Usage) -> Usage:
        first = self.time_to_first_token_s
        known = [each for each in (self, other) if not each.is_empty] or [self]
        energy, costs = [each.energy_j for each in known], [each.cost for each in known]
        sources = dict.fromkeys(name for each in known if each.energy_source for name in each.energy_source.split("+"))
        one_currency = len({each.currency for each in known}) == 1
        return Usage(
            policy=self.policy + other.policy,
            reward=self.reward + other.reward,
            seconds=self.seconds + other.seconds,
            time_to_first_token_s=other.time_to_first_token_s if first is None else first,
            energy_j=_sum(energy),
            energy_source=None if None in energy else "+".join(sources) or None,
            cost=_sum(costs) if one_currency else None,
            currency=known[0].currency if one_currency and None not in costs else None,
        )

    @property
    def is_empty(self) -> bool:
        """True if nothing has been used."""
        return not self.seconds and not self.total_tokens and not self.energy_j and not self.cost

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens per second of wall-clock time; 0.0 before any time has passed."""
        return self.policy.generated_tokens / self.seconds if self.seconds > 0 else 0.0

    @property
    def total_tokens(self) -> int:
        """Evaluated tokens of both roles together."""
        return self.policy.evaluated_tokens + self.reward.evaluated_tokens

    @property
    def flops(self) -> float:
        """FLOPs of both roles together."""
        return self.policy.flops + self.reward.flops

    def metered_text(self) -> str:
        """Return energy and cost in words, "" if neither is known."""
        parts = list[str]()
        if self.energy_j is not None:
            parts.append(f"{self.energy_j:.3g} J ({self.energy_source})")
        if self.cost is not None:
            parts.append(f"{self.cost:.3g} {self.currency}")
        return ", ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; `tokens_per_s`, `total_tokens` and `flops` are included as derived figures.

        Counts of tokens that not every run has, such as `calculated_tokens`, are left out where they are 0, and energy
        and cost where they are not known.
        """
        derived = {"tokens_per_s": self.tokens_per_s, "total_tokens": self.total_tokens, "flops": self.flops}
        data = asdict(self)
        for role in (data["policy"], data["reward"]):
            for name in _LEFT_OUT:
                if not role[name]:
                    del role[name]
        for name in _LEFT_OUT_IF_UNKNOWN:
            if data[name] is None:
                del data[name]
        return {**data, **derived}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Usage:
        """Rebuild a usage from `to_dict()`; derived figures are computed again."""
        return cls(
            policy=RoleUsage(**data["policy"]),
            reward=RoleUsage(**data["reward"]),
            seconds=data["seconds"],
            time_to_first_token_s=data["time_to_first_token_s"],
            **{name: data.get(name) for name in _LEFT_OUT_IF_UNKNOWN},
        )


def _sum(values: Sequence[float | None]) -> float | None:
    """Return the sum, None if a value is not known."""
    known = [each for each in values if each is not None]
    return sum(known) if len(known) == len(values) else None
