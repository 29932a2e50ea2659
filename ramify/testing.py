"""Public test doubles: a scripted policy and a scripted reward, for testing code that uses ramify without a model."""

from __future__ import annotations

from ramify.engine.testing import ScriptedModel, ScriptedStep
from ramify.reward.testing import ScriptedReward

__all__ = ["ScriptedModel", "ScriptedReward", "ScriptedStep"]
