"""Which answers mean the same, found out without holding up the event loop."""

from __future__ import annotations

from collections.abc import Callable

from anyio.to_thread import run_sync


class AnswerEquality:
    """Remembers verdicts on pairs of answers.

    `quick` decides at once or returns None; `slow` may take seconds and runs in a thread. A pair that only `slow` can
    decide counts as different until `resolve` has been awaited.
    """

    def __init__(self, quick: Callable[[str, str], bool | None], slow: Callable[[str, str], bool]) -> None:
        self._quick = quick
        self._slow = slow
        self._verdicts: dict[tuple[str, str], bool] = {}
        self._open: set[tuple[str, str]] = set()

    @property
    def unresolved(self) -> bool:
        """True if a verdict was given for lack of a better one since the last `resolve`."""
        return bool(self._open)

    def same(self, left: str, right: str) -> bool:
        """Return the verdict that is known now."""
        pair = (left, right) if left <= right else (right, left)
        verdict = self._verdicts.get(pair)
        if verdict is None:
            verdict = self._quick(*pair)
            if verdict is None:
                self._open.add(pair)
                return False
            self._verdicts[pair] = verdict
        return verdict

    async def resolve(self) -> None:
        """Decide all open pairs."""
        pairs = sorted(self._open)
        verdicts = await run_sync(lambda: [self._slow(*pair) for pair in pairs])
        self._verdicts.update(zip(pairs, verdicts, strict=True))
        self._open.difference_update(pairs)
