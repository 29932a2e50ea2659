"""Training data: shards of encoded problems, cached on disk, and batches of rows of similar length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from ramify.models.problems import generate_one
from ramify.models.problems.partition import stream_seed
from tokenizers import Tokenizer

from .text import policy_solution_text, prompt_text

SHARD_SIZE = 20_000
"""Problems in one shard."""

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One training sequence; only targets that are `learned` count in the loss."""

    inputs: Tokens
    targets: Tokens
    learned: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows [rows, time]."""

    inputs: Tokens
    targets: Tokens
    learned: npt.NDArray[np.bool_]


def steps_of_shard(index: int) -> tuple[int, int]:
    """Return the range of steps in shard `index`: short problems first, so that arithmetic is learned sooner."""
    if index < 2:
        return 1, 3
    if index < 4:
        return 1, 5
    return 1, 9


def load_shard(folder: Path, index: int, tokenizer: Tokenizer) -> list[Row]:
    """Return the rows of shard `index`, generating and caching it in `folder` at the first call."""
    path = folder / f"shard-{index:04d}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _make_shard(path, index, tokenizer)
    with np.load(path) as stored:
        tokens, ends, prompts = stored["tokens"], stored["ends"], stored["prompts"]
    starts = np.concatenate([[0], ends[:-1]])
    return [_row(tokens[a:b], int(p)) for a, b, p in zip(starts, ends, prompts, strict=True)]


def batches(rows: list[Row], tokens_each: int, seed: int) -> Iterator[Batch]:
    """Yield all rows once, in batches of about `tokens_each` padded tokens, in an order that `seed` decides."""
    rng = np.random.default_rng(seed)
    order = sorted(rng.permutation(len(rows)).tolist(), key=lambda i: len(rows[i].inputs))
    groups: list[list[int]] = [[]]
    for i in order:
        if groups[-1] and (len(groups[-1]) + 1) * len(rows[i].inputs) > tokens_each:
            groups.append([])
        groups[-1].append(i)
    for g in rng.permutation(len(groups)).tolist():
        yield _pad([rows[i] for i in groups[g]])


def _make_shard(path: Path, index: int, tokenizer: Tokenizer) -> None:
    steps = steps_of_shard(index)
    seeds = (stream_seed("train", index + 1, i) for i in range(SHARD_SIZE))
    problems = [generate_one(seed, steps, "train", "") for seed in seeds]
    prompts = tokenizer.encode_batch([prompt_text(p.question) for p in problems])
    solutions = tokenizer.encode_batch([policy_solution_text(p.solution or "") for p in problems])
    rows = [np.array(a.ids + b.ids, np.uint16) for a, b in zip(prompts, solutions, strict=True)]
    temporary = path.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        tokens=np.concatenate(rows),
        ends=np.cumsum([len(r) for r in rows]),
        prompts=np.array([len(a.ids) for a in prompts]),
    )
    temporary.replace(path)


def _row(tokens: npt.NDArray[np.uint16], prompt: int) -> Row:
    learned = np.arange(len(tokens) - 1) >= prompt - 1
    wide = tokens.astype(np.int64)
    return Row(wide[:-1], wide[1:], learned)


def _pad(rows: list[Row]) -> Batch:
    shape = (len(rows), max(len(r.inputs) for r in rows))
    inputs, targets, learned = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    for i, row in enumerate(rows):
        n = len(row.inputs)
        inputs[i, :n], targets[i, :n], learned[i, :n] = row.inputs, row.targets, row.learned
    return Batch(inputs, targets, learned)
