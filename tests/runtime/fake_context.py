"""A context whose logits are a function of the path, requests to a decoder on it, and what they should give."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.decode.draws import RowSampler, uniforms
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import StepFormat

END = 0
NEWLINE = 1
WORDS = 12
LINE = StepFormat(name="line", pattern=r"\n")
SAMPLER = RowSampler(WORDS)


def row_of(path: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return the logits after a path."""
    seed = zlib.crc32(np.asarray(path, dtype=np.int32).tobytes())
    return np.random.default_rng(seed).standard_normal(WORDS).astype(np.float32)


class FakeContext:
    """Behaves as llama.cpp's unified cache does, and refuses whatever llama.cpp would silently do wrong."""

    vocabulary_size = WORDS
    consecutive = False

    def __init__(
        self,
        *,
        cells: int = 10_000,
        sequences: int = 64,
        batch_tokens: int = 32,
        longest: int = 1000,
        single_tokens: int = 0,
    ) -> None:
        self.cells = cells
        self.sequences = sequences
        self.batch_tokens = batch_tokens
        self.single_tokens = single_tokens or batch_tokens
        self.longest_path = longest
        self.held: dict[int, list[tuple[int, object]]] = {number: [] for number in range(sequences)}
        self.evaluated: list[tuple[int, ...]] = []
        self.full = 0
        self._rows: list[npt.NDArray[np.float32]] = []

    def copy(self, source: int, target: int, length: int) -> None:
        assert not self.held[target]
        assert len(self.held[source]) >= length
        self.held[target] = self.held[source][:length]

    def cut(self, sequence: int, length: int) -> None:
        del self.held[sequence][length:]

    @property
    def used(self) -> int:
        return len({id(cell) for held in self.held.values() for _, cell in held})

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        assert 0 < len(tokens) <= self.batch_tokens
        if self.used + len(tokens) > self.cells:
            self.full += 1
            return 1
        self._rows = []
        for token, position, sequence, output in zip(tokens, positions, sequences, outputs, strict=True):
            assert position == len(self.held[sequence]) < self.longest_path
            assert 0 <= token < WORDS
            self.held[sequence].append((token, object()))
            path = tuple(each for each, _ in self.held[sequence])
            self.evaluated.append(path)
            if output:
                self._rows.append(row_of(path))
        return 0

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        assert rows == len(self._rows)
        return np.asarray(self._rows)

    def logits_beside_states(self) -> npt.NDArray[np.float32]:
        return np.asarray(self._rows)


class FakeWords:
    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        return b"\n" if id == NEWLINE else chr(ord("a") + id).encode()

    def is_end(self, id: int) -> bool:
        return id == END

    def encode(self, text: str, *, special: bool) -> list[int]:
        return [NEWLINE if each == "\n" else ord(each) - ord("a") for each in text]


def step_request(
    child: int, parent: int = 0, *, max_tokens: int = 20, step: StepFormat | None = LINE, seed: int = 0
) -> StepRequest:
    return StepRequest(
        parent=parent, child=child, seed=seed or child * 7919, max_tokens=max_tokens, to_the_end=step is None
    )


def reference(path: tuple[int, ...], request: StepRequest) -> tuple[tuple[int, ...], str]:
    """Return the tokens of a request, token by token."""
    tokens: list[int] = []
    while True:
        numbers = uniforms([request.seed], [len(tokens)])
        token = int(SAMPLER.draw(row_of((*path, *tokens))[None, :], [request.sampling], numbers)[0][0])
        tokens.append(token)
        if token == END:
            return tuple(tokens), "eos"
        text = "".join("\n" if each == NEWLINE else "x" for each in tokens)
        if not request.to_the_end and "\n" in text.lstrip():
            return tuple(tokens), "step"
        if len(tokens) >= request.max_tokens:
            return tuple(tokens), "length"


def drain(decoder: Decoder, limit: int = 20_000) -> list[tuple[int, StepResult | ReadResult]]:
    results: list[tuple[int, StepResult | ReadResult]] = []
    for _ in range(limit):
        if not decoder.busy:
            return results
        results += decoder.step()
    raise AssertionError("the decoder does not come to an end")


def steps_of(results: list[tuple[int, StepResult | ReadResult]]) -> dict[tuple[int, int], StepResult]:
    return {(run, each.child): each for run, each in results if isinstance(each, StepResult)}


def read(node: int, parent: int | None, tokens: tuple[int, ...], at: tuple[int, ...] = ()) -> ReadRequest:
    return ReadRequest(node=node, parent=parent, tokens=tokens, read=at or (len(tokens) - 1,), ids=(3, 7))
