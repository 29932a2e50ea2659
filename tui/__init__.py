"""The terminal UI: watch a search while it runs, and steer it. This package itself imports no UI library."""
