"""Process reward models behind one protocol; the runtime that evaluates their tokens is injected."""
