"""Models behind OpenAI-compatible HTTP servers, as policies."""
