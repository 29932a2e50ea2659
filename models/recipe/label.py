"""The problems whose solutions are labelled for the bundled reward model."""

from __future__ import annotations

from ramify.engine.problem import Problem
from ramify.models.problems.generate import generate_one
from ramify.models.problems.partition import stream_seed

LABEL_SEED = 987654
LABEL_STEPS = (2, 8)


def label_stream(numbers: range, seed: int = LABEL_SEED) -> list[Problem]:
    """Return training problems whose solutions are labelled, of a stream that no policy was trained on."""
    return [generate_one(stream_seed("train", seed, i), LABEL_STEPS, "train", f"label-{i}") for i in numbers]
