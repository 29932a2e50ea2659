"""Progress of a batch: its counts and costs so far, whether the next item may start, and the caller's soft stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ramify.statistics import wilson
from ramify.usage import Usage

from .store.rows import CUT, FAILED, status_of


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """State of a batch at one moment.

    `items` were asked for, `done` of them are done (`failed` ones included, and `cut` ones, which a limit has ended
    with no answer), `in_flight` are being searched. `correct` of `graded` are right, cut ones counting as not right,
    with the 95 % Wilson interval `low` to `high`. `generated_tokens` counts the whole run and `budget_fraction` is its
    share of the limit, None without one. `elapsed_s` and `tokens_per_s` belong to this call; `eta_s` is None until an
    item was done in it.
    """

    items: int
    done: int
    failed: int
    in_flight: int
    graded: int
    correct: int
    low: float
    high: float
    generated_tokens: int
    budget_fraction: float | None
    elapsed_s: float
    tokens_per_s: float
    eta_s: float | None
    cut: int = 0


class BatchControl:
    """Soft stop of a batch: after `drain()` the items in flight finish and no more are started.

    To end at once, cancel the scope that `run_batch` runs in; the items in flight are then done again next time.
    """

    def __init__(self) -> None:
        self._draining = False

    @property
    def draining(self) -> bool:
        """True once `drain` was called."""
        return self._draining

    def drain(self) -> None:
        """Start no more items. Call it in the event loop's thread."""
        self._draining = True


class ProgressCounter:
    """Counts the items and their costs in one call of `run_batch`; `generated_tokens` limits the whole run.

    `generated_tokens` None means no limit.
    """

    def __init__(self, *, generated_tokens: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = generated_tokens
        self._clock = clock
        self._started_s = clock()
        self._items = 0
        self._done = self._failed = self._cut = self._graded = self._correct = 0
        self._done_here = self._failed_here = self._here_tokens = 0
        self._run_tokens = self._item_tokens = 0
        self._in_flight: dict[str, Usage] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since this call began."""
        return self._clock() - self._started_s

    @property
    def failed_here(self) -> int:
        """Items that failed in this call."""
        return self._failed_here

    @property
    def in_flight(self) -> int:
        """Items that are being searched."""
        return len(self._in_flight)

    def expect(self, items: int) -> None:
        """Set the number of items that were asked for."""
        self._items = items

    def found(self, row: Mapping[str, Any], *, wanted: bool) -> None:
        """Count a row of an earlier call; only `wanted` ones count as done."""
        self._count(row, wanted=wanted)

    def add_failed_attempt(self, usage: Mapping[str, Any]) -> None:
        """Count the cost of an attempt that is made again and that no item in flight stands for."""
        self._run_tokens += _generated(usage)

    def started(self, key: str, before: Usage | None = None) -> None:
        """Count an item as in flight; `before` is its cost in earlier calls, None if it had none."""
        self._in_flight[key] = before or Usage()
        if before is not None:
            self._here_tokens -= before.policy.generated_tokens

    def update(self, key: str, usage: Usage) -> None:
        """Set the cost so far of an item in flight."""
        self._in_flight[key] = usage

    def cost(self, key: str) -> Usage:
        """Return the known cost of an item in flight."""
        return self._in_flight[key]

    def finished(self, row: Mapping[str, Any]) -> None:
        """Count a row of this call; its item is in flight no more."""
        del self._in_flight[row["key"]]
        self._count(row, wanted=True)
        self._done_here += 1
        self._failed_here += row["status"] == FAILED
        self._here_tokens += _generated(row["usage"])

    def abandoned(self, key: str) -> None:
        """Count the cost of a failed attempt of this call; its item is in flight no more."""
        tokens = self._in_flight.pop(key).policy.generated_tokens
        self._run_tokens += tokens
        self._here_tokens += tokens

    @property
    def exhausted(self) -> bool:
        """True once the limit of generated tokens is used up."""
        return self._limit is not None and self._run_tokens >= self._limit

    def affords_another(self) -> bool:
        """Return whether one more item would probably stay within the limit of generated tokens.

        Items in flight are expected to cost as much as the mean of the done ones. With nothing in flight one more is
        started as long as any tokens are left.
        """
        if self._limit is None:
            return True
        mean = self._item_tokens / self._done if self._done else 0.0
        in_flight = sum(max(mean, usage.policy.generated_tokens) for usage in self._in_flight.values())
        return self._run_tokens + in_flight < self._limit

    def progress(self) -> BatchProgress:
        """Return the state of the batch at this moment."""
        in_flight = sum(usage.policy.generated_tokens for usage in self._in_flight.values())
        elapsed_s = self.elapsed_s
        low, high = wilson(self._correct, self._graded)
        total = self._run_tokens + in_flight
        left = self._items - self._done
        return BatchProgress(
            items=self._items,
            done=self._done,
            failed=self._failed,
            cut=self._cut,
            in_flight=len(self._in_flight),
            graded=self._graded,
            correct=self._correct,
            low=low,
            high=high,
            generated_tokens=total,
            budget_fraction=None if self._limit is None else total / self._limit,
            elapsed_s=elapsed_s,
            tokens_per_s=(self._here_tokens + in_flight) / elapsed_s if elapsed_s > 0 else 0.0,
            eta_s=left * elapsed_s / self._done_here if self._done_here else None,
        )

    def _count(self, row: Mapping[str, Any], *, wanted: bool) -> None:
        tokens = _generated(row["usage"])
        self._run_tokens += tokens
        if not wanted:
            return
        self._item_tokens += tokens
        self._done += 1
        status = status_of(row)
        self._failed += status == FAILED
        self._cut += status == CUT
        self._graded += row["correct"] is not None
        self._correct += row["correct"] is True


def _generated(usage: Mapping[str, Any]) -> int:
    return int(usage["policy"]["generated_tokens"])
