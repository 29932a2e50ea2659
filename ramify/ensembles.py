"""Several models on one problem, and one budget for many problems."""

from __future__ import annotations

from ramify.engine.ensembles.cascade import cascade, ensemble
from ramify.engine.ensembles.fallback import Fallback
from ramify.engine.ensembles.shared_budget import solve_set
from ramify.engine.ensembles.vote_pooling import pool
from ramify.search.budget_sharing import Allocator, EqualSplit, Portfolio

__all__ = ["Allocator", "EqualSplit", "Fallback", "Portfolio", "cascade", "ensemble", "pool", "solve_set"]
