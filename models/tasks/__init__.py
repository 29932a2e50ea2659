"""The bundled tasks: multi-step arithmetic word problems, and the rearranging of lists, with worked solutions."""

from __future__ import annotations

from .generate import generate_one
from .tasks import generate_problems

__all__ = ["generate_one", "generate_problems"]
