"""Totals and items of a batch's folder, read also while another process writes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ramify.batch.report.totals import accuracy_interval, count_graded
from ramify.batch.store.folder import ITEMS, LOCK, MANIFEST, REPORT, TREES, read_items, read_manifest
from ramify.batch.store.rows import CUT, FAILED, status_of
from ramify.config import SETTINGS, STRATEGY_KEYS
from ramify.errors import RunFolderError, SearchError, StrategyError
from ramify.files import read_bytes, user_path
from ramify.json_text import read_json

from .batch_process import BatchCommand
from .spec import DEFAULTS

if TYPE_CHECKING:
    from ramify.solution import Solution

_PLAIN = bool | int | float | str


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item that is done.

    `status` is "ok", "cut" by a limit with no answer, or "failed". `correct` is None without a gold answer. `row` is
    its line of items.jsonl.
    """

    id: str
    question: str
    answer: str | None
    gold: str | None
    correct: bool | None
    status: str
    tokens: int
    seconds: float
    row: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """True if an error ended it."""
        return self.status == FAILED

    @property
    def cut(self) -> bool:
        """True if a limit ended it with no answer."""
        return self.status == CUT


@dataclass(frozen=True, slots=True)
class BatchView:
    """A folder at one moment.

    `running` is true while the process that last wrote it is alive, which may have finished all items.
    `total` is the number of all items, None if the manifest does not say. `cut` items had no answer when a limit ended
    them; they are graded as not right. `answered` of the graded items were not cut. `low` to `high` is a 95 % interval
    of the accuracy. `seconds` and `tokens` are sums over the items. `command` made the folder, None if that is not
    known. `stamp` tells versions of the files apart.
    """

    folder: Path
    running: bool
    total: int | None
    items: tuple[ItemView, ...]
    failed: int
    cut: int
    graded: int
    answered: int
    correct: int
    low: float
    high: float
    tokens: int
    seconds: float
    about: str
    command: BatchCommand | None = None
    stamp: tuple[object, ...] = ()

    @property
    def done(self) -> int:
        """Items that are done."""
        return len(self.items)

    @property
    def finished(self) -> bool:
        """True if no item is left, as far as the number of items is known."""
        return self.total is not None and self.done >= self.total

    @property
    def accuracy(self) -> float | None:
        """Share of right answers, None with nothing graded."""
        return self.correct / self.graded if self.graded else None

    @property
    def accuracy_answered(self) -> float | None:
        """Share of right answers among the items that were not cut, None with none graded."""
        return self.correct / self.answered if self.answered else None


def read_batch(folder: Path, before: BatchView | None = None) -> BatchView:
    """Return a folder as it is now; `before` is returned with little reading if nothing has changed since.

    Raises:
        RunFolderError: if it is no batch's folder, or it is damaged.
    """
    folder = user_path(folder)
    running = _running(folder)
    stamp = tuple(_stamp(folder / name) for name in (MANIFEST, ITEMS, REPORT))
    if before is not None and before.folder == folder and before.stamp == stamp:
        return replace(before, running=running)
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunFolderError(f"{folder} holds no batch", "give the --out folder of `ramify batch run`")
    items = tuple(map(_item, read_items(folder)))
    graded = sum(item.correct is not None for item in items)
    correct = sum(item.correct is True for item in items)
    low, high = accuracy_interval(_by_problem(items))
    total = _mapping(manifest, "input").get("items")
    return BatchView(
        folder=folder,
        running=running,
        total=total if isinstance(total, int) else None,
        items=items,
        failed=sum(item.failed for item in items),
        cut=sum(item.cut for item in items),
        graded=graded,
        answered=sum(item.correct is not None and not item.cut for item in items),
        correct=correct,
        low=low,
        high=high,
        tokens=sum(item.tokens for item in items),
        seconds=sum(item.seconds for item in items),
        about=_about(manifest),
        command=BatchCommand.from_manifest(manifest),
        stamp=stamp,
    )


def item_solution(folder: Path, item: ItemView) -> Solution:
    """Return an item's solution, with its tree if the batch keeps trees.

    Raises:
        RunFolderError: if it failed, or its files cannot be read.
    """
    from ramify.search.tree import SearchTree
    from ramify.solution import Solution

    if item.failed:
        error = _mapping(item.row, "error")
        raise RunFolderError(
            f"item {item.id} failed: {error.get('message', 'unknown error')}", "there is no tree of it"
        )
    path = user_path(folder) / TREES / f"{item.row.get('key')}.json"
    try:
        tree = SearchTree.from_dict(read_json(read_bytes(path), lenient=True)) if path.is_file() else None
        return replace(Solution.from_dict(item.row), tree=tree)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"item {item.id} cannot be read ({error})", "run the batch again to repair it") from error


