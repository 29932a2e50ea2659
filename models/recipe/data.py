"""Training data: shards of encoded problems, cached on disk, and batches of rows of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from ramify.files import replacing

from ..tasks.partition import stream_seed
from ..tasks.tasks import Task
from .thoughts import Example, solution_example, thought_example

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


def load_shard(
    folder: Path, index: int, tokenizer: Tokenizer, task: Task, steps: tuple[int, int], thinks: bool = False
) -> list[Row]:
    """Return the rows of shard `index` of a task, generating and caching it in `folder` at the first call.

    `steps` is the range of steps of its problems; `thinks` puts a thought before each reply.
    """
    path = folder / (f"{task.name}-thoughts" if thinks else task.name) / f"rows-{index:04d}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_shard(path, index, tokenizer, task, steps, thinks)
    with np.load(path) as stored:
        tokens, ends, taught = stored["tokens"], stored["ends"], stored["taught"]
    starts = np.concatenate([[0], ends[:-1]])
    return [_row(tokens[a:b], taught[a:b]) for a, b in zip(starts, ends, strict=True)]


def solution_rows(pairs: Sequence[tuple[str, str]], tokenizer: Tokenizer) -> list[Row]:
    """Return the rows of questions and their solutions, of which the solutions are learned."""
    examples = [solution_example(question, solution) for question, solution in pairs]
    prompts = tokenizer.encode_batch([each.prompt for each in examples])
    written = tokenizer.encode_batch([each.written for each in examples])
    return [
        _row(np.array(a.ids + b.ids, np.uint16), np.arange(len(a.ids) + len(b.ids)) >= len(a.ids))
        for a, b in zip(prompts, written, strict=True)
    ]


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


def _make_shard(path: Path, index: int, tokenizer: Tokenizer, task: Task, steps: tuple[int, int], thinks: bool) -> None:
    seeds = (stream_seed("train", index + 1, i) for i in range(SHARD_SIZE))
    if thinks:
        examples = [thought_example(seed, steps, "train") for seed in seeds]
    else:
        problems = (task.one(seed, steps, "train", "") for seed in seeds)
        examples = [solution_example(p.question, p.solution or "") for p in problems]
    prompts = tokenizer.encode_batch([e.prompt for e in examples])
    written = tokenizer.encode_batch([e.written for e in examples])
    rows = [np.array(a.ids + b.ids, np.uint16) for a, b in zip(prompts, written, strict=True)]
    taught = [
        np.concatenate([np.zeros(len(a.ids), np.bool_), _taught(example, b.offsets)])
        for example, a, b in zip(examples, prompts, written, strict=True)
    ]
    with replacing(path, private=False) as part, part.open("wb") as file:
        np.savez(
            file,
            tokens=np.concatenate(rows),
            ends=np.cumsum([len(r) for r in rows]),
            taught=np.concatenate(taught),
        )


def _taught(example: Example, offsets: list[tuple[int, int]]) -> npt.NDArray[np.bool_]:
    """Return which tokens of the written text, whose characters are `offsets`, are taught."""
    taught = np.ones(len(offsets), np.bool_)
    starts = np.array([start for start, _ in offsets])
    for start, end in example.planted:
        taught &= (starts < start) | (starts >= end)
    return taught


def _row(tokens: npt.NDArray[np.uint16], taught: npt.NDArray[np.bool_]) -> Row:
    wide = tokens.astype(np.int64)
    return Row(wide[:-1], wide[1:], taught[1:])


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
