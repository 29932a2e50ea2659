"""Answers that are programs: gold answers that test them, and equality of those that return the same."""

from __future__ import annotations

from functools import lru_cache

from ramify.tools.programs import Behaviour, behaviour_of, tests_pass
from ramify.tools.sandbox import best_wall

from .checkers import AnswerEquality

ANSWER_LINE = "# --- the answer ---"
"""Line of a gold answer between the code that comes before the answer and the tests."""


def gold_tests(tests: str, *, setup: str = "", entry_point: str | None = None) -> str:
    """Return the gold answer of a problem with tests.

    `setup` is code that comes before the answer, of which the answer may be the end, as the body of its last function.
    With `entry_point` the tests define `check`, which is called with the function of that name, as in HumanEval.
    """
    call = "" if entry_point is None else f"\n\ncheck({entry_point})\n"
    return f"{setup.rstrip()}\n{ANSWER_LINE}\n{tests.strip()}{call}" if setup.strip() else f"{tests.strip()}{call}"


def check_sandbox() -> None:
    """Check that programs can be run in a sandbox here.

    Raises:
        UsageError: if they cannot.
    """
    best_wall()


@lru_cache(maxsize=4096)
def passes(answer: str, gold: str) -> bool:
    """Return whether a program passes the tests of a gold answer; it takes a while.

    Raises:
        UsageError: if there is no sandbox here.
    """
    setup, line, tests = gold.rpartition(f"\n{ANSWER_LINE}\n")
    return tests_pass(answer, tests, setup if line else "")


class ProgramEquality(AnswerEquality):
    """Equality of programs by their returns on the inputs of one question; each program runs once.

    Programs that return nothing on any input equal none but those of the same text.
    """

    def __init__(self, question: str) -> None:
        super().__init__(self._known_same, self._same)
        self._question = question
        self._behaviours: dict[str, Behaviour] = {}
        self._to_be_run = set[str]()

    @property
    def unresolved(self) -> bool:
        """True if a program has to be run, for a comparison or since `works` was asked to be sure."""
        return super().unresolved or bool(self._to_be_run)

    def works(self, program: str, *, surely: bool = False) -> bool:
        """Return whether a program is not known to fail on every input; with `surely`, whether it is known to work.

        With `surely`, a program that never ran is run by the next `resolve`.
        """
        known = self._behaviours.get(program)
        if known is None and surely:
            self._to_be_run.add(program)
        return known.works if known is not None else not surely

    async def resolve(self) -> None:
        """Decide all pairs, and run the programs that have to be run."""
        from anyio.to_thread import run_sync

        if programs := sorted(self._to_be_run):
            await run_sync(lambda: [self._behaviour(each) for each in programs])
            self._to_be_run.difference_update(programs)
        await super().resolve()

    def _known_same(self, left: str, right: str) -> bool | None:
        if left == right:
            return True
        first, second = self._behaviours.get(left), self._behaviours.get(right)
        return None if first is None or second is None else _agree(first, second)

    def _same(self, left: str, right: str) -> bool:
        return _agree(self._behaviour(left), self._behaviour(right))

    def _behaviour(self, program: str) -> Behaviour:
        if program not in self._behaviours:
            self._behaviours[program] = behaviour_of(program, self._question)
        return self._behaviours[program]


def _agree(first: Behaviour, second: Behaviour) -> bool:
    return first.works and first.values == second.values
