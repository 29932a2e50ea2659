"""MLP reward head on the final hidden state, in numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ramify.errors import RewardSpecError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


class MlpHead:
    """Linear layers with a ReLU between any two.

    `tensors` are named as in a torch `Sequential`: "0.weight" [out, in], "0.bias" [out], "2.weight" and so on.

    Raises:
        RewardSpecError: if the layers do not follow one another.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], *, name: str = "head") -> None:
        import numpy as np

        self._layers: list[tuple[Floats, Floats]] = []
        for number in sorted({int(key.split(".")[0]) for key in tensors if key.split(".")[0].isdigit()}):
            weight = tensors.get(f"{number}.weight")
            if weight is None or weight.ndim != 2:
                raise RewardSpecError(f"the head {name!r} has no matrix {number}.weight; convert the model again")
            matrix = np.asarray(weight, dtype=np.float32)
            bias = np.asarray(tensors.get(f"{number}.bias", np.zeros(len(matrix))), dtype=np.float32)
            if bias.shape != matrix.shape[:1] or (self._layers and matrix.shape[1] != len(self._layers[-1][1])):
                raise RewardSpecError(f"the layers of the head {name!r} do not fit together; convert the model again")
            self._layers.append((matrix, bias))
        if not self._layers:
            raise RewardSpecError(f"the head {name!r} has no layers; convert the model again")

    @property
    def width(self) -> int:
        """Width of the hidden states that it reads."""
        return int(self._layers[0][0].shape[1])

    @property
    def outputs(self) -> int:
        """Number of its outputs."""
        return len(self._layers[-1][1])

    @property
    def parameters(self) -> int:
        """Number of its weights."""
        return sum(weight.size + bias.size for weight, bias in self._layers)

    def __call__(self, state: Sequence[float]) -> list[float]:
        """Return the outputs for one hidden state."""
        import numpy as np

        values = np.asarray(state, dtype=np.float32)
        for number, (weight, bias) in enumerate(self._layers):
            values = weight @ (np.maximum(values, 0.0) if number else values) + bias
        return [float(each) for each in values]
