"""Runs, batches and their views as plain values; no module here imports a UI library."""
