"""Training data: shards of encoded problems, cached on disk, and batches of rows of similar length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ramify.files import replacing

from ..tasks.partition import stream_seed
from ..tasks.tasks import Task
from .text import policy_solution_text, prompt_text

SHARD_SIZE = 20_000
"""Problems in one shard."""

WIDTH_STEP, TARGET_STEP = 16, 256
"""Batch widths and counts of targets are multiples of these."""

IGNORED = -100
"""The target of a place that fills up."""

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One training sequence; only targets that are `learned` count in the loss."""

    inputs: Tokens
    targets: Tokens
    learned: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows [rows, time], and the learned targets with their places in the flattened rows.

    Sizes are rounded up, so that few distinct shapes occur; surplus targets are `IGNORED`.
    """

    inputs: Tokens
    places: Tokens
    targets: Tokens


def load_shard(folder: Path, index: int, tokenizer: Tokenizer, task: Task, steps: tuple[int, int]) -> list[Row]:
    """Return the rows of shard `index` of a task, generating and caching it in `folder` at the first call.

    `steps` is the range of steps of its problems.
    """
    path = folder / task.name / f"shard-{index:04d}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_shard(path, index, tokenizer, task, steps)
    with np.load(path) as stored:
        tokens, ends, prompts = stored["tokens"], stored["ends"], stored["prompts"]
    starts = np.concatenate([[0], ends[:-1]])
    return [_row(tokens[a:b], int(p)) for a, b, p in zip(starts, ends, prompts, strict=True)]


def batches(rows: list[Row], tokens_each: int, seed: int) -> Iterator[Batch]:
    """Yield all rows once, in batches of at most `tokens_each` padded tokens, in an order that `seed` decides."""
    rng = np.random.default_rng(seed)
    by_width = dict[int, list[Row]]()
    for i in rng.permutation(len(rows)).tolist():
        by_width.setdefault(_rounded(len(rows[i].inputs), WIDTH_STEP), []).append(rows[i])
    groups = list[tuple[int, list[Row]]]()
    for width, members in sorted(by_width.items()):
        count = max(1, tokens_each // width)
        groups += [(width, members[i : i + count]) for i in range(0, len(members), count)]
    for g in rng.permutation(len(groups)).tolist():
        yield _pad(*groups[g])


def _make_shard(path: Path, index: int, tokenizer: Tokenizer, task: Task, steps: tuple[int, int]) -> None:
    seeds = (stream_seed("train", index + 1, i) for i in range(SHARD_SIZE))
    problems = [task.one(seed, steps, "train", "") for seed in seeds]
    prompts = tokenizer.encode_batch([prompt_text(p.question) for p in problems])
    solutions = tokenizer.encode_batch([policy_solution_text(p.solution or "") for p in problems])
    rows = [np.array(a.ids + b.ids, np.uint16) for a, b in zip(prompts, solutions, strict=True)]
    with replacing(path, private=False) as part, part.open("wb") as file:
        np.savez(
            file,
            tokens=np.concatenate(rows),
            ends=np.cumsum([len(r) for r in rows]),
            prompts=np.array([len(a.ids) for a in prompts]),
        )


def _row(tokens: npt.NDArray[np.uint16], prompt: int) -> Row:
    learned = np.arange(len(tokens) - 1) >= prompt - 1
    wide = tokens.astype(np.int64)
    return Row(wide[:-1], wide[1:], learned)


def _pad(width: int, rows: list[Row]) -> Batch:
    inputs = np.zeros((len(rows), width), np.int64)
    places, targets = list[Tokens](), list[Tokens]()
    for i, row in enumerate(rows):
        inputs[i, : len(row.inputs)] = row.inputs
        places.append(np.flatnonzero(row.learned) + i * width)
        targets.append(row.targets[row.learned])
    count = sum(len(p) for p in places)
    surplus = _rounded(count, TARGET_STEP) - count
    places.append(np.zeros(surplus, np.int64))
    targets.append(np.full(surplus, IGNORED))
    return Batch(inputs, np.concatenate(places), np.concatenate(targets))


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step
