"""Rewards that run models in ways of their own: the policy itself, verifiers that write, judges, and torch."""
