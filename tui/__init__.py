"""The terminal user interface over the engine's events."""
