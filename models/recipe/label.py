"""The problems whose solutions are labelled for the bundled reward models."""

from __future__ import annotations

from ramify.problem import Problem

from ..tasks.partition import stream_seed
from ..tasks.tasks import ARITHMETIC, Task

LABEL_SEED = 987654
LABEL_STEPS = (2, 8)


def label_stream(numbers: range, task: Task = ARITHMETIC, seed: int = LABEL_SEED) -> list[Problem]:
    """Return training problems whose solutions are labelled, of a stream that no policy was trained on."""
    prefix = f"label-{task.prefix}"
    return [task.one(stream_seed("train", seed, i), LABEL_STEPS, "train", f"{prefix}{i}") for i in numbers]
