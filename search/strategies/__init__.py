"""The search strategies, one family a module."""

from __future__ import annotations

from .greedy import Greedy
from .rebase import Rebase
from .sampling import BestOfN, Majority, Weighted

__all__ = ["BestOfN", "Greedy", "Majority", "Rebase", "Weighted"]
