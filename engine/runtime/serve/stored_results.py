"""Steps and readings of one model in a store: their keys, made of all that they depend on, and their encoding.

Tokens depend on the model file, the build of llama.cpp and the processor, the arrangement of the model (threads, types
of the cache and the like), the prompt, the path, and the request: sampling, seed, ends of the step, limits.
Another run with all of these the same would draw the same tokens, so a step of it can be taken instead of drawn.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ramify.errors import MalformedText
from ramify.files import file_hash
from ramify.json_text import read_json
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat
from ramify.search.node import FinishReason

from ...store.rows import RowKind, RowStore, digest
from ...store.states import LEAST_TOKENS, state_file
from ..llama.config import ModelConfig, ModelInfo
from ..llama.probe import library_hash, processor
from ..messages import StepRequest, StepResult

DRAWS = 1
"""Version of all that decides which tokens are drawn, the sampler above all; another one takes no steps of this one."""
KEPT = (FinishReason.STEP, FinishReason.EOS, FinishReason.LENGTH)
"""Ends of steps that are kept; others depend on other sequences at work."""

_UNDRAWN = ("path", "pools", "max_lanes", "gpu_turn", "context_tokens")
"""Fields of ModelConfig that decide the place and the room of a model, not its results."""
_UNKEYED = ("parent", "child", "keep", "beside", "tell_logprobs", "path", "prefix", "turns", "calls_tools")
"""Fields of StepRequest on which no token depends, beside the path that the key names."""
_STEP_FIELDS = [each.name for each in fields(StepRequest) if each.name not in _UNKEYED]


@dataclass(frozen=True, slots=True)
class StoredReading:
    """Entry of a reading in a store: its rows, and the tokens that were evaluated for it, the prompt's excepted."""

    rows: tuple[tuple[float, ...], ...]
    evaluated_tokens: int


@dataclass(frozen=True, slots=True)
class StoredResults:
    """Results of one model in a store.

    `base` stands for the model, its arrangement, the build and the processor, and `model` is the hash of its file.
    """

    rows: RowStore
    base: bytes
    model: str

    def state_file(self, prefix: tuple[int, ...]) -> str:
        """Return the file for the cells of a prompt's prefix, "" for one that is too short."""
        if len(prefix) < LEAST_TOKENS:
            return ""
        return str(state_file(self.rows.folder.absolute(), digest(self.base, b"state", array("i", prefix).tobytes())))

    def step_keys(
        self, requests: Sequence[StepRequest], paths: Mapping[int, bytes], step: StepFormat | None
    ) -> dict[int, bytes]:
        """Return the keys of steps by child; `paths` are digests of the paths to their parents."""
        form = None if step is None else asdict(step)
        return {each.child: digest(self.base, paths[each.parent], _canonical(_drawn(each), form)) for each in requests}

    def steps(self, keys: Mapping[int, bytes], *, logprobs: bool) -> dict[int, StepResult]:
        """Return the steps that the store has, by child; with `logprobs` only those that tell the tokens' own."""
        found = self.rows.get(RowKind.STEP, list(keys.values()))
        steps = {child: read_step(child, found[key]) for child, key in keys.items() if key in found}
        return {
            child: each
            for child, each in steps.items()
            if each is not None and (not logprobs or len(each.token_logprobs) == len(each.tokens))
        }

    def keep_step(self, key: bytes, result: StepResult) -> None:
        """Add a step that was drawn, unless its end depended on other sequences at work."""
        if result.finish_reason in KEPT and result.logprob is not None:
            self.rows.put(RowKind.STEP, key, write_step(result))

    def reading_keys(self, requests: Sequence[ReadRequest]) -> dict[int, bytes]:
        """Return the keys of readings by node."""
        return {
            each.node: digest(
                self.base,
                array("i", each.tokens).tobytes(),
                _canonical(each.what, each.read, each.ids, each.groups),
            )
            for each in requests
        }

    def readings(self, keys: Mapping[int, bytes]) -> dict[int, StoredReading]:
        """Return the readings that the store has, by node."""
        found = self.rows.get(RowKind.READING, list(keys.values()))
        readings = {node: read_reading(found[key]) for node, key in keys.items() if key in found}
        return {node: each for node, each in readings.items() if each is not None}

    def keep_reading(self, key: bytes, result: ReadResult, evaluated_tokens: int) -> None:
        """Add a reading for which so many tokens were evaluated beside the prompt."""
        if not result.too_long:
            self.rows.put(RowKind.READING, key, write_reading(StoredReading(result.logits, evaluated_tokens)))


