"""Reward heads in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ramify.errors import UsageError

from .checkpoint import Checkpoint

Floats = npt.NDArray[np.float32]

HeadKind = Literal["none", "value", "labels", "answer", "mlp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardHead:
    """Reward head of a checkpoint.

    "value" has one output at each step, "labels" two, "answer" one for a whole answer; "mlp" is a network.
    `rows` [outputs, width] and `biases` [outputs] belong to a linear head, `layers` the tensors of a network.
    """

    kind: HeadKind
    rows: Floats = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    biases: Floats = field(default_factory=lambda: np.empty(0, dtype=np.float32))
    layers: Mapping[str, Floats] = field(default_factory=dict[str, Floats])


def head_of(checkpoint: Checkpoint) -> RewardHead:
    """Return the reward head of a checkpoint.

    Raises:
        UsageError: if it has one that cannot be converted.
    """
    names = set(checkpoint.names)
    if "v_head.summary.weight" in names:
        return _linear(checkpoint, "value", "v_head.summary")
    if "score.0.weight" in names:
        scores = sorted(name for name in names if name.startswith("score."))
        layers = {name.removeprefix("score."): _floats(checkpoint, name) for name in scores}
        return RewardHead(kind="mlp", layers=layers)
    if "score.weight" not in names:
        return RewardHead(kind="none")
    labels = checkpoint.shape("score.weight")[0]
    if checkpoint.architecture.endswith("ForTokenClassification") and labels == 2:
        return _linear(checkpoint, "labels", "score")
    if labels == 1:
        whole = checkpoint.architecture.endswith("ForSequenceClassification")
        return _linear(checkpoint, "answer" if whole else "value", "score")
    raise UsageError(
        f"{checkpoint.folder} has a head of {labels} outputs ({checkpoint.architecture or 'of no known class'}), "
        "which is not known as a reward head",
        "convert models with one value, or with two labels, bad and good",
    )


def _linear(checkpoint: Checkpoint, kind: HeadKind, name: str) -> RewardHead:
    rows = _floats(checkpoint, f"{name}.weight")
    has_bias = f"{name}.bias" in checkpoint.names
    biases = _floats(checkpoint, f"{name}.bias") if has_bias else np.zeros(len(rows), dtype=np.float32)
    return RewardHead(kind=kind, rows=rows, biases=biases)


def _floats(checkpoint: Checkpoint, name: str) -> Floats:
    return np.asarray(checkpoint.tensor(name), dtype=np.float32)
