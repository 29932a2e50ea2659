"""Configuration of a batch: the search of each problem, and the order and number of problems."""

from __future__ import annotations

import warnings
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Literal

from ramify.config import DEFAULT_BUDGET, EngineConfig, RunConfig
from ramify.engine.ensembles.fallback import Fallback
from ramify.errors import UsageError
from ramify.search.strategy import Strategy


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """Settings of a batch.

    `model`, `reward` and `engine` are those of `Engine`; `strategy` and `run` those of a run. `strategy` None means
    REBASE with 16 paths if there is a reward model, else majority vote; "auto" takes the best one of the models'
    profile. These fields make the configuration of the run folder.

    `fallback` is a second model for problems on which the first is not sure, None for none. `allocation` "adaptive"
    spends `budget_generated_tokens` where it is likeliest to change an answer, instead of the same on every problem;
    both belong to the configuration then, and the strategy has to be majority or weighted, with its width as the most
    samples of one problem.

    The other fields may change from one call to the next. `parallel` problems are searched at a time; None means 4, and
    with a slow model under a limit of time as many as can each end a path by the measured speed. Each problem is
    searched `repeat` times, with the seeds `run.seed`, `run.seed + 1`, and so on. `ids` empty means all problems;
    `shuffle` takes them in an order fixed by `shuffle_seed`; `limit` takes only the first so many, None all.
    `budget_generated_tokens` limits the tokens that the policy generates in the whole run, all calls together, None for
    no limit: no item is started that would probably exceed it, and those in flight are finished. `max_failures` stops
    this call once so many items have failed, None never. `retry` does items of earlier calls again: those that have
    failed, those that a limit has cut with no answer, or all of both; None none of them. `retry_failed` is the same as
    `retry` "failed". `save_trees` keeps each search tree. `executor` "ray" spreads the problems over a Ray cluster with
    `actors` engines, None for one on each GPU or node; `parallel` counts for each of them. `command` are the arguments
    of the command line that asks for the run, which the manifest notes so that it can be given again; () for none.
    `budget_total_tokens` is the deprecated name of `budget_generated_tokens`.

    Raises:
        UsageError: if a number is below 1, or settings exclude each other.
    """

    model: str | Path = "demo-m"
    reward: str | Path | None = "default"
    engine: EngineConfig = field(default_factory=EngineConfig)
    strategy: Strategy | str | None = None
    fallback: Fallback | None = None
    allocation: Literal["even", "adaptive"] = "even"
    run: RunConfig = field(default_factory=RunConfig)

    parallel: int | None = None
    repeat: int = 1
    limit: int | None = None
    ids: tuple[str, ...] = ()
    shuffle: bool = False
    shuffle_seed: int = 0
    budget_generated_tokens: int | None = None
    max_failures: int | None = None
    retry_failed: bool = False
    retry: Literal["failed", "cut", "all"] | None = None
    save_trees: bool = False
    executor: Literal["local", "ray"] = "local"
    actors: int | None = None
    command: tuple[str, ...] = ()
    budget_total_tokens: InitVar[int | None] = None

    @property
    def strategy_name(self) -> str | None:
        """Name of the strategy, None if it is left to the default."""
        return self.strategy if self.strategy is None or isinstance(self.strategy, str) else self.strategy.name

    @property
    def retried(self) -> frozenset[str]:
        """Status of the items that are done again; see `ramify.batch.store.rows`."""
        named = {"failed": {"failed"}, "cut": {"cut"}, "all": {"failed", "cut"}}
        return frozenset(named.get(self.retry or "", ())) | ({"failed"} if self.retry_failed else set[str]())

    def __post_init__(self, budget_total_tokens: int | None) -> None:
        if budget_total_tokens is not None:
            warnings.warn("budget_total_tokens is now called budget_generated_tokens", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "budget_generated_tokens", budget_total_tokens)
        for name in ("parallel", "repeat", "limit", "budget_generated_tokens", "max_failures", "actors"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} is {value}", "use 1 or more")
        if self.retry not in (None, "failed", "cut", "all"):
            raise UsageError(f"retry is {self.retry!r}", "use failed, cut or all")
        if self.actors is not None and self.executor != "ray":
            raise UsageError("actors are engines of a Ray cluster", "add the executor ray, or leave them out")
        if self.allocation == "adaptive":
            self._check_adaptive()

    def _check_adaptive(self) -> None:
        if self.budget_generated_tokens is None:
            raise UsageError("the adaptive allocation needs a total to spend", "give a budget for the whole run")
        if self.run.risk is not None:
            raise UsageError("a risk is calibrated for searches of one width", "leave out the risk or the allocation")
        if self.fallback is not None:
            raise UsageError("the adaptive allocation has no place for a fallback", "leave out one of the two")
        if self.run.budget != DEFAULT_BUDGET:
            raise UsageError(
                "the adaptive allocation decides itself what each problem may cost", "leave the other limits out"
            )
