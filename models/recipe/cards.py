"""Model cards: what each bundled model is and measured, as JSON and as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DATA = (
    "Synthetic multi-step arithmetic word problems made by ramify's own generator (`ramify.generate_problems`), "
    "from the training part of its numbers. Nothing else: no text or weights from anywhere."
)


def write_card(card: dict[str, Any], weights: Path, cards: Path) -> None:
    """Write `card` as `weights/NAME.json` and `cards/NAME.md`."""
    name = str(card["name"])
    weights.mkdir(parents=True, exist_ok=True)
    cards.mkdir(parents=True, exist_ok=True)
    (weights / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    (cards / f"{name}.md").write_text(markdown(card), "utf-8")


def policy_card(name: str, shape: dict[str, int], training: dict[str, Any], quality: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a policy."""
    return _card(name, "policy", shape, training) | {"quality": quality}


def reward_card(name: str, shape: dict[str, int], training: dict[str, Any], quality: dict[str, Any]) -> dict[str, Any]:
    """Return the card of the process reward model."""
    return _card(name, "process reward model", shape, training) | {"quality": quality}


def files_of(name: str, weights: Path) -> dict[str, int]:
    """Return the model's files by name, with their sizes in bytes."""
    return {p.name: p.stat().st_size for p in sorted(weights.glob(f"{name}.*.gguf"))}


def markdown(card: dict[str, Any]) -> str:
    """Return a card for people."""
    lines = [
        f"# {card['name']}",
        "",
        f"A {card['role']} of {card['parameters']:,} parameters for ramify's bundled task, trained from scratch.",
        "",
        f"- Licence: {card['license']}",
        f"- Architecture: {card['architecture']}, {_pairs(card['shape'])}",
        f"- Data: {card['data']}",
        f"- Training: {_pairs(card['training'])}",
        "",
        "## Measured",
        "",
        *_quality_lines(card["quality"]),
        "",
        "## Files",
        "",
        *(f"- `{name}`: {size:,} bytes" for name, size in card["files"].items()),
        "",
        "## Limits",
        "",
        "It knows only the wording of the bundled task, numbers up to 3000 and about nine steps; nothing else.",
    ]
    return "\n".join(lines) + "\n"


def _card(name: str, role: str, shape: dict[str, int], training: dict[str, Any]) -> dict[str, Any]:
    parameters = training.pop("parameters")
    return {
        "name": name,
        "role": role,
        "license": "Apache-2.0",
        "architecture": "qwen2 without biases, untied output",
        "shape": shape,
        "parameters": parameters,
        "data": DATA,
        "training": training,
        "files": {},
    }


def _quality_lines(quality: dict[str, Any]) -> list[str]:
    lines = [f"- {key.replace('_', ' ')}: {_number(v)}" for key, v in quality.items() if not isinstance(v, dict)]
    by_steps: dict[str, float] = quality.get("greedy_by_steps", {})
    if by_steps:
        lines += ["", "| steps | greedy accuracy |", "|---|---|"]
        lines += [f"| {steps} | {share:.3f} |" for steps, share in by_steps.items()]
    reliability: dict[str, tuple[float, float, int]] = quality.get("reliability", {})
    if reliability:
        lines += ["", "| score | mean score | mean value | steps |", "|---|---|---|---|"]
        lines += [f"| {name} | {score:.3f} | {value:.3f} | {n:,} |" for name, (score, value, n) in reliability.items()]
    return lines


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in values.items())


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
