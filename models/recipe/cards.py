"""Model cards: description and measurements of each bundled model, as JSON and as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ramify.files import write_text

DATA = {
    "arithmetic": (
        "Synthetic multi-step arithmetic word problems made by ramify's own generator (`ramify.generate_problems`), "
        "from the training part of its numbers. Nothing else: no text or weights from anywhere."
    ),
    "lists": (
        "Synthetic problems in which a list of things is rearranged step by step, made by ramify's own generator "
        "(`ramify.generate_problems(task='lists')`), from the training part of its lists. Nothing else: no text or "
        "weights from elsewhere; it started with the weights of `demo-m`."
    ),
}
"""Training data of a model, by task."""

LIMITS = {
    "arithmetic": "It knows only the wording of the task, numbers up to 3000 and about nine steps; nothing else.",
    "lists": "It knows only the wording of the task, its 24 things and about nine steps; nothing else.",
}


def write_card(card: dict[str, Any], weights: Path, cards: Path) -> None:
    """Write `card` as `weights/NAME.json` and `cards/NAME.md`."""
    name = str(card["name"])
    weights.mkdir(parents=True, exist_ok=True)
    cards.mkdir(parents=True, exist_ok=True)
    write_text(weights / f"{name}.json", json.dumps(card, indent=2) + "\n", private=False)
    write_text(cards / f"{name}.md", markdown(card), private=False)


def make_card(name: str, role: str, task: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return the card of a model from its `shape`, `training` and `quality`."""
    training = dict(found["training"])
    return {
        "name": name,
        "role": role,
        "task": task,
        "license": "Apache-2.0",
        "architecture": "qwen2 without biases, untied output",
        "shape": found["shape"],
        "parameters": training.pop("parameters"),
        "data": DATA[task],
        "training": training,
        "files": {},
        "quality": found["quality"],
    }


def files_of(name: str, weights: Path) -> dict[str, int]:
    """Return the model's files by name, with their sizes in bytes."""
    return {p.name: p.stat().st_size for p in sorted(weights.glob(f"{name}.*.gguf"))}


def markdown(card: dict[str, Any]) -> str:
    """Return a card for people."""
    start = card["training"].get("started_as")
    origin = "trained from scratch" if start is None else f"trained on from the weights of `{start}`"
    lines = [
        f"# {card['name']}",
        "",
        f"A {card['role']} of {card['parameters']:,} parameters for the task `{card['task']}`, {origin}.",
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
        LIMITS[card["task"]],
    ]
    return "\n".join(lines) + "\n"


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
