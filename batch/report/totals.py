"""Totals of a run folder, read in one pass over its items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ramify.errors import RunFolderError
from ramify.statistics import bootstrap_ratio, wilson
from ramify.usage import Usage

from ..store.folder import read_attempts, read_items, read_manifest
from ..store.rows import CUT, FAILED, status_of

DRAWS = 10_000
"""Resamples of the bootstrap intervals of a report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """Totals of a run folder.

    `items` were asked for by the last call; `done` are in the folder, and `pending` are to do. Of the done ones, `ok`
    were searched to their end, `cut` were ended by a limit with no answer, and `failed` have an error. `answered` items
    have an answer, `graded` ones a gold answer, `graded_answered` ones both, `correct` ones the right answer.
    `accuracy` is over all graded items, cut and other unanswered ones as not right; `accuracy_answered` is over those
    that have an answer. Both are None with nothing to count; failed items are not graded. `low` and `high` are the 95 %
    interval of `accuracy`, `low_answered` and `high_answered` that of `accuracy_answered`: Wilson's, or a bootstrap
    over problems if problems were repeated. `usage` sums over the items of all calls; `other_usage` is the cost of
    attempts that were made again. `wall_seconds` sums over the calls up to the last item of each, while `usage.seconds`
    adds up items that ran at the same time. `stop_reason` says why the last call ended, None if that is not known.
    `notes` are what searches had to say about themselves, such as that there was time for one path alone, with the
    numbers of items.
    """

    items: int
    done: int
    ok: int
    failed: int
    pending: int
    answered: int
    graded: int
    correct: int
    accuracy: float | None
    low: float
    high: float
    usage: Usage
    other_usage: Usage
    wall_seconds: float
    stop_reasons: Mapping[str, int]
    errors: Mapping[str, int]
    stop_reason: str | None = None
    configuration_hash: str = ""
    notes: Mapping[str, int] = field(default_factory=dict[str, int])
    cut: int = 0
    graded_answered: int = 0
    accuracy_answered: float | None = None
    low_answered: float = 0.0
    high_answered: float = 1.0

    @property
    def tokens_per_s(self) -> float:
        """Generated tokens of the items per second of wall-clock time, 0.0 before any time has passed."""
        return self.usage.policy.generated_tokens / self.wall_seconds if self.wall_seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "schema_version": 1,
            "configuration_hash": self.configuration_hash,
            "stop_reason": self.stop_reason,
            "items": self.items,
            "done": self.done,
            "ok": self.ok,
            "cut": self.cut,
            "failed": self.failed,
            "pending": self.pending,
            "answered": self.answered,
            "graded": self.graded,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "accuracy_interval": [self.low, self.high],
            "graded_answered": self.graded_answered,
            "accuracy_answered": self.accuracy_answered,
            "accuracy_answered_interval": [self.low_answered, self.high_answered],
            "usage": self.usage.to_dict(),
            "other_usage": self.other_usage.to_dict(),
            "wall_seconds": self.wall_seconds,
            "tokens_per_s": self.tokens_per_s,
            "stop_reasons": dict(self.stop_reasons),
            "errors": dict(self.errors),
            "notes": dict(self.notes),
        }


def check_folder(path: Path) -> Path:
    """Return the folder if it is a run folder.

    Raises:
        RunFolderError: if it is none.
    """
    if read_manifest(path) is None:
        raise RunFolderError(f"{path} is no run folder", "name the --out folder of a `ramify batch run`")
    return path


