"""Batch run with adaptive allocation: all items share one budget, and samples go where they may change an answer.

Each round buys a few tranches of samples. The samples of an item are on disk after each of its tranches, so a call that
is interrupted loses only the tranches in flight. Rows are written when no more samples are to be bought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.to_thread import run_sync

from ramify.errors import EngineDied, EnginesLost, ModelCrashed
from ramify.event_loop import start_task
from ramify.problem import Problem
from ramify.search.budget import Budget
from ramify.search.budget_sharing import Portfolio, ProblemProgress
from ramify.search.strategies.sampling import MajorityVote, WeightedVote
from ramify.solution import Solution
from ramify.usage import Usage

from .batch_run import MOST_DEATHS, BatchRun, Show
from .executors.local import Executor, SearchRequest
from .executors.setup import Setup, check_adaptive
from .grading import grade_beside
from .progress import BatchControl
from .store.config import BatchConfig
from .store.folder import RunFolder
from .store.rows import Attempt, Item, attempt_row


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSamples:
    """Samples of an item that is not done: the solution of all `samples` and their cost; None and 0 without any.

    `call` is the number of the call that saved them, 0 if none did, and `call_seconds` its time until then.
    """

    solution: Solution | None = None
    samples: int = 0
    usage: Usage = field(default_factory=Usage)
    call: int = 0
    call_seconds: float = 0.0

    def progress(self) -> ProblemProgress:
        """Return the item's votes and costs for the allocator."""
        votes = () if self.solution is None else tuple(self.solution.vote_counts())
        return ProblemProgress(votes=votes, samples=self.samples, tokens=self.usage.policy.generated_tokens)

    def grown(self, solution: Solution, samples: int, attempt: Attempt) -> SavedSamples:
        """Return the samples with those of a solution that went on with their tree; `samples` is the new total."""
        return SavedSamples(
            solution=solution,
            samples=samples,
            usage=self.usage + solution.usage,
            call=attempt.call,
            call_seconds=attempt.call_seconds,
        )

    def result(self) -> Solution | None:
        """Return the solution with the cost of all tranches."""
        return None if self.solution is None else replace(self.solution, usage=self.usage)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        solution = None if self.solution is None else self.solution.to_dict(tree=True)
        return {
            "samples": self.samples,
            "usage": self.usage.to_dict(),
            "leg": self.call,
            "leg_seconds": round(self.call_seconds, 3),
            "solution": solution,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> SavedSamples:
        """Rebuild the samples from `to_dict()`."""
        solution = None if data["solution"] is None else Solution.from_dict(data["solution"])
        return cls(
            solution=solution,
            samples=data["samples"],
            usage=Usage.from_dict(data["usage"]),
            call=data.get("leg", 0),
            call_seconds=data.get("leg_seconds", 0.0),
        )


class AdaptiveBatchRun(BatchRun):
    """One call of `run_batch` that searches pending items in tranches, within the budget of the whole run."""

    def __init__(self, folder: RunFolder, setup: Setup, config: BatchConfig) -> None:
        super().__init__(folder, setup, config)
        self._strategy = check_adaptive(setup.strategy)
        self._samples: dict[str, SavedSamples] = {}
        self._open: list[Item] = []
        self._spent: dict[str, Usage] = {}

    def prepare(self, problems: Sequence[Problem], wanted: Sequence[Item]) -> None:
        """Read the finished items, and the saved samples of the others; see BatchRun.prepare."""
        super().prepare(problems, wanted)
        for item in self._pending:
            saved = self._folder.read_samples(item.key)
            part = SavedSamples() if saved is None else SavedSamples.from_dict(saved)
            self._samples[item.key] = part
            self._note_call(item, part)
            self._attempts[item.key] += 1
            self.counter.started(item.key, part.usage)

    def _note_call(self, item: Item, part: SavedSamples) -> None:
        """Write the time of an earlier call that ended before it had a row, so that it counts in reports."""
        if part.call_seconds <= self._call_seconds[part.call]:
            return
        self._number = max(self._number, part.call + 1)
        self._call_seconds[part.call] = part.call_seconds
        self._attempts[item.key] += 1
        why = "the call ended before its samples were counted"
        attempt = Attempt(number=self._attempts[item.key], call=part.call, call_seconds=part.call_seconds)
        self._folder.add_attempt(attempt_row(item, "Interrupted", why, Usage(), attempt))

    async def _search_pending(self, executor: Executor, control: BatchControl, show: Show) -> None:
        self._open = list(self._pending)
        chooser, limit = allocator(self._strategy), self._config.budget_generated_tokens or 0
        most = executor.limit(self._config.parallel, Budget()).most
        while self._may_start(control):
            before = self._round_state()
            left = limit - self.counter.progress().generated_tokens
            progress = [self._samples[item.key].progress() for item in self._open]
            tranches = chooser.next(progress, left, most) if left > 0 else []
            chosen = [(self._open[each.problem], each.samples) for each in tranches]
            async with anyio.create_task_group() as tasks:
                for item, samples in chosen:
                    start_task(tasks, self._sample, executor, item, samples, left // len(chosen), show)
            self._raise_failure()
            if not chosen or self._round_state() == before:
                await self._conclude(show)
                return

    def _round_state(self) -> tuple[int, int, int]:
        """Return figures that differ after a round unless the round had no effect at all."""
        return self.counter.progress().generated_tokens, len(self._open), self._deaths.total()

    def _may_start(self, control: BatchControl) -> bool:
        # The rest of the budget limits each tranche, so it is not looked at here.
        most = self._config.max_failures
        if control.draining:
            self._stop_reason = "interrupted"
        elif most is not None and self.counter.failed_here >= most:
            self._stop_reason = "failures"
        return not self._stop_reason

    async def _sample(self, executor: Executor, item: Item, samples: int, tokens: int, show: Show) -> None:
        """Sample `samples` more paths of an item within `tokens`, and save all that it has."""
        part = self._samples[item.key]

        self._spent[item.key] = Usage()

        def report(usage: Usage) -> None:
            self._spent[item.key] = usage
            self.counter.update(item.key, part.usage + usage)
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
            solution = await executor.search(request, report)
        except EnginesLost as error:
            await self._abandon_tranche(item, error)
            self._failure = error
        except (EngineDied, ModelCrashed) as error:
            self._deaths[item.key] += 1
            if self._deaths[item.key] > (1 if isinstance(error, ModelCrashed) else MOST_DEATHS):
                await self._fail_and_close(item, error)
            else:
                await self._abandon_tranche(item, error)
        except Exception as error:
            await self._fail_and_close(item, error)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await self._abandon_tranche(item, error)
            raise
        else:
            grown = part.grown(solution, width, self._attempt(item))
            self.counter.update(item.key, grown.usage)
            self._samples[item.key] = grown
            await self._write(lambda: self._folder.save_samples(item.key, grown.to_dict()), lambda: None)
        show()

    async def _abandon_tranche(self, item: Item, error: BaseException) -> None:
        """Write the cost of a failed tranche; the item keeps its samples from before."""
        kept = self._samples[item.key].usage
        row = self._attempt_row(item, error, self._spent[item.key])

        def store() -> None:
            self._folder.add_attempt(row)
            self._folder.log(f"item {item.problem.id!r} loses a tranche: {type(error).__name__}")

        def count() -> None:
            self.counter.add_failed_attempt(row["usage"])
            self.counter.update(item.key, kept)
            self._attempts[item.key] += 1

        await self._write(store, count)

    async def _fail_and_close(self, item: Item, error: Exception) -> None:
        await self._fail(item, error)
        self._close(item)
        await run_sync(self._folder.drop_samples, item.key)

    async def _conclude(self, show: Show) -> None:
        """Write the rows of all items that have samples."""
        for item in list(self._open):
            solution = self._samples[item.key].result()
            if solution is None:
                self._stop_reason = "budget"
                continue
            problem = item.problem
            correct = await grade_beside(solution.answer, problem.answer, problem.check, question=problem.question)
            await self._keep(item, solution, correct)
            self._raise_failure()
            self._close(item)
            await run_sync(self._folder.drop_samples, item.key)
            show()

    def _close(self, item: Item) -> None:
        self._open.remove(item)
        del self._samples[item.key]


def allocator(strategy: MajorityVote | WeightedVote) -> Portfolio:
    """Return the allocator; a problem gets at most as many samples as the strategy's width."""
    usual = Portfolio()
    return Portfolio(
        first=min(usual.first, strategy.width), tranche=min(usual.tranche, strategy.width), most=strategy.width
    )
