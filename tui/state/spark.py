"""How fast tokens come, over the last while."""

from __future__ import annotations

from collections import deque

BARS = "▁▂▃▄▅▆▇█"
PERIOD_S = 0.25
"""Time that one bar stands for."""


class Speed:
    """Tokens per second in periods of PERIOD_S, newest last; `sample` is called at least that often."""

    def __init__(self, kept: int = 240) -> None:
        self.rates: deque[float] = deque(maxlen=kept)
        self._tokens = 0
        self._since_s: float | None = None

    def sample(self, now_s: float, tokens: int) -> None:
        """Take the number of tokens so far; the first call only starts the clock."""
        if self._since_s is None:
            self._since_s, self._tokens = now_s, tokens
        elif now_s - self._since_s >= PERIOD_S:
            self.rates.append(max(0, tokens - self._tokens) / (now_s - self._since_s))
            self._since_s, self._tokens = now_s, tokens

    @property
    def current(self) -> float:
        """Tokens per second over the last second, 0 before anything is known."""
        recent = list(self.rates)[-4:]
        return sum(recent) / len(recent) if recent else 0.0

    def bars(self, columns: int) -> str:
        """Return the newest periods as bars, at most `columns` of them, the tallest at full height."""
        recent = list(self.rates)[-columns:] if columns > 0 else []
        top = max(recent, default=0.0)
        return "".join(BARS[min(7, int(rate / top * 8))] if top > 0 and rate > 0 else " " for rate in recent)
