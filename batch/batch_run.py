"""Batch run with even allocation: one call searches the pending items and writes a row for each."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import anyio
from anyio.to_thread import run_sync

from ramify.answers.checkers import DEFAULT_CHECK
from ramify.engine.ensembles.fallback import fallback_note
from ramify.errors import EngineDied, EnginesLost, ModelCrashed, RamifyError, RunFolderError
from ramify.event_loop import start_task
from ramify.problem import Problem
from ramify.search.registry import strategy_to_dict
from ramify.solution import Solution
from ramify.usage import Usage

from .executors.local import Executor, SearchRequest
from .executors.setup import Setup
from .grading import grade_beside
from .progress import BatchControl, ProgressCounter
from .store.config import BatchConfig
from .store.folder import RunFolder, read_attempts, read_items
from .store.identity import problem_key
from .store.rows import Attempt, Item, attempt_row, describe_error, failed_row, named_check, solved_row, status_of

STOP_REASONS = ("completed", "interrupted", "budget", "failures", "aborted")
MOST_DEATHS = 3
"""Number of times that an item is searched again because its engine died."""

Show = Callable[..., None]
Note = Callable[[str], None]


class BatchRun:
    """One call of `run_batch`: searches pending items, several at a time.

    An item whose search crashes the model is tried once more after all others, alone, so that a second crash costs no
    other item.
    """

    def __init__(self, folder: RunFolder, setup: Setup, config: BatchConfig) -> None:
        self.counter = ProgressCounter(generated_tokens=config.budget_generated_tokens)
        self.wanted_keys: frozenset[str] = frozenset()
        self.begun = False
        self.notes: list[str] = []
        self._folder = folder
        self._setup = setup
        self._config = config
        self._number = 1
        self._pending: deque[Item] = deque()
        self._crashed: list[Item] = []
        self._deaths = Counter[str]()
        self._call_seconds = defaultdict[int, float](float)
        self._noted = set[str]()
        self._attempts = Counter[str]()
        self._stop_reason = ""
        self._failure: RamifyError | None = None
        self._writing: anyio.Lock | None = None
        self._note: Note = lambda text: None

    @property
    def pending(self) -> int:
        """Number of items that are not done."""
        return len(self._pending)

    def prepare(self, problems: Sequence[Problem], wanted: Sequence[Item]) -> None:
        """Read the finished items of the folder, and queue the other wanted ones.

        Raises:
            RunFolderError: if the folder holds items of other problems, or graded against other answers.
        """
        self.wanted_keys = frozenset(item.key for item in wanted)
        again = self._config.retried
        if again:
            self._folder.retire(lambda row: row["key"] in self.wanted_keys and status_of(row) in again)
        gold = _gold(problems)
        self.counter.expect(len(wanted))
        done = set[str]()
        there = set[tuple[str, int]]()
        for row in read_items(self._folder.path):
            _check_problem(row, gold, self._folder)
            self._note_attempt(row)
            done.add(row["key"])
            there.add((row["key"], row["attempt"]))
            self.counter.found(row, wanted=row["key"] in self.wanted_keys)
        for row in read_attempts(self._folder.path):
            self._note_attempt(row)
            if (row["key"], row["attempt"]) not in there:
                self.counter.add_failed_attempt(row["usage"])
        self._pending.extend(item for item in wanted if item.key not in done)
        before = self.counter.progress()
        if before.failed:
            self.notes.append(f"{before.failed} of the items failed before; --retry-failed runs them again")
        if before.cut:
            self.notes.append(
                f"{before.cut} of the items had no answer when a limit ended them; --retry cut runs them again"
            )

    def _note_attempt(self, row: Mapping[str, Any]) -> None:
        self._number = max(self._number, row["leg"] + 1)
        self._call_seconds[row["leg"]] = max(self._call_seconds[row["leg"]], row["leg_seconds"])
        self._attempts[row["key"]] = max(self._attempts[row["key"]], row["attempt"])

    async def run(self, executor: Executor, control: BatchControl, show: Show, note: Note) -> str:
        """Search the pending items and return why the run ended: one of STOP_REASONS.

        Raises:
            RunFolderError: if the folder cannot be written any more; every row in it is complete.
            EnginesLost: if no engine is left.
        """
        self.begun = True
        self._note = note
        self._writing = anyio.Lock()
        at_a_time = self._config.parallel or "as many as the speed allows"
        self._folder.log(f"call {self._number} begins: {self.pending} items to do, {at_a_time} at a time")
        show()
        await self._search_pending(executor, control, show)
        for item in self._crashed:
            if not self._may_start(control):
                break
            await self._search_item(executor, item, show)
            self._raise_failure()
        return self._stop_reason or "completed"

    def log_end(self, reason: str) -> None:
        """Write to the events that this call has ended, and why."""
        if self.begun and self._failure is None:
            self._folder.log(f"call {self._number} ends: {reason}, {self.counter.progress().done} items done")

    async def _search_pending(self, executor: Executor, control: BatchControl, show: Show) -> None:
        limit = executor.limit(self._config.parallel, self._config.run.budget)
        async with anyio.create_task_group() as tasks:

            def goes_on() -> bool:
                return bool(self._pending) and self._failure is None and self._may_start(control)

            async def work() -> None:
                while goes_on():
                    async with limit.turn():
                        if goes_on():
                            await self._search_item(executor, self._pending.popleft(), show, limit.note)
                if self._failure is not None:
                    tasks.cancel_scope.cancel()

            for _ in range(min(limit.most, len(self._pending))):
                start_task(tasks, work)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _may_start(self, control: BatchControl) -> bool:
        limit = self._config.max_failures
        if control.draining:
            self._stop_reason = "interrupted"
        elif limit is not None and self.counter.failed_here >= limit:
            self._stop_reason = "failures"
        elif self.counter.exhausted:
            self._stop_reason = "budget"
        return not self._stop_reason and self.counter.affords_another()

    async def _search_item(
        self, executor: Executor, item: Item, show: Show, note: Callable[[Solution], None] | None = None
    ) -> None:
        """Search one item and write its row; `note` gets its solution."""
        self._attempts[item.key] += 1
        self.counter.started(item.key)
        try:
            solution = await self._search(executor, item, show)
            if note is not None:
                note(solution)
            problem = item.problem
            correct = await grade_beside(solution.answer, problem.answer, problem.check, question=problem.question)
        except EngineDied as error:
            await self._retry(item, error)
        except EnginesLost as error:
            await self._abandon_attempt(item, error)
            self._failure = error
        except ModelCrashed as error:
            if item in self._crashed:
                await self._fail(item, error)
            else:
                self._crashed.append(item)
                await self._abandon_attempt(item, error)
        except Exception as error:
            await self._fail(item, error)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._abandon_attempt(item, error)
            raise
        else:
            await self._keep(item, solution, correct)
        show()

    async def _retry(self, item: Item, error: EngineDied) -> None:
        """Queue an item again whose engine died; it fails after MOST_DEATHS or a crash, as it may be the cause."""
        self._deaths[item.key] += 1
        if self._deaths[item.key] > MOST_DEATHS or item in self._crashed:
            await self._fail(item, error)
        else:
            await self._abandon_attempt(item, error)
            self._pending.appendleft(item)

    async def _search(self, executor: Executor, item: Item, show: Show) -> Solution:
        def report(usage: Usage) -> None:
            self.counter.update(item.key, usage)
            show(soon=False)

        run = replace(self._config.run, seed=self._config.run.seed + item.repeat)
        request = SearchRequest(problem=item.problem, strategy=self._setup.strategy, run=run)
        return await executor.search(request, report)

    async def _keep(self, item: Item, solution: Solution, correct: bool | None) -> None:
        row = solved_row(item, solution, correct, self._attempt(item))
        tree = solution.tree if self._config.save_trees else None
        missed = fallback_note(solution)

        def store() -> None:
            if tree is not None:
                self._folder.save_tree(item.key, tree.to_dict())
            self._folder.add_item(row)
            if missed is not None:
                self._folder.log(f"item {item.problem.id!r}: {missed}")

        await self._write(store, lambda: self.counter.finished(row))
        if missed is not None and missed not in self._noted:
            self._noted.add(missed)
            self._note(missed)

    async def _fail(self, item: Item, error: Exception) -> None:
        described = describe_error(error)
        row = failed_row(
            item,
            described,
            self.counter.cost(item.key),
            self._attempt(item),
            seed=self._config.run.seed + item.repeat,
            strategy=strategy_to_dict(self._setup.strategy),
        )

        def store() -> None:
            self._folder.add_item(row)
            self._folder.log(f"item {item.problem.id!r} failed: {described['type']}: {described['message']}")

        await self._write(store, lambda: self.counter.finished(row))

    async def _abandon_attempt(self, item: Item, error: BaseException) -> None:
        """Write the cost of an attempt that will be made again."""
        row = self._attempt_row(item, error, self.counter.cost(item.key))

        def store() -> None:
            self._folder.add_attempt(row)
            self._folder.log(f"item {item.problem.id!r} is put off: {type(error).__name__}")

        await self._write(store, lambda: self.counter.abandoned(item.key))

    def _attempt_row(self, item: Item, error: BaseException, usage: Usage) -> dict[str, Any]:
        return attempt_row(item, type(error).__name__, str(error), usage, self._attempt(item))

    async def _write(self, store: Callable[[], None], count: Callable[[], None]) -> None:
        """Call `store` in a thread, one at a time and even if cancelled, then `count`; after a failure do nothing."""
        assert self._writing is not None
        with anyio.CancelScope(shield=True):
            async with self._writing:
                if self._failure is not None:
                    return
                try:
                    await run_sync(store)
                except RunFolderError as error:
                    self._failure = error
                else:
                    count()

    def _attempt(self, item: Item) -> Attempt:
        return Attempt(number=self._attempts[item.key], call=self._number, call_seconds=self.counter.elapsed_s)


def _gold(problems: Sequence[Problem]) -> dict[str, Problem]:
    seen = Counter[str]()
    found = dict[str, Problem]()
    for problem in problems:
        found[problem_key(problem.identity, seen[problem.identity])] = problem
        seen[problem.identity] += 1
    return found


def _check_problem(row: Mapping[str, Any], problems: Mapping[str, Problem], folder: RunFolder) -> None:
    problem = problems.get(row["problem_key"])
    if problem is None:
        raise RunFolderError(
            f"{folder.path} was made with other problems: {row['id']!r} is not in the input",
            "use a new --out folder, or the input of before",
        )
    if problem.id != row["id"]:
        raise RunFolderError(
            f"{folder.path} was made with other ids: {row['id']!r} is {problem.id!r} now, as happens where records "
            "without ids change their places",
            "give each record an id and use a new --out folder, or use the input of before",
        )
    if named_check(problem) != row.get("check", DEFAULT_CHECK):
        raise RunFolderError(
            f"{folder.path} was graded with another checker for {row['id']!r}", "use a new --out folder"
        )
    if problem.answer != row["gold"]:
        raise RunFolderError(
            f"{folder.path} was graded with other answers: that of {row['id']!r} was {row['gold']!r} "
            f"and is now {problem.answer!r}",
            "use a new --out folder, or `ramify grade` with --gold",
        )
