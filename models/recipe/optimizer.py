"""Optimizers: Muon for the hidden matrices, AdamW for everything else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .network import Decoder

MATRIX_RATE = 0.02
OTHER_RATE = 3e-3


class Muon:
    """Momentum whose update is orthogonalised by Newton-Schulz iterations (Jordan et al. 2024).

    Matrices of one shape are iterated together. `kind` is the number type of the iterations.
    """

    def __init__(self, matrices: list[Tensor], kind: torch.dtype, momentum: float = 0.95, decay: float = 0.01) -> None:
        self._kind, self._momentum, self._decay = kind, momentum, decay
        shapes = sorted({tuple(m.shape) for m in matrices})
        self._groups = [[m for m in matrices if tuple(m.shape) == s] for s in shapes]
        self._velocity = [torch.zeros(len(g), *s) for g, s in zip(self._groups, shapes, strict=True)]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Update the matrices from their gradients."""
        for group, velocity in zip(self._groups, self._velocity, strict=True):
            gradient = torch.stack([_gradient(m) for m in group])
            velocity.lerp_(gradient, 1 - self._momentum)
            update = _orthogonalise(gradient.lerp(velocity, self._momentum).to(self._kind)).float()
            scale = rate * max(1.0, group[0].shape[0] / group[0].shape[1]) ** 0.5
            for matrix, change in zip(group, update, strict=True):
                matrix.mul_(1 - rate * self._decay).add_(change, alpha=-scale)

    def state(self) -> list[Tensor]:
        """Return the argument of `restore`."""
        return self._velocity

    def restore(self, state: list[Tensor]) -> None:
        """Continue from a saved state."""
        self._velocity = state


class Optimizer:
    """Both optimizers, with one learning-rate factor over time."""

    def __init__(self, model: Decoder, kind: torch.dtype) -> None:
        parameters = dict(model.named_parameters())
        hidden = {n for n, p in parameters.items() if n.startswith("blocks") and p.ndim == 2}
        self._all = list(parameters.values())
        self._muon = Muon([parameters[n] for n in sorted(hidden)], kind)
        rest = [p for n, p in parameters.items() if n not in hidden]
        self._adam = torch.optim.AdamW(rest, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, factor: float) -> None:
        """Update all parameters at `factor` times the full learning rates and clear the gradients."""
        for group in self._adam.param_groups:
            group["lr"] = OTHER_RATE * factor
        self._adam.step()
        self._muon.step(MATRIX_RATE * factor)
        for p in self._all:
            p.grad = None

    def state(self) -> dict[str, Any]:
        """Return the argument of `restore`."""
        return {"muon": self._muon.state(), "adam": self._adam.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self._muon.restore(state["muon"])
        self._adam.load_state_dict(state["adam"])


def _gradient(matrix: Tensor) -> Tensor:
    if matrix.grad is None:
        return torch.zeros_like(matrix)
    return matrix.grad


def _orthogonalise(x: Tensor, iterations: int = 5) -> Tensor:
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        y = x @ x.mT
        x = a * x + (b * y + c * (y @ y)) @ x
    return x.mT if tall else x
