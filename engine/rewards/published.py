"""Published heads: rewards that are kept for public model files, and known by the hash of the policy's file.

A head lies in a folder `rewards` as `BYTES-HASH.json`: the size of the policy's file, and the first HASH_DIGITS digits
of its SHA-256. The size is looked at first, so that a file for which there is no head is not read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from ramify.errors import ModelLoadError
from ramify.files import is_file, models_folder
from ramify.reward.arithmetic_reward import ARITHMETIC
from ramify.reward.likelihood_head import LikelihoodHead, read_head, sha256_of

from ..library.catalog import published_folder
from .naming import HEAD

HASH_DIGITS = 16
"""Digits of a hash in the name of a head's file."""

log = logging.getLogger(__name__)


def published_name(policy: Path) -> str:
    """Return the name of the file in which a head for a policy's file is published.

    Raises:
        ModelLoadError: if the policy's file cannot be read.
    """
    return f"{policy.stat().st_size}-{sha256_of(policy)[:HASH_DIGITS]}.json"


def published_reward(policy: Path) -> str | None:
    """Return the name of the reward that is published for a policy's file, None if there is none.

    It is the head, times `arithmetic` where that was better on its held-out problems. A head that does not help is no
    default, nor one whose judge is neither the policy's file itself nor lies beside it or in the folder of models.
    """
    try:
        status = policy.stat()
    except OSError:
        return None
    return _published(policy, status.st_size, status.st_mtime_ns, models_folder())


@lru_cache(maxsize=16)
def _published(policy: Path, size: int, modified_ns: int, models: Path) -> str | None:
    """Look for the head of a file in this state; to hash a large file takes a while."""
    found = [file for folder in (published_folder(), models / "rewards") for file in sorted(folder.glob(f"{size}-*"))]
    if not found:
        return None
    name = published_name(policy)
    for file in found:
        if file.name != name:
            continue
        head = read_head(file)
        judge = next(_judges(head, policy, models), None)
        if head.helps and judge is not None:
            return _reward(head, file, judge)
        log.info("the head published for %s is not used: %s", policy.name, "no judge" if head.helps else "no gain")
    return None


def _judges(head: LikelihoodHead, policy: Path, models: Path) -> Iterator[Path]:
    """Yield the files that the head can be used on."""
    for path in (policy, *(folder / name for name in head.files for folder in (policy.parent, models))):
        try:
            if is_file(path):
                head.check_judge(path)
                yield path
        except ModelLoadError:
            continue


def _reward(head: LikelihoodHead, file: Path, judge: Path) -> str:
    """Return the name of a head's reward."""
    name = f"{HEAD}{file}@{judge}"
    alone, checked = (head.report.get(key, {}).get("pairs_right") for key in ("head", "head * arithmetic"))
    return f'"{name}" * {ARITHMETIC}' if alone is not None and checked is not None and checked > alone else name
