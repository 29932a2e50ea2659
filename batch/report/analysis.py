"""Analysis of a run beyond its totals: votes among fewer paths, agreement, calibration, groups, worst items."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from ramify.answers.checkers import DEFAULT_CHECK, Checker, make_checker
from ramify.answers.grader import Grader
from ramify.engine.ensembles.fallback import LABEL
from ramify.errors import SearchError
from ramify.files import user_path
from ramify.search.votes import Candidate, VoteRule, decide
from ramify.statistics import quantile, wilson
from ramify.usage import Usage

from ..store.folder import TREES, read_items, read_manifest
from ..store.rows import CUT, FAILED, status_of
from .totals import BatchReport, check_folder, summarise

INDEPENDENT = ("majority", "weighted", "best-of-n")
"""Strategies with independent paths, the first k of which are those of a run with k paths."""
MOST_GROUPS = 20
"""Most values of a field by which items are grouped."""
_LONGEST_LABEL = 40
"""Characters of the longest value that makes a group where none is asked for."""
BINS = 5
WORST = 10
ALL_PATHS = 1 << 30
DECIDING = "deciding model"
"""Groups items by the model that gave the answer, where there are two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Share of right ones: `successes` of `trials`; `tokens` are the mean tokens of an item, None if unknown."""

    label: str
    trials: int
    successes: int
    tokens: float | None = None

    @property
    def share(self) -> float | None:
        """The share, None without trials."""
        return self.successes / self.trials if self.trials else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, with the Wilson interval."""
        low, high = wilson(self.successes, self.trials)
        counts: dict[str, Any] = {"label": self.label, "items": self.trials, "correct": self.successes}
        return counts | {"accuracy": self.share, "low": low, "high": high, "mean_generated_tokens": self.tokens}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFigures:
    """Figures of one item; `agreement` is the share of its voting paths with its answer, None without votes."""

    id: str
    key: str
    problem_key: str
    repeat: int
    index: int
    status: str
    answer: str | None
    gold: str | None
    correct: bool | None
    score: float | None
    agreement: float | None
    generated_tokens: int
    total_tokens: int
    flops: float
    seconds: float
    stop_reason: str | None
    error: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything that a report on one run folder shows.

    `groups` maps a field to its values. `votes` has one entry for each rule and number of paths k, labelled
    "rule, k=K". `agreement` and `calibration` are binned by the agreement of the votes and by the score of the paths.
    `cut_steps` counts steps by finish reason, `cut` the items that a limit ended with no answer by that limit. `worst`
    are wrong and failed items, those with most agreement first; cut ones are not among them.
    """

    folder: Path
    manifest: Mapping[str, Any]
    report: BatchReport
    items: tuple[ItemFigures, ...]
    groups: Mapping[str, tuple[Share, ...]]
    stop_reasons: tuple[Share, ...]
    votes: tuple[Share, ...]
    agreement: tuple[Share, ...]
    calibration: tuple[Share, ...]
    cut_steps: Mapping[str, int]
    cut: Mapping[str, int]
    worst: tuple[ItemFigures, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        tokens = [each.generated_tokens for each in self.items]
        seconds = [each.seconds for each in self.items]
        return {
            "folder": str(self.folder),
            **self.report.to_dict(),
            "model": self.manifest.get("model"),
            "reward": self.manifest.get("reward"),
            "configuration": self.manifest.get("configuration"),
            "versions": self.manifest.get("versions"),
            "per_item": {"generated_tokens": _spread(tokens), "seconds": _spread(seconds)},
            "groups": {name: [each.to_dict() for each in shares] for name, shares in self.groups.items()},
            "accuracy_by_stop_reason": [each.to_dict() for each in self.stop_reasons],
            "votes": [each.to_dict() for each in self.votes],
            "agreement": [each.to_dict() for each in self.agreement],
            "calibration": [each.to_dict() for each in self.calibration],
            "step_ends": dict(self.cut_steps),
            "cut_by": dict(self.cut),
            "worst": [{"id": each.id, "repeat": each.repeat, "tree": self.tree_of(each)} for each in self.worst],
        }

    def tree_of(self, item: ItemFigures) -> str | None:
        """Return where the item's tree is, relative to the folder; None if it was not saved."""
        name = f"{TREES}/{item.key}.json"
        return name if (self.folder / name).is_file() else None


