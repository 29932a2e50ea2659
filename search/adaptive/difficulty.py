"""How hard a problem looks from the first answers to it.

Snell et al. ("Scaling LLM Test-Time Compute", arXiv 2408.03314, section 3.2) sort problems into quintiles by the mean
verifier score over many samples. Here a few samples must do, so their agreement counts as well: an answer that comes
again and again is likely right (self-consistency, arXiv 2203.11171).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from ..node import Node


def difficulty(answered: Sequence[Node], paths: int) -> float:
    """Return a number from 0 (easy) to 1 (hard) for a problem from `paths` whole paths, those that died included.

    Without scores it is 1 minus the share of the leading answer among all paths, with scores 1 minus the mean of that
    share and of the mean score; a path without an answer counts as score 0. Answers that are written differently count
    as different.
    """
    if paths < 1 or not answered:
        return 1.0
    counts = dict[str | None, int]()
    for node in answered:
        counts[node.answer] = counts.get(node.answer, 0) + 1
    agreement = max(counts.values()) / paths
    scores = [node.score for node in answered if node.score is not None]
    if not scores:
        return 1.0 - agreement
    return 1.0 - (agreement + fsum(scores) / paths) / 2
