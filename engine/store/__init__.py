"""Store of searched nodes on disk: its file, and its rows."""
