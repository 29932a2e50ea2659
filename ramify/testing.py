"""Test doubles: a scripted policy and a scripted reward, for tests without a model of code that uses ramify."""

from __future__ import annotations

from ramify.engine.testing import ScriptedModel, ScriptedStep
from ramify.reward.testing import ScriptedReward

__all__ = ["ScriptedModel", "ScriptedReward", "ScriptedStep"]