def analyse(folder: str | Path, *, by: Sequence[str] = ()) -> Analysis:
    """Read a run folder and compute all figures; `by` names the fields to group by, empty for those with few values.

    Comparing answers may take seconds.

    Raises:
        RunFolderError: if it is no run folder, or damaged.
    """
    path = check_folder(user_path(folder))
    sums = _RowFigures()
    for row in read_items(path):
        sums.take(row)
    items = tuple(sorted(sums.items, key=lambda each: (each.index, each.repeat)))
    return Analysis(
        folder=path,
        manifest=read_manifest(path) or {},
        report=summarise(path),
        items=items,
        groups={name: _shares(items, lambda each, name=name: each.metadata.get(name)) for name in _fields(items, by)},
        stop_reasons=_shares(items, lambda each: each.stop_reason),
        votes=sums.vote_shares(),
        agreement=_binned([(each.agreement, each.correct) for each in items]),
        calibration=_binned(sums.paths),
        cut_steps=dict(sums.step_ends.most_common()),
        cut=dict(Counter(str(each.stop_reason) for each in items if each.status == CUT).most_common()),
        worst=_worst(items),
    )


class _RowFigures:
    """Figures of rows that are added one at a time, so that a large run needs little memory."""

    def __init__(self) -> None:
        self._votes: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        self.items: list[ItemFigures] = []
        self.paths: list[tuple[float | None, bool | None]] = []
        self.step_ends = Counter[str]()

    def take(self, row: Mapping[str, Any]) -> None:
        self.items.append(_figures(row))
        self.step_ends.update(row.get("finish_reasons") or {})
        if row["status"] == FAILED or row["correct"] is None:
            return
        check = row.get("check", DEFAULT_CHECK)
        if check is None:
            # A function graded it, which no file holds, so its other paths cannot be graded.
            return
        grader = Grader(str(row["gold"]), _cached_checker(check), question=row.get("question"))
        paths = _candidates(row)
        self.paths += [(each.score, grader.right(each.answer)) for each in paths]
        models = cast("Mapping[str, object]", row.get("model") or {})
        rules = VoteRule if paths or models.get("reward") is not None else (VoteRule.MAJORITY,)
        for k in _sizes(row, len(paths)):
            for rule in rules:
                right = _vote(paths[: k or None], rule, grader)
                if right is not None:
                    counts = self._votes[str(rule), k]
                    counts[0] += 1
                    counts[1] += right
                    counts[2] += sum(each.generated_tokens for each in paths[:k])

    def vote_shares(self) -> tuple[Share, ...]:
        """Return the votes by rule and k, without a k that less than half of the items have."""
        most = max((counts[0] for counts in self._votes.values()), default=0)
        ordered = sorted(self._votes.items(), key=lambda each: (each[0][0], each[0][1] or ALL_PATHS))
        return tuple(
            Share(
                label=f"{rule}, {f'k={k}' if k else 'all paths'}",
                trials=trials,
                successes=successes,
                tokens=tokens / trials if k else None,
            )
            for (rule, k), (trials, successes, tokens) in ordered
            if 2 * trials > most
        )


def _vote(paths: Sequence[Candidate], rule: VoteRule, grader: Grader) -> bool | None:
    if not paths:
        # No path is no answer, and that is wrong: items without one are often the hard ones.
        return False
    try:
        answer = decide(paths, rule, grader.checker.same).answer
    except SearchError:
        return None
    return grader.right(answer)


def _sizes(row: Mapping[str, Any], paths: int) -> Iterable[int]:
    """Yield the numbers of paths to vote with: powers of two where paths are independent, and 0 for all.

    They go up to the width of the search, also where fewer of its paths have ended, as those of hard items do.
    """
    if row["strategy"]["name"] in INDEPENDENT:
        size, most = 1, max(paths, row["strategy"].get("width") or 0)
        while size <= most:
            yield size
            size *= 2
    yield 0


def _candidates(row: Mapping[str, Any]) -> list[Candidate]:
    return [Candidate(**each, path=(number,)) for number, each in enumerate(row["candidates"])]


