"""Seeds that depend on where a step stands in the tree, never on when or beside what it was decoded."""

from __future__ import annotations

from hashlib import blake2b


def node_seed(run_seed: int, path: tuple[int, ...]) -> int:
    """Return the 64-bit seed of the node at `path` (child numbers from the root) in a run seeded with `run_seed`."""
    key = f"{run_seed}:{'.'.join(map(str, path))}".encode()
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
