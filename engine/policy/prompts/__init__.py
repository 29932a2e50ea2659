"""Prompts: chat templates, presets, and what ends a step."""
