"""Partition of generated problems into training and evaluation, by their numbers alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

Part = Literal["train", "eval"]

_EVAL_SHARE = 64
"""Of 256 hash values, those below this are for evaluation."""


def part_of(calculations: Sequence[str]) -> Part:
    """Return the part that a problem belongs to, from its calculations such as `["45+18=63", "3*63=189"]`.

    Names and wording do not count, so a training problem never comes back for evaluation in other words.
    """
    digest = hashlib.blake2b(";".join(calculations).encode(), digest_size=1).digest()
    return "eval" if digest[0] < _EVAL_SHARE else "train"


def stream_seed(part: Part, seed: int, index: int) -> int:
    """Return the seed of problem `index` in the stream of `part` and `seed`."""
    text = f"ramify-problems:{part}:{seed}:{index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
