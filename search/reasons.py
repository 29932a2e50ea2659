"""Why a run ends."""

from __future__ import annotations

from enum import StrEnum, auto


class StopReason(StrEnum):
    """Why a run ended."""

    COMPLETED = auto()
    """The strategy had nothing left to do."""
    BUDGET_GENERATED_TOKENS = auto()
    """The limit of generated tokens was reached."""
    BUDGET_TOTAL_TOKENS = auto()
    """The limit of all evaluated tokens was reached."""
    BUDGET_FLOPS = auto()
    """The limit of floating point operations was reached."""
    BUDGET_SECONDS = auto()
    """The time was up."""
    BUDGET_NODES = auto()
    """The limit of nodes was reached."""
    EARLY_STOP = auto()
    """A stop rule saw that going on is not worth it."""
    USER = auto()
    """Stopped by hand; the best answer so far stands."""
    CANCELLED = auto()
    """Cancelled; nothing was waited for."""

    @property
    def is_budget(self) -> bool:
        """Whether a limit of the budget ended the run."""
        return self.startswith("budget_")
