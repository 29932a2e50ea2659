"""Where a batch stands: counts and costs so far, and whether the next item may start."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ramify.statistics import wilson
from ramify.usage import Usage

from .store.rows import FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """A batch at one moment.

    `items` were asked for, `done` of them are done (`failed` ones included), `in_flight` are being searched. `correct`
    of `graded` are right, with the 95 % Wilson interval `low` to `high`. `generated_tokens` are those of the whole run
    and `budget_fraction` their share of its limit, None without one. `elapsed_s` and `tokens_per_s` belong to this
    call; `eta_s` is None until an item was done in it.
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


class Tally:
    """Counts what is done and what it cost; belongs to one call of `run_batch`."""

    def __init__(self, *, budget_total_tokens: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = budget_total_tokens
        self._clock = clock
        self._started_s = clock()
        self._items = 0
        self._done = self._failed = self._graded = self._correct = 0
        self._done_here = self._failed_here = self._here_tokens = 0
        self._total_tokens = self._item_tokens = 0
        self._flying: dict[str, Usage] = {}

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
        return len(self._flying)

    def expect(self, items: int) -> None:
        """Take the number of items that were asked for."""
        self._items = items

    def found(self, row: Mapping[str, Any], *, wanted: bool) -> None:
        """Count a row of an earlier call; only `wanted` ones count as done."""
        self._count(row, wanted=wanted)

    def wasted(self, usage: Mapping[str, Any]) -> None:
        """Count the cost of an attempt of an earlier call that came to nothing."""
        self._total_tokens += _generated(usage)

    def started(self, key: str, before: Usage | None = None) -> None:
        """Count an item as in flight; `before` is what it had cost in earlier calls, None for nothing."""
        self._flying[key] = before or Usage()
        if before is not None:
            self._here_tokens -= before.policy.generated_tokens

    def flying(self, key: str, usage: Usage) -> None:
        """Take what an item in flight has cost so far."""
        self._flying[key] = usage

    def cost(self, key: str) -> Usage:
        """Return what an item in flight is known to have cost."""
        return self._flying[key]

    def finished(self, row: Mapping[str, Any]) -> None:
        """Count a row of this call; its item is in flight no more."""
        del self._flying[row["key"]]
        self._count(row, wanted=True)
        self._done_here += 1
        self._failed_here += row["status"] == FAILED
        self._here_tokens += _generated(row["usage"])

    def abandoned(self, key: str) -> None:
        """Count the cost of an attempt of this call that came to nothing; its item is in flight no more."""
        tokens = self._flying.pop(key).policy.generated_tokens
        self._total_tokens += tokens
        self._here_tokens += tokens

    @property
    def exhausted(self) -> bool:
        """True once the limit of generated tokens is used up."""
        return self._limit is not None and self._total_tokens >= self._limit

    def affords_another(self) -> bool:
        """Tell whether one more item would probably stay within the limit of generated tokens.

        Items in flight are expected to cost what the done ones did on average. With nothing in flight one more is
        started as long as anything is left.
        """
        if self._limit is None:
            return True
        mean = self._item_tokens / self._done if self._done else 0.0
        flying = sum(max(mean, usage.policy.generated_tokens) for usage in self._flying.values())
        return self._total_tokens + flying < self._limit

    def progress(self) -> BatchProgress:
        """Return where the batch stands."""
        flying = sum(usage.policy.generated_tokens for usage in self._flying.values())
        elapsed_s = self.elapsed_s
        low, high = wilson(self._correct, self._graded)
        total = self._total_tokens + flying
        left = self._items - self._done
        return BatchProgress(
            items=self._items,
            done=self._done,
            failed=self._failed,
            in_flight=len(self._flying),
            graded=self._graded,
            correct=self._correct,
            low=low,
            high=high,
            generated_tokens=total,
            budget_fraction=None if self._limit is None else total / self._limit,
            elapsed_s=elapsed_s,
            tokens_per_s=(self._here_tokens + flying) / elapsed_s if elapsed_s > 0 else 0.0,
            eta_s=left * elapsed_s / self._done_here if self._done_here else None,
        )

    def _count(self, row: Mapping[str, Any], *, wanted: bool) -> None:
        tokens = _generated(row["usage"])
        self._total_tokens += tokens
        if not wanted:
            return
        self._item_tokens += tokens
        self._done += 1
        self._failed += row["status"] == FAILED
        self._graded += row["correct"] is not None
        self._correct += row["correct"] is True


def _generated(usage: Mapping[str, Any]) -> int:
    return int(usage["policy"]["generated_tokens"])
