"""The search layer: trees, strategies, votes, stop rules and budgets. Pure: no I/O, no async, no model."""
