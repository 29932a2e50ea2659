"""Measurements of ramify itself: inference scaling laws on any set of models, with a computed verdict per claim."""
