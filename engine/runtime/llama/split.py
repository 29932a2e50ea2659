"""Context in which each sequence has cells of its own, and the choice between it and one cache for all sequences.

In one cache a token's attention looks at the cells of all sequences. Where each sequence has cells of its own it looks
at these alone; a fork then copies the cells of its path instead of sharing them.
"""

from __future__ import annotations

import ctypes
from typing import Any

from ramify.errors import InternalError, ModelLoadError
from ramify.host_resources import memory

from .config import ModelConfig
from .library import has_avx512
from .memory import kv_bytes_per_token
from .native import CELL_STEP, TINY_PARAMETERS, Context, Model, Streams

SPLIT_LANES = 24
"""Least number of paths for which copying pays."""
PROMPT_TOKENS_PER_LANE = 32
"""Tokens of the prompt, which one cache holds once and this one for each path, that each path makes up for."""
LONG_PROMPT_TOKENS, LONG_PROMPT_LANES = 512, 8
"""Without AVX-512, tokens of a prompt from which on copying pays for so few paths.

Flash attention of one cache then takes longer for each token than products over the cells of one path.
"""
PATH_ROOM = 256
"""Tokens after the prompt for which each sequence has cells at first."""
SPARE_STREAMS = 3
"""Sequences beside those of the paths: one for the prompt, and two for prefixes and reads."""
SPLIT_BYTES = 1 << 30
"""Memory that the cells of all such contexts of a model may take at first."""
GROWN_BYTES = 2 << 30
"""Memory that the cells of one such context may grow to."""


def splits(model: Model, config: ModelConfig) -> bool:
    """Tell whether wide searches get cells for each sequence: on a processor, where the settings leave it open.

    Not for tiny models, whose step is over before a copy is, and not for those with a sliding window.
    """
    left_open = config.context_tokens is None and config.flash_attention == "auto" and config.kv_types == ("f16", "f16")
    suits = not model.offloaded and not model.window_tokens and model.summary.parameters >= TINY_PARAMETERS
    return left_open and suits and not (config.states or config.rank)


def streams_for(model: Model, config: ModelConfig, *, prompt_tokens: int, children: int) -> Streams | None:
    """Return the cells for a search that begins with so many children of its prompt, None if one cache is better.

    Each path may be at work while its parent waits, which takes two sequences.
    """
    lanes = min(children, config.max_lanes)
    least = max(SPLIT_LANES, prompt_tokens // PROMPT_TOKENS_PER_LANE)
    if not has_avx512():
        least = LONG_PROMPT_LANES if prompt_tokens >= LONG_PROMPT_TOKENS else SPLIT_LANES
    if lanes < least:
        return None
    streams = Streams(2 * lanes + SPARE_STREAMS, rounded_cells(prompt_tokens + PATH_ROOM))
    needed, free = stream_bytes(model, streams), memory()
    if needed is None or needed > SPLIT_BYTES or (free is not None and needed > free.free_bytes):
        return None
    return streams


def stream_bytes(model: Model, streams: Streams) -> int | None:
    """Return the memory of such cells; None if the file does not tell."""
    per_token = kv_bytes_per_token(model.summary.metadata)
    return None if per_token is None else per_token * streams.sequences * streams.cells


def rounded_cells(tokens: int) -> int:
    """Return the number of cells that llama.cpp makes of so many."""
    return -(-tokens // CELL_STEP) * CELL_STEP


class SplitContext(Context):
    """Context in which each sequence has cells of its own, more of them when a path needs them.

    `streams` has its present numbers of sequences and cells.
    """

    consecutive = True

    def __init__(self, model: Model, config: ModelConfig, streams: Streams) -> None:
        self.streams = streams
        self._copied = False
        super().__init__(model, config, streams)

    @property
    def bytes(self) -> int:
        """Memory of its cells."""
        return stream_bytes(self._model, self.streams) or 0

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        """Decode a batch as Context does; 1 if a path has outgrown its cells and there is no memory for more.

        Raises:
            InternalError: if the batch would make native code abort, or llama.cpp fails it.
        """
        length = max(positions, default=0) + 1
        if length > self.streams.cells and not self._grow(length):
            return 1
        code = super().decode(tokens, positions, sequences, outputs)
        self._copied = False
        return code

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` cells of `source` to `target`, at the next decode."""
        self._check(source)
        self._check(target)
        # llama.cpp copies whole streams only.
        self._lib.llama_memory_seq_cp(self.memory, source, target, -1, -1)
        self._copied = True
        self.cut(target, length)

    def _grow(self, length: int) -> bool:
        """Give each sequence cells for at least `length` tokens; False if there is no memory for them."""
        wanted = max(length, self.streams.cells * 3 // 2)
        cells = min(rounded_cells(wanted), rounded_cells(self.longest_path))
        grown = Streams(self.sequences, cells)
        needed, free = stream_bytes(self._model, grown) or 0, memory()
        if length > cells or needed > GROWN_BYTES or (free is not None and needed > free.free_bytes):
            return False
        if not self._copy_now():
            return False
        try:
            pointer = self._open(grown)
        except ModelLoadError:
            return False
        cells_there = self._lib.llama_get_memory(pointer)
        for sequence in range(self.sequences):
            held = self.length(sequence)
            if held:
                self._transfer(sequence, pointer)
            if int(self._lib.llama_memory_seq_pos_max(cells_there, sequence)) + 1 != held:
                raise InternalError("llama.cpp has lost cells of a sequence")
        self.close()
        self.pointer, self.memory = pointer, cells_there
        self.streams, self._rows_at = grown, 0
        self.cells = int(self._lib.llama_n_ctx(pointer))
        return True

    def _copy_now(self) -> bool:
        """Have llama.cpp make the copies that it still owes, with a decode of one token; False without room for it."""
        if not self._copied:
            return True
        for sequence in range(self.sequences):
            held = self.length(sequence)
            if held < self.streams.cells:
                code = super().decode([0], [held], [sequence], [False])
                self.cut(sequence, held)
                self._copied = code != 0
                return code == 0
        return False

    def _transfer(self, sequence: int, pointer: Any) -> None:
        """Copy a sequence's cells to another context with as many streams."""
        size = int(self._lib.llama_state_seq_get_size(self.pointer, sequence))
        buffer = (ctypes.c_uint8 * size)()
        written = self._lib.llama_state_seq_get_data(self.pointer, buffer, size, sequence)
        if not written or not self._lib.llama_state_seq_set_data(pointer, buffer, written, sequence):
            raise InternalError("llama.cpp cannot copy a sequence to another context")
