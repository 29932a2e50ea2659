"""The search strategies, one family a module."""

from __future__ import annotations

from ramify.search.strategies.greedy import Greedy
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import BestOfN, Majority, Weighted

__all__ = ["BestOfN", "Greedy", "Majority", "Rebase", "Weighted"]
