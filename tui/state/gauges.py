"""What a run has used of what, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

from ramify.text import duration_text

from .run_view import RunView


@dataclass(frozen=True, slots=True)
class Gauge:
    """An amount that was used. `limit` None means that there is none; `kind` is tokens, flops, seconds, or nodes."""

    label: str
    used: float
    limit: float | None
    kind: str

    @property
    def share(self) -> float:
        """The share used, from 0 to 1; 0 without a limit."""
        return min(1.0, self.used / self.limit) if self.limit else 0.0

    @property
    def text(self) -> str:
        """The amount and its limit in words."""
        used = short(self.used, self.kind)
        return used if self.limit is None else f"{used} of {short(self.limit, self.kind)}"


def budget_gauges(view: RunView, seconds: float) -> list[Gauge]:
    """Return one gauge for each cost, those with a limit first; `seconds` is the time that the run has taken."""
    usage, budget = view.usage, view.budget
    read = 0 if usage is None else usage.policy.prompt_tokens + usage.policy.reevaluated_tokens
    scored = 0 if usage is None else usage.reward.evaluated_tokens
    flops = 0.0 if usage is None else usage.flops
    generated = view.generated_tokens
    if usage is not None and view.phase.over:
        generated = usage.policy.generated_tokens
    limits = {name: None if budget is None else getattr(budget, name) for name in _LIMITS}
    found = [
        Gauge("generated", generated, limits["generated_tokens"], "tokens"),
        Gauge("time", seconds, limits["seconds"], "seconds"),
        Gauge("reward", scored, None, "tokens"),
        Gauge("compute", flops, limits["flops"], "flops"),
    ]
    if limits["total_tokens"] is not None:
        found.append(Gauge("all tokens", generated + read + scored, limits["total_tokens"], "tokens"))
    if limits["nodes"] is not None:
        found.append(Gauge("steps", len(view), limits["nodes"], "nodes"))
    return sorted(found, key=lambda gauge: gauge.limit is None)


def forecast(view: RunView, seconds: float) -> str:
    """Return how long the budget lasts at this pace, "" if that cannot be told yet."""
    if view.phase.over or view.fraction is None or view.fraction < 0.02 or seconds < 0.5:
        return ""
    if view.fraction >= 1.0:
        return "the budget is used up"
    return f"budget lasts about {duration_text(seconds / view.fraction - seconds)} more"


def short(value: float, kind: str) -> str:
    """Return an amount for people in few characters."""
    if kind == "seconds":
        return duration_text(value)
    if kind == "flops":
        return _scaled(value, ("", "k", "M", "G", "T", "P")) + "FLOP"
    return f"{round(value):,}" if value < 100_000 else _scaled(value, ("", "k", "M", "G"))


def _scaled(value: float, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}".rstrip() + ("" if unit else " ")
        value /= 1000
    return f"{value:.3g} {units[-1]}"


_LIMITS = ("generated_tokens", "total_tokens", "flops", "seconds", "nodes")
