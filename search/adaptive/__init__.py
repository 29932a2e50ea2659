"""Sharing one budget among problems."""

from ramify.search.adaptive.portfolio import Allocator, EqualSplit, Portfolio, Standing, Tranche

__all__ = ["Allocator", "EqualSplit", "Portfolio", "Standing", "Tranche"]
