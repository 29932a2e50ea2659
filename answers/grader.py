"""Grader of the answers to one problem: the one place that tells whether an answer is right."""

from __future__ import annotations

from .checkers import DEFAULT_CHECK, PYTHON_TESTS, Check, Checker, make_checker
from .kinds import letter_of, options_of


class Grader:
    """Grades the answers to one problem against its gold answer, each answer once.

    `check` is a checker or what `make_checker` takes. A gold answer that is the text of one of the options that
    `question` offers is its letter as well; None where the question is not known.

    Raises:
        UsageError: if there is no such checker.
    """

    def __init__(self, gold: str, check: Check | Checker = DEFAULT_CHECK, *, question: str | None = None) -> None:
        self.checker = check if isinstance(check, Checker) else make_checker(check)
        """Comparison of answers."""
        self._golds = [gold]
        self._verdicts: dict[str, bool] = {}
        if question is not None and self.checker.name != PYTHON_TESTS:
            letter = letter_of(gold, options_of(question))
            self._golds += [] if letter is None else [letter]

    def right(self, answer: str | None) -> bool:
        """Return whether an answer is right, False for None. May take seconds.

        Raises:
            UsageError: if the checker cannot compare with the gold answer.
        """
        if answer is None:
            return False
        if answer not in self._verdicts:
            self._verdicts[answer] = any(self.checker.accepts(answer, gold) for gold in self._golds)
        return self._verdicts[answer]

    async def judge(self, answer: str | None) -> bool:
        """Return whether an answer is right, without blocking the event loop.

        Raises:
            UsageError: as `right`.
        """
        if answer is not None and answer not in self._verdicts:
            quick = [self.checker.accepts_quickly(answer, gold) for gold in self._golds]
            if True not in quick and None in quick:
                from anyio.to_thread import run_sync

                return await run_sync(self.right, answer)
            self._verdicts[answer] = True in quick
        return self.right(answer)
