"""The bundled tasks and models: problems, and GGUF files trained on them (see `recipe`)."""

from __future__ import annotations

from .tasks import generate_problems

__all__ = ["generate_problems"]