def summarise(path: Path, *, planned: Iterable[str] | None = None, stop_reason: str | None = None) -> BatchReport:
    """Return the totals of a run folder; `planned` holds the keys of all items asked for, None if they are not known.

    Raises:
        RunFolderError: if the folder is damaged.
    """
    manifest = read_manifest(path) or {}
    sums = _Sums()
    for row in read_items(path):
        sums.take(row)
    for row in read_attempts(path):
        sums.take_attempt(row)
    if planned is None:
        items = max(int(manifest.get("input", {}).get("items", 0)), sums.done)
        pending = items - sums.done
    else:
        keys = frozenset(planned)
        items, pending = len(keys), len(keys - sums.keys)
    low, high = accuracy_interval(sums.by_problem)
    low_answered, high_answered = accuracy_interval(sums.answered_by_problem)
    graded_answered = sum(graded for _, graded in sums.answered_by_problem.values())
    return BatchReport(
        items=items,
        done=sums.done,
        ok=sums.done - sums.failed - sums.cut,
        cut=sums.cut,
        failed=sums.failed,
        pending=pending,
        answered=sums.answered,
        graded=sums.graded,
        correct=sums.correct,
        accuracy=sums.correct / sums.graded if sums.graded else None,
        low=low,
        high=high,
        graded_answered=graded_answered,
        accuracy_answered=sums.correct / graded_answered if graded_answered else None,
        low_answered=low_answered,
        high_answered=high_answered,
        usage=sums.usage,
        other_usage=sums.other_usage,
        wall_seconds=sum(sums.call_seconds.values()),
        stop_reasons=dict(sorted(sums.stop_reasons.items())),
        errors=dict(sums.errors.most_common()),
        notes=dict(sums.notes.most_common()),
        stop_reason=stop_reason,
        configuration_hash=str(manifest.get("configuration_hash", "")),
    )


def accuracy_interval(by_problem: Mapping[str, tuple[int, int]]) -> tuple[float, float]:
    """Return the 95 % interval of the accuracy; values are (correct, graded) for each problem.

    The accuracy is over items, so that a problem counts as often as it was graded. Several items of one problem are not
    independent, so problems are resampled then, each with all its items. Where all items are right, or
    none, every resample is equal and the interval would have no width, so each problem counts as one trial.
    """
    correct, graded = (sum(pair[place] for pair in by_problem.values()) for place in (0, 1))
    if graded > len(by_problem):
        if correct in (0, graded):
            return wilson(len(by_problem) if correct else 0, len(by_problem))
        right, counts = zip(*by_problem.values(), strict=True)
        found = bootstrap_ratio(right, counts, draws=DRAWS)
        return found.low, found.high
    return wilson(correct, graded)


def count_graded(by_problem: dict[str, tuple[int, int]], row: Mapping[str, Any]) -> None:
    """Add the row of a graded item to the numbers (correct, graded) of its problem."""
    correct, graded = by_problem.get(row["problem_key"], (0, 0))
    by_problem[row["problem_key"]] = correct + row["correct"], graded + 1


@dataclass(slots=True)
class _Sums:
    done: int = 0
    failed: int = 0
    cut: int = 0
    answered: int = 0
    graded: int = 0
    correct: int = 0
    usage: Usage = field(default_factory=Usage)
    other_usage: Usage = field(default_factory=Usage)
    keys: set[str] = field(default_factory=set[str])
    attempts: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])
    call_seconds: dict[int, float] = field(default_factory=dict[int, float])
    stop_reasons: Counter[str] = field(default_factory=Counter[str])
    errors: Counter[str] = field(default_factory=Counter[str])
    notes: Counter[str] = field(default_factory=Counter[str])
    by_problem: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    answered_by_problem: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def take(self, row: Mapping[str, Any]) -> None:
        self.done += 1
        self.keys.add(row["key"])
        self.attempts.add((row["key"], row["attempt"]))
        self.usage += Usage.from_dict(row["usage"])
        self._clock(row)
        status = status_of(row)
        if status == FAILED:
            self.failed += 1
            self.errors[row["error"]["type"]] += 1
            return
        self.cut += status == CUT
        self.stop_reasons[row["stop_reason"]] += 1
        if row.get("note"):
            self.notes[row["note"]] += 1
        self.answered += row["answer"] is not None
        if row["correct"] is not None:
            self.graded += 1
            self.correct += row["correct"]
            counts = [self.by_problem] if row["answer"] is None else [self.by_problem, self.answered_by_problem]
            for each in counts:
                count_graded(each, row)

    def take_attempt(self, row: Mapping[str, Any]) -> None:
        # An attempt with a row among the items is one whose retirement was interrupted.
        if (row["key"], row["attempt"]) not in self.attempts:
            self.other_usage += Usage.from_dict(row["usage"])
            self._clock(row)

    def _clock(self, row: Mapping[str, Any]) -> None:
        self.call_seconds[row["leg"]] = max(self.call_seconds.get(row["leg"], 0.0), row["leg_seconds"])
