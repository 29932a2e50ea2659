"""The search strategies, one family a module."""
