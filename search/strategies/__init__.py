"""Search strategies, one family a module."""