def search_options(folder: Path, solution: Solution) -> dict[str, Any]:
    """Return the options of an item's search by the names of `RunSpec`, as far as the folder's manifest has them.

    Raises:
        RunFolderError: if the manifest cannot be read.
    """
    manifest = read_manifest(user_path(folder)) or {}
    configuration = _mapping(manifest, "configuration")
    noted = {**_mapping(manifest, "runtime"), **configuration}
    noted |= {**_mapping(configuration, "engine"), **_mapping(configuration, "sampling")}
    noted |= {f"max_{name}": value for name, value in _mapping(configuration, "budget").items()}
    noted |= {"model": _source(_mapping(manifest, "model")), "reward": _source(_mapping(manifest, "reward")) or "none"}
    noted |= {"stop": _rules(configuration.get("stop")), "seed": solution.seed, **_strategy_options(solution.strategy)}
    fit = {name: value for name, value in noted.items() if name in DEFAULTS and isinstance(value, _PLAIN)}
    return {**fit, "strategy_extras": noted["strategy_extras"]}


def _source(noted: Mapping[str, Any]) -> str | None:
    """Return the name or the path of a model or a reward as an option takes it, None if there is none."""
    from ramify.engine.loading import BUNDLED_POLICY

    name, path = noted.get("name"), noted.get("path")
    # The name of a reward that reads a model in a way of its own, such as mean-logprob:FILE, is whole.
    plain = isinstance(path, str) and ":" not in str(name) and not str(name).startswith(BUNDLED_POLICY)
    return path if plain else name


def _strategy_options(strategy: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a saved strategy: those of its own that are not at their defaults are its extras."""
    from ramify.search.registry import make_strategy, strategy_names, strategy_option_names, strategy_to_dict

    name = strategy.get("name")
    if name not in strategy_names():
        return {"strategy": name, "strategy_extras": {}}
    attributes = {SETTINGS[key].attribute: key for key in STRATEGY_KEYS}
    own = {each: strategy[each] for each in strategy_option_names(name) if each in strategy}
    common = {attributes[each]: value for each, value in own.items() if each in attributes}
    try:
        usual = strategy_to_dict(make_strategy(name))
    except StrategyError:
        usual = {}
    extras = {
        each: value
        for each, value in own.items()
        if each not in attributes and isinstance(value, _PLAIN) and value != usual.get(each)
    }
    return {"strategy": name, **common, "strategy_extras": extras}


def _rules(noted: object) -> str | None:
    """Return saved stop rules as the option `--stop` takes them, None for others."""
    from ramify.search.stopping import AnyOf, make_stop_rule

    if not isinstance(noted, Mapping):
        return None
    rule = cast("Mapping[str, Any]", noted)
    parts = rule.get("rules") if rule.get("name") == AnyOf.name else [rule]
    texts = [":".join(str(value) for value in [*cast("Mapping[str, Any]", each).values()][:2]) for each in parts or ()]
    try:
        make_stop_rule(",".join(texts))
    except SearchError:
        return None
    return ",".join(texts)


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object inside another, {} if there is none."""
    found = data.get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def _item(row: Mapping[str, Any]) -> ItemView:
    usage = _mapping(row, "usage")
    policy = _mapping(usage, "policy")
    return ItemView(
        id=str(row.get("id")),
        question=str(row.get("question", "")),
        answer=row.get("answer"),
        gold=row.get("gold"),
        correct=row.get("correct"),
        status=status_of(row),
        tokens=int(policy.get("generated_tokens", 0)),
        seconds=float(usage.get("seconds", 0.0)),
        row=row,
    )


def _by_problem(items: Sequence[ItemView]) -> dict[str, tuple[int, int]]:
    """Return the numbers of right and of graded items of each problem, which repeats have in common."""
    found = dict[str, tuple[int, int]]()
    for item in items:
        if item.correct is not None:
            count_graded(found, item.row)
    return found


def _about(manifest: Mapping[str, Any]) -> str:
    strategy = _mapping(_mapping(manifest, "configuration"), "strategy")
    names = [_mapping(manifest, role).get("name") for role in ("model", "reward")]
    width = strategy.get("width")
    name = str(strategy.get("name", "")) + (f" x{width}" if width else "")
    return " · ".join(part for part in (name, " + ".join(str(each) for each in names if each)) if part)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _running(folder: Path) -> bool:
    """Tell whether the process that last wrote the folder is alive; asking the lock itself might get in its way."""
    try:
        node, _, number = read_bytes(folder / LOCK).decode().strip().partition(" process ")
        if node != os.uname().nodename:
            return False
        os.kill(int(number), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
