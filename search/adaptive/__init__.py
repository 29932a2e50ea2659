"""Sharing one budget among problems."""

from .portfolio import Allocator, EqualSplit, Portfolio, Standing, Tranche

__all__ = ["Allocator", "EqualSplit", "Portfolio", "Standing", "Tranche"]
