"""Process reward models behind one protocol; whatever runs their tokens is injected."""