def _figures(row: Mapping[str, Any]) -> ItemFigures:
    usage = Usage.from_dict(row["usage"])
    voting = [each for each in row["candidates"] if each["answer"] is not None]
    votes = max((each["votes"] for each in voting if each["text"] == row["text"]), default=None)
    return ItemFigures(
        id=row["id"],
        key=row["key"],
        problem_key=row["problem_key"],
        repeat=row["repeat"],
        index=row["index"],
        status=status_of(row),
        answer=row["answer"],
        gold=row["gold"],
        correct=row["correct"],
        score=row["score"],
        agreement=votes / len(voting) if votes is not None else None,
        generated_tokens=usage.policy.generated_tokens,
        total_tokens=usage.total_tokens,
        flops=usage.flops,
        seconds=usage.seconds,
        stop_reason=row["stop_reason"] if row["stop"] is None else f"{row['stop_reason']} ({row['stop']['rule']})",
        error=row["error"] and f"{row['error']['type']}: {row['error']['message']}",
        metadata=row["metadata"] | ({DECIDING: row["model"]["policy"]} if LABEL in row["model"] else {}),
    )


def _fields(items: Sequence[ItemFigures], by: Sequence[str]) -> list[str]:
    if by:
        return list(by)
    values: dict[str, Counter[str]] = defaultdict(Counter)
    for each in items:
        for name, value in each.metadata.items():
            if not isinstance(value, list | dict) and len(str(value)) <= _LONGEST_LABEL:
                values[name][str(value)] += 1
    few = min(MOST_GROUPS, len(items) // 2)
    return [
        name
        for name, counts in values.items()
        if 1 < len(counts) <= few and (counts.total() == len(items) or name == DECIDING)
    ]


def _shares(items: Sequence[ItemFigures], value: Callable[[ItemFigures], Any]) -> tuple[Share, ...]:
    grouped: dict[Any, list[ItemFigures]] = defaultdict(list)
    for each in items:
        if each.correct is not None:
            grouped[group_label(value(each))].append(each)
    return tuple(
        Share(
            label=str(label),
            trials=len(members),
            successes=sum(each.correct is True for each in members),
            tokens=sum(each.generated_tokens for each in members) / len(members),
        )
        for label, members in sorted(grouped.items(), key=lambda each: _order(each[0]))
    )


def group_label(value: Any) -> Any:
    """Return a value that can be a group; lists and objects as their JSON."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True) if isinstance(value, list | dict) else value


def _order(label: Any) -> tuple[int, float, str]:
    number = isinstance(label, int | float) and not isinstance(label, bool)
    return (0, float(label), "") if number else (1, 0.0, str(label))


def _binned(pairs: Iterable[tuple[float | None, bool | None]]) -> tuple[Share, ...]:
    """Return the share of right ones in equal bins of a number in [0, 1]."""
    bins = [[0, 0] for _ in range(BINS)]
    for value, right in pairs:
        if value is not None and right is not None:
            place = bins[min(int(value * BINS), BINS - 1)]
            place[0] += 1
            place[1] += right
    return tuple(
        Share(label=f"{number / BINS:.1f}-{(number + 1) / BINS:.1f}", trials=trials, successes=successes)
        for number, (trials, successes) in enumerate(bins)
        if trials
    )


def _worst(items: Sequence[ItemFigures]) -> tuple[ItemFigures, ...]:
    bad = [each for each in items if each.status == FAILED or (each.correct is False and each.status != CUT)]
    bad.sort(key=lambda each: (each.status != FAILED, -(each.agreement or 0.0), -each.generated_tokens, each.index))
    return tuple(bad[:WORST])


def _spread(values: Sequence[float]) -> dict[str, float]:
    mean = sum(values) / len(values) if values else 0.0
    return {
        "mean": mean,
        "median": quantile(values, 0.5),
        "p95": quantile(values, 0.95),
        "max": max(values, default=0.0),
    }


@lru_cache(maxsize=8)
def _cached_checker(check: str) -> Checker:
    """Return a checker that compares each pair of answers once."""
    checker = make_checker(check)
    same, accepts = (lru_cache(maxsize=1 << 16)(each) for each in (checker.same, checker.accepts))
    return replace(checker, same=same, accepts=accepts)
