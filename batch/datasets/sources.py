"""Sources of data sets: the solved problems of run folders and of the history, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK
from ramify.engine.history.records import SavedRun
from ramify.engine.history.store import RunStore
from ramify.errors import RamifyError, RunFolderError, UsageError
from ramify.files import is_folder, read_bytes
from ramify.json_text import read_json
from ramify.search.tree import SearchTree
from ramify.solution import Solution

from ..store.folder import TREES, read_items, read_manifest
from ..store.rows import FAILED, status_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedProblem:
    """A search with the known facts of its problem: the gold answer and its checker, None where they are not known."""

    solution: Solution
    gold: str | None
    check: str | None
    source: str


class Source:
    """A run folder, or a run of the history by its id.

    `trees` asks for search trees. `left_out` counts the items without an answer to export: those that failed, and with
    `trees` those whose tree was not saved.

    Raises:
        UsageError: if there is neither a folder nor a run of that name.
        RunFolderError: if the folder is no run folder.
    """

    def __init__(self, name: str, *, trees: bool, store: RunStore | None = None) -> None:
        self.name = name
        self.left_out = 0
        self._trees = trees
        self._folder = Path(name)
        self._run: SavedRun | None = None
        if is_folder(self._folder):
            self.facts = _facts(read_manifest(self._folder), self._folder)
            return
        try:
            self._run = (store or RunStore()).load(name)
        except UsageError as error:
            raise UsageError(f"there is no run folder {name!r}, and {error.message}", error.next_step) from None
        self.facts: Mapping[str, Any] = {"model": dict(self._run.solution.model), "seed": self._run.solution.seed}

    def __iter__(self) -> Iterator[SolvedProblem]:
        if self._run is not None:
            yield SolvedProblem(solution=self._run.solution, gold=None, check=DEFAULT_CHECK, source=self.name)
            return
        for row in read_items(self._folder):
            if status_of(row) == FAILED:
                self.left_out += 1
                continue
            solution = Solution.from_dict({**row, "tree": None})
            if self._trees:
                tree = self._tree(str(row["key"]))
                if tree is None:
                    self.left_out += 1
                    continue
                solution = Solution.from_dict({**row, "tree": tree.to_dict()})
            yield SolvedProblem(
                solution=solution, gold=row["gold"], check=row.get("check", DEFAULT_CHECK), source=self.name
            )

    def _tree(self, key: str) -> SearchTree | None:
        path = self._folder / TREES / f"{key}.json"
        try:
            return SearchTree.from_dict(read_json(read_bytes(path), lenient=True))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RamifyError) as error:
            raise RunFolderError(f"{path} cannot be read ({error})", "the file is damaged; remove it") from error


def _facts(manifest: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    if manifest is None:
        raise RunFolderError(f"{folder} is no run folder", "name the --out folder of a `ramify batch run`")
    settings: Mapping[str, Any] = manifest.get("configuration", {})
    model: Mapping[str, Any] = manifest.get("model") or {}
    reward: Mapping[str, Any] = manifest.get("reward") or {}
    return {
        "configuration_hash": manifest.get("configuration_hash"),
        "model": model.get("name"),
        "reward": reward.get("name"),
        "strategy": settings.get("strategy"),
        "seed": settings.get("seed"),
    }


def problems_of(sources: Iterable[Source]) -> Iterator[SolvedProblem]:
    """Yield the solved problems of all sources, in order."""
    for source in sources:
        yield from source
