"""The bundled task: multi-step arithmetic word problems with worked solutions."""

from __future__ import annotations

from .generate import generate_one, generate_problems

__all__ = ["generate_one", "generate_problems"]
