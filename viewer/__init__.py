"""Viewer of search trees: one HTML page that works offline, for saved runs, for a server and for notebooks."""

from .notebook import notebook_view, progress_view
from .page import page
from .run_data import run_data, tree_data

__all__ = ["notebook_view", "page", "progress_view", "run_data", "tree_data"]
