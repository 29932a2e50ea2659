"""Prompts: chat templates, presets, and step formats."""