def stored_results(rows: RowStore, config: ModelConfig, info: ModelInfo) -> StoredResults:
    """Return the results of a loaded model in a store; a file that is not known yet is read for its hash."""
    from ..llama.native import suitable_threads

    arrangement = {name: value for name, value in asdict(config).items() if name not in _UNDRAWN}
    arrangement["threads"] = config.threads or suitable_threads(info.parameters)
    build = (DRAWS, version("ramify"), library_hash(), processor())
    model = model_hash(rows, Path(config.path))
    kind = (model, info.context_tokens, info.offloaded)
    return StoredResults(rows, digest(_canonical(kind, arrangement, build)), model)


def model_hash(rows: RowStore, path: Path) -> str:
    """Return the SHA-256 of a model file; the store remembers it while size, time of change and inode stay."""
    facts = path.stat()
    key = digest(str(path).encode(), _canonical(facts.st_size, facts.st_mtime_ns, facts.st_ino, facts.st_dev))
    known = rows.get(RowKind.FILE, [key]).get(key)
    if known is not None:
        return known.decode("ascii", "replace")
    made = file_hash(path)
    rows.put(RowKind.FILE, key, made.encode())
    return made


def write_step(result: StepResult) -> bytes:
    """Return the value of a step's row: JSON, whose numbers read back as they were."""
    return _canonical(
        result.text,
        result.tokens,
        result.logprob,
        result.finish_reason,
        result.token_logprobs,
        result.kept_open,
        result.calculated_tokens,
        result.cached_tokens,
        result.shared_tokens,
    )


def read_step(child: int, value: bytes) -> StepResult | None:
    """Return the step of a row for a child; None if it is not of this form."""
    try:
        text, tokens, logprob, reason, logprobs, kept_open, calculated, cached, shared = read_json(value)
        return StepResult(
            child=child,
            text=text,
            tokens=tuple(tokens),
            generated_tokens=len(tokens),
            logprob=logprob,
            finish_reason=FinishReason(reason),
            token_logprobs=tuple(logprobs),
            kept_open=kept_open,
            calculated_tokens=calculated,
            cached_tokens=cached,
            shared_tokens=shared,
            stored_tokens=len(tokens),
        )
    except (MalformedText, ValueError, TypeError):
        return None


def write_reading(reading: StoredReading) -> bytes:
    """Return the value of a reading's row: a line of JSON, and the numbers of all rows in 32 or 64 bits."""
    numbers = [number for row in reading.rows for number in row]
    packed = array("f", numbers)
    if packed.tolist() != numbers:
        packed = array("d", numbers)
    head = _canonical(reading.evaluated_tokens, [len(row) for row in reading.rows], packed.typecode)
    return head + b"\n" + packed.tobytes()


def read_reading(value: bytes) -> StoredReading | None:
    """Return the reading of a row; None if it is not of this form."""
    head, _, packed = value.partition(b"\n")
    try:
        evaluated, lengths, typecode = read_json(head)
        numbers: array[float] = array({"f": "f", "d": "d"}[typecode])
        numbers.frombytes(packed)
        if len(numbers) != sum(lengths):
            return None
        rows, first = list[tuple[float, ...]](), 0
        for length in lengths:
            rows.append(tuple(numbers[first : first + length]))
            first += length
        return StoredReading(tuple(rows), int(evaluated))
    except (MalformedText, ValueError, TypeError, KeyError):
        return None


def _drawn(request: StepRequest) -> dict[str, Any]:
    """Return all of a request on which the tokens depend, in plain JSON types."""
    values = {name: getattr(request, name) for name in _STEP_FIELDS}
    return {name: asdict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in values.items()}


def _canonical(*parts: Any) -> bytes:
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8", "surrogatepass")
