"""A call's share of a batch whose items share one budget: samples go where they are likeliest to change an answer.

Each round buys a few tranches of samples. What an item has got is on disk after each of its tranches, so a call that
is cut loses only those in flight. Rows are written when nothing more is to be bought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import anyio
from anyio.to_thread import run_sync

from ramify.errors import EngineDied, EnginesLost, ModelCrashed
from ramify.problem import Problem
from ramify.search.limits import Budget
from ramify.usage import Usage

from .control import BatchControl
from .executors.allocation import Part, allocator, check_adaptive
from .executors.resolve import Setup
from .executors.searching import Executor, SearchRequest
from .leg import MOST_DEATHS, Leg, Show
from .store.config import BatchConfig
from .store.folder import RunFolder
from .store.grading import grade_beside
from .store.plan import Item


class AdaptiveLeg(Leg):
    """Searches pending items in tranches, all of them within the budget of the whole run."""

    def __init__(self, folder: RunFolder, setup: Setup, config: BatchConfig) -> None:
        super().__init__(folder, setup, config)
        self._strategy = check_adaptive(setup.strategy)
        self._parts: dict[str, Part] = {}
        self._open: list[Item] = []
        self._spent: dict[str, Usage] = {}

    def take_stock(self, problems: Sequence[Problem], wanted: Sequence[Item]) -> None:
        """Read what is done and what the other items have got so far; see Leg.take_stock."""
        super().take_stock(problems, wanted)
        for item in self._pending:
            saved = self._folder.read_part(item.key)
            part = Part() if saved is None else Part.from_dict(saved)
            self._parts[item.key] = part
            self._attempts[item.key] += 1
            self.tally.started(item.key, part.usage)

    async def _together(self, executor: Executor, control: BatchControl, show: Show) -> None:
        self._open = list(self._pending)
        chooser, limit = allocator(self._strategy), self._config.budget_total_tokens or 0
        while self._may_start(control):
            before = self._moved()
            left = limit - self.tally.progress().generated_tokens
            standings = [self._parts[item.key].standing() for item in self._open]
            tranches = chooser.next(standings, left, executor.at_a_time(self._config.parallel)) if left > 0 else []
            bought = [(self._open[each.problem], each.samples) for each in tranches]
            async with anyio.create_task_group() as tasks:
                for item, samples in bought:
                    tasks.start_soon(self._buy, executor, item, samples, left // len(bought), show)
            self._raise_failure()
            if not bought or self._moved() == before:
                await self._conclude(show)
                return

    def _moved(self) -> tuple[int, int, int]:
        """Return what differs after a round unless it came to nothing at all."""
        return self.tally.progress().generated_tokens, len(self._open), self._deaths.total()

    def _may_start(self, control: BatchControl) -> bool:
        # What is left of the budget limits each tranche.
        most = self._config.max_failures
        if control.draining:
            self._stop_reason = "interrupted"
        elif most is not None and self.tally.failed_here >= most:
            self._stop_reason = "failures"
        return not self._stop_reason

    async def _buy(self, executor: Executor, item: Item, samples: int, tokens: int, show: Show) -> None:
        """Write more samples for an item within `tokens`, and put down what it has got."""
        part = self._parts[item.key]

        self._spent[item.key] = Usage()

        def take(usage: Usage) -> None:
            self._spent[item.key] = usage
            self.tally.flying(item.key, part.usage + usage)
            show(soon=False)

        width = part.samples + samples
        request = SearchRequest(
            problem=item.problem,
            strategy=replace(self._strategy, width=width),
            run=replace(
                self._config.run, seed=self._config.run.seed + item.repeat, budget=Budget(generated_tokens=tokens)
            ),
            tree=None if part.solution is None else part.solution.tree,
        )
        try:
            solution = await executor.search(request, take)
        except EnginesLost as error:
            await self._waste(item, error)
            self._failure = error
        except (EngineDied, ModelCrashed) as error:
            self._deaths[item.key] += 1
            if self._deaths[item.key] > (1 if isinstance(error, ModelCrashed) else MOST_DEATHS):
                await self._drop(item, error)
            else:
                await self._waste(item, error)
        except Exception as error:
            await self._drop(item, error)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._waste(item, error)
            raise
        else:
            grown = part.grown(solution, width)
            self.tally.flying(item.key, grown.usage)
            self._parts[item.key] = grown
            await self._write(lambda: self._folder.save_part(item.key, grown.to_dict()), lambda: None)
        show()

    async def _waste(self, item: Item, error: BaseException) -> None:
        """Write down what a tranche cost that came to nothing; the item keeps what it had before."""
        kept = self._parts[item.key].usage
        row = self._attempt_row(item, error, self._spent[item.key])

        def store() -> None:
            self._folder.attempts.append(row)
            self._folder.log(f"item {item.problem.id!r} loses a tranche: {type(error).__name__}")

        def count() -> None:
            self.tally.wasted(row["usage"])
            self.tally.flying(item.key, kept)
            self._attempts[item.key] += 1

        await self._write(store, count)

    async def _drop(self, item: Item, error: Exception) -> None:
        await self._fail(item, error)
        self._close(item)
        await run_sync(self._folder.drop_part, item.key)

    async def _conclude(self, show: Show) -> None:
        """Write the rows of all items that got anything."""
        for item in list(self._open):
            solution = self._parts[item.key].result()
            if solution is None:
                self._stop_reason = "budget"
                continue
            correct = await grade_beside(solution.answer, item.problem.answer, item.problem.check)
            await self._keep(item, solution, correct)
            self._raise_failure()
            self._close(item)
            await run_sync(self._folder.drop_part, item.key)
            show()

    def _close(self, item: Item) -> None:
        self._open.remove(item)
        del self._parts[item.key]
