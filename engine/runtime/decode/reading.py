"""What is taken from a row of a decode's output at a position that is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..messages import ReadRequest


def read_row(request: ReadRequest, position: int, row: npt.NDArray[np.float32]) -> tuple[float, ...]:
    """Return what `request` wants at `position` from that position's `row` of outputs.

    "tokens" gives (log probability of the path's next token, self-certainty). Self-certainty is the divergence of the
    distribution from the uniform one, -1/V sum log(V p) (Kang et al., arXiv 2502.18581, eq. 7), in nats.
    """
    if request.what == "logits":
        return tuple(row[list(request.ids)].tolist())
    if request.what in ("states", "rank"):
        return tuple(row.tolist())
    logits = row.astype(np.float64)
    peak = logits.max()
    total = peak + np.log(np.exp(logits - peak).sum())
    certainty = total - logits.mean() - np.log(len(logits))
    return float(logits[request.tokens[position + 1]] - total), float(certainty)
