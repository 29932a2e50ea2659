"""Widgets: tree, path, answers, budget, settings, footer."""
