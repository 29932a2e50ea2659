"""Comparison of two runs on the same problems."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.errors import RunFolderError
from ramify.statistics import bootstrap_mean, mcnemar

from .analysis import Analysis, ItemFigures, analyse
from .totals import DRAWS


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Comparison of a second run with a first one on the graded problems that both have.

    `both`, `only_first`, `only_second` and `neither` count problems by who was right; None if problems were repeated,
    as is `p_value`, McNemar's exact two-sided one. `difference` is the accuracy of the second minus that of the
    first with its 95 % interval from a paired bootstrap over problems; `token_ratio` is the second's generated tokens
    divided by the first's.
    """

    first: str
    second: str
    problems: int
    both: int | None
    only_first: int | None
    only_second: int | None
    neither: int | None
    p_value: float | None
    difference: float
    low: float
    high: float
    token_ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


def compare_runs(first: str | Path, second: str | Path, *, seed: int = 0) -> Comparison:
    """Compare two run folders.

    Raises:
        RunFolderError: if one is no run folder, or they have no graded problem in common.
    """
    return compare_analyses(analyse(first), analyse(second), seed=seed)


def compare_analyses(first: Analysis, second: Analysis, *, seed: int = 0) -> Comparison:
    """Compare two runs that were read already; see `compare_runs`."""
    before, after = _by_problem(first.items), _by_problem(second.items)
    shared = sorted(before.keys() & after.keys())
    if not shared:
        raise RunFolderError(
            f"{first.folder} and {second.folder} have no graded problem in common", "compare runs on the same problems"
        )
    pairs = [(_accuracy(before[key]), _accuracy(after[key])) for key in shared]
    differences = [right - left for left, right in pairs]
    single = all(len(before[key]) == len(after[key]) == 1 for key in shared)

    def count(first_right: bool, second_right: bool) -> int | None:
        return sum((left > 0, right > 0) == (first_right, second_right) for left, right in pairs) if single else None

    only_first, only_second = count(True, False), count(False, True)
    tokens = [_mean_tokens(run, shared) for run in (before, after)]
    interval = bootstrap_mean(differences, draws=DRAWS, seed=seed)
    return Comparison(
        first=str(first.folder),
        second=str(second.folder),
        problems=len(shared),
        both=count(True, True),
        only_first=only_first,
        only_second=only_second,
        neither=count(False, False),
        p_value=None if only_first is None or only_second is None else mcnemar(only_first, only_second),
        difference=sum(differences) / len(differences),
        low=interval.low,
        high=interval.high,
        token_ratio=tokens[1] / tokens[0] if tokens[0] else None,
    )


def _by_problem(items: Sequence[ItemFigures]) -> dict[str, list[ItemFigures]]:
    found: dict[str, list[ItemFigures]] = defaultdict(list)
    for each in items:
        if each.correct is not None:
            found[each.problem_key].append(each)
    return found


def _accuracy(items: Sequence[ItemFigures]) -> float:
    return sum(each.correct is True for each in items) / len(items)


def _mean_tokens(run: dict[str, list[ItemFigures]], keys: Sequence[str]) -> float:
    counts = [each.generated_tokens for key in keys for each in run[key]]
    return sum(counts) / len(counts)
