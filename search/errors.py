"""What can go wrong in the search layer; each message is one sentence with the cause and the next step.

SearchError (ValueError)
├── TreeError          an operation that the state of a node does not allow, or a damaged tree file
├── StrategyError      an unknown strategy, a wrong option, or a result that a strategy cannot use
├── AllocationError    scores, width or temperature from which no allocation can be computed
└── BudgetError        a limit that is not a positive number, or a grant settled wrongly
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SearchError(ValueError):
    """Base of every error of the search layer."""


class TreeError(SearchError):
    """Raised when a tree operation does not fit the state of its node; the message names the node."""


class StrategyError(SearchError):
    """Raised when a strategy is unknown, wrongly configured or told something it cannot use."""


class AllocationError(SearchError):
    """Raised when no allocation exists for the given scores; the message names the index."""


class BudgetError(SearchError):
    """Raised when a limit is not a positive number, or a grant is settled twice."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `word`, or the list of known words."""
    choices = sorted(str(each) for each in known)
    matches = get_close_matches(word.lower(), choices, n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else f"; choose one of: {', '.join(choices)}"
