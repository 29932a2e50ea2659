"""Typed and guarded access to llama.cpp's C API: a model, and a context with sequences.

Native code aborts the process on invalid arguments, so everything is checked here first. All calls on a context come
from one thread.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ramify.errors import InternalError, ModelLoadError
from ramify.host_resources import processors
from ramify.model_settings import KV_TYPES, FlashWord

from .config import ModelConfig, ModelInfo
from .cores import FreeCores
from .devices import FLASH_NUMBERS, place
from .gguf_check import GgufSummary, check_gguf
from .library import failure_reason, has_avx512, library, native_lines
from .memory import default_cells, head_length
from .refusals import refuse_uncuttable, refuse_unfit
from .repack import overrides
from .vocabulary import Vocabulary

MAX_SEQUENCES = 256
MIN_SEQUENCES = 64
OUTPUT_BYTES = 64 << 20
"""Memory that the output rows of all sequences may take before fewer sequences are used."""
STATE_OUTPUT_BYTES = 128 << 20
"""Memory that one batch's rows of logits may take where every token gives one, beyond one row a sequence."""
TINY_PARAMETERS = 16_000_000
"""Below this, waiting for other threads after each of a layer's products costs more than they save."""

FLASH_HEAD_LENGTH = 64
"""Below this length of attention heads, llama.cpp's flash attention on a processor is slower than products."""
FLASH_SINGLES = 63
"""From 64 tokens on, flash attention on a processor no longer skips the cells that a token does not see."""

CELL_STEP = 256
"""llama.cpp makes cells by this many."""


def suitable_threads(parameters: int) -> int:
    """Return the number of threads for a model: one for a tiny model, whose work is over before a second one joins."""
    return 1 if parameters < TINY_PARAMETERS else processors()


class Model:
    """A loaded GGUF file.

    `summary` is that of a check of the file's header, None to check it now. `progress` is called with the part that
    is loaded, 0 to 1, once the vocabulary is there, and stops the load by returning False. `free_cores` chooses the
    threads of each decode of all its contexts, unless the configuration gives them.

    Raises:
        ModelLoadError: if it cannot be loaded, or is not the file that was checked.
    """

    def __init__(
        self,
        config: ModelConfig,
        summary: GgufSummary | None = None,
        *,
        vocabulary_only: bool = False,
        progress: Callable[[float], bool] | None = None,
    ) -> None:
        self.summary = summary or check_gguf(config.path)
        self._lib = library()
        params = self._lib.llama_model_default_params()
        params.use_extra_bufts = config.extra_buffers == "all"
        repacked = overrides(self._lib, self.summary) if config.extra_buffers == "repacked" else None
        params.tensor_buft_overrides = repacked and ctypes.cast(repacked, ctypes.c_void_p)
        params.vocab_only = vocabulary_only
        offload = bool(self._lib.llama_supports_gpu_offload())
        params.n_gpu_layers = config.gpu_layers if config.gpu_layers is not None else (999 if offload else 0)
        self.offloaded = offload and params.n_gpu_layers > 0
        self._shares = None if vocabulary_only else place(self._lib, params, config)
        chosen = suitable_threads(self.summary.parameters)
        self.free_cores = FreeCores(1 if self.offloaded or vocabulary_only or config.threads else chosen)
        if progress is not None:

            def report(fraction: float, data: object) -> bool:
                return progress(fraction)

            callback = self._lib.llama_progress_callback(report)
            params.progress_callback = callback
        native_lines().clear()
        self.summary.verify_same(config.path)
        self.pointer = self._lib.llama_model_load_from_file(os.fsencode(config.path), params)
        if not self.pointer:
            raise ModelLoadError(
                f"{config.path} cannot be loaded: {failure_reason()}", "see `ramify doctor` for this build"
            )
        try:
            self.summary.verify_same(config.path)
            refuse_unfit(self._lib, self.pointer, config.path, self.summary.architecture)
        except ModelLoadError:
            self.close()
            raise
        self.vocabulary = Vocabulary(self.pointer)
        self.window_tokens = int(self._lib.llama_model_n_swa(self.pointer))

    def close(self) -> None:
        """Free the weights; contexts must be closed before."""
        if self.pointer:
            self._lib.llama_model_free(self.pointer)
            self.pointer = None


class Streams(NamedTuple):
    """Number of sequences of a context in which each has `cells` of its own."""

    sequences: int
    cells: int


def flash_attention(model: Model, config: ModelConfig, *, split: bool = False) -> FlashWord:
    """Return whether flash attention is used: on a processor, "auto" leaves it off for short attention heads.

    With cells of its own for each sequence (`split`) there are none to be skipped, and it pays with AVX-512 alone.
    """
    if config.flash_attention != "auto" or model.offloaded or config.kv_types != ("f16", "f16"):
        return config.flash_attention
    if split and not has_avx512():
        return "off"
    length = head_length(model.summary.metadata)
    return "off" if length is not None and length < FLASH_HEAD_LENGTH else "auto"


def sequence_count(model: Model, config: ModelConfig) -> int:
    """Return how many sequences a context gets."""
    most = MAX_SEQUENCES
    if model.summary.parameters < TINY_PARAMETERS:
        # llama.cpp compares all pairs of sequences in each decode, which costs a tiny model much of its time.
        most = min(most, max(MIN_SEQUENCES, 2 * config.max_lanes))
    return int(min(most, max(MIN_SEQUENCES, OUTPUT_BYTES // (4 * model.vocabulary.size))))


class Context:
    """The KV cache and compute state of one model: sequences that share cells, and one decode at a time.

    `streams` are the cells of a context in which sequences share none (see SplitContext), None for one cache.
    `consecutive` says that sequences decoded together should have ids without gaps between them.
    """

    consecutive = False

    def __init__(self, model: Model, config: ModelConfig, streams: Streams | None = None) -> None:
        lib = self._lib = library()
        self._model = model
        self.vocabulary_size = model.vocabulary.size
        trained = int(lib.llama_model_n_ctx_train(model.pointer)) or 512
        self.sequences = sequence_count(model, config) if streams is None else streams.sequences
        self.batch_tokens = max(config.batch_tokens, self.sequences)
        self.states, self.rank = config.states, config.rank
        if self.states or self.rank:
            # llama.cpp then makes a row of logits for each token, whether it is wanted or not.
            fitting = STATE_OUTPUT_BYTES // (4 * self.vocabulary_size)
            self.batch_tokens = max(self.sequences, min(self.batch_tokens, fitting))
            self._width = int(lib.llama_model_n_embd(model.pointer))
        if self.rank:
            self._width = int(lib.llama_model_n_cls_out(model.pointer))
        wanted = config.context_tokens or default_cells(model.summary.metadata)
        params = lib.llama_context_default_params()
        params.n_ctx = max(CELL_STEP, wanted)
        params.n_batch = params.n_ubatch = self.batch_tokens
        params.n_seq_max = self.sequences
        params.n_outputs_max = self.batch_tokens
        params.kv_unified = streams is None
        params.swa_full = True
        params.no_perf = True
        params.embeddings = self.states or self.rank
        params.pooling_type = lib.LLAMA_POOLING_TYPE_RANK if self.rank else lib.LLAMA_POOLING_TYPE_NONE
        params.type_k, params.type_v = (KV_TYPES[name] for name in config.kv_types)
        flash = flash_attention(model, config, split=streams is not None)
        params.flash_attn_type = FLASH_NUMBERS[flash]
        self.threads = config.threads or suitable_threads(model.summary.parameters)
        params.n_threads = params.n_threads_batch = self.threads
        self._free_cores = model.free_cores
        # llama.cpp divides the cells of a single token among the threads, and rounds differently for each number.
        self._steady_singles = flash != "off"
        self._params, self._path = params, config.path
        self.pointer = self._open(streams)
        self.memory = lib.llama_get_memory(self.pointer)
        self.cells = int(lib.llama_n_ctx(self.pointer))
        # It takes no more at once than the cache holds, and aborts on more.
        self.batch_tokens = min(self.batch_tokens, int(lib.llama_n_batch(self.pointer)))
        self.longest_path = min(trained, self.cells if streams is None else wanted)
        skips_cells = streams is None and not model.offloaded and flash != "off"
        self.single_tokens = FLASH_SINGLES if skips_cells else self.batch_tokens
        self._batch = _Batch(lib, self.batch_tokens)
        self._rows_at = 0
        self._rows = np.empty((0, self.vocabulary_size), dtype=np.float32)
        self._flagged: list[bool] = []
        self._sequences: list[int] = []
        try:
            refuse_uncuttable(lib, self.memory, self.decode, config.path, model.summary.architecture)
        except ModelLoadError:
            self.close()
            raise

    def _open(self, streams: Streams | None) -> Any:
        """Return llama.cpp's context for the parameters and these streams.

        Raises:
            ModelLoadError: if it cannot be made.
        """
        if streams is not None:
            self._params.n_ctx = streams.sequences * streams.cells
        native_lines().clear()
        pointer = self._lib.llama_init_from_model(self._model.pointer, self._params)
        if not pointer:
            raise ModelLoadError(
                f"no context can be made for {self._path}: {failure_reason()}", "use fewer context tokens"
            )
        return pointer

    def decode(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> int:
        """Decode a batch; return 0, or 1 if there was no room in the cache (nothing has changed then).

        Raises:
            InternalError: if the batch would make native code abort, or llama.cpp fails it.
        """
        if not 0 < len(tokens) <= self.batch_tokens:
            raise InternalError(f"a batch of {len(tokens)} tokens; 1 to {self.batch_tokens} are possible")
        if min(tokens) < 0 or max(tokens) >= self.vocabulary_size:
            raise InternalError("a token outside the vocabulary")
        if min(sequences) < 0 or max(sequences) >= self.sequences:
            raise InternalError("a sequence id out of range")
        if self.states or self.rank:
            self._flagged, self._sequences, outputs = outputs, sequences, [True] * len(tokens)
        self._share_cores(steady=self._steady_singles and len(tokens) == 1)
        code = self._lib.llama_decode(self.pointer, self._batch.fill(tokens, positions, sequences, outputs))
        if code not in (0, 1):
            raise InternalError(f"llama_decode failed with code {code}: {failure_reason()}")
        return int(code)

    def _share_cores(self, *, steady: bool) -> None:
        """Set the threads of the next decode; `steady` is for one whose result depends on their number."""
        if self._free_cores.most > 1:
            free = self._free_cores.threads()
            threads = self.threads if steady else free
            if threads != self._params.n_threads:
                # A context that is made again, with more cells, begins with this number too.
                self._params.n_threads = self._params.n_threads_batch = threads
                self._lib.llama_set_n_threads(self.pointer, threads, threads)

    def logits(self, rows: int) -> npt.NDArray[np.float32]:
        """Return the rows of the last decode's flagged tokens, in batch order; valid until the next decode.

        They are final hidden states [rows, embedding] in a context for these, and [rows, labels] in one for the
        classifier, where each flagged token must be the last of its sequence.
        """
        if self.rank:
            ended = [each for each, flag in zip(self._sequences, self._flagged, strict=True) if flag]
            found = [self._lib.llama_get_embeddings_seq(self.pointer, sequence) for sequence in ended]
            return np.array([np.ctypeslib.as_array(pointer, shape=(self._width,)) for pointer in found])
        if self.states:
            pointer = self._lib.llama_get_embeddings(self.pointer)
            states = np.ctypeslib.as_array(pointer, shape=(len(self._flagged), self._width))
            return states[self._flagged]
        pointer = self._lib.llama_get_logits(self.pointer)
        address = ctypes.addressof(pointer.contents)
        if address != self._rows_at or rows > len(self._rows):
            # Making an array of a pointer takes longer than a token's arithmetic in a tiny model.
            self._rows_at = address
            self._rows = np.ctypeslib.as_array(pointer, shape=(rows, self.vocabulary_size))
        return self._rows[:rows]

    def logits_beside_states(self) -> npt.NDArray[np.float32]:
        """Return the logits [rows, vocabulary] of the last decode's flagged tokens, in a context for hidden states.

        Raises:
            InternalError: in any other context, or if llama.cpp keeps none.
        """
        pointer = self._lib.llama_get_logits(self.pointer) if self.states else None
        if not pointer:
            raise InternalError("this context has no logits beside its states")
        logits = np.ctypeslib.as_array(pointer, shape=(len(self._flagged), self.vocabulary_size))
        return logits[self._flagged]

    def copy(self, source: int, target: int, length: int) -> None:
        """Let `target`, which must be empty, share the first `length` cells of `source`."""
        self._check(source)
        self._check(target)
        self._lib.llama_memory_seq_cp(self.memory, source, target, 0, length)

    def cut(self, sequence: int, length: int) -> None:
        """Keep only the first `length` cells of a sequence."""
        self._check(sequence)
        if not self._lib.llama_memory_seq_rm(self.memory, sequence, length, -1):
            raise InternalError("this model's memory cannot be cut inside a sequence")

    def state(self, sequence: int) -> bytes:
        """Return the cells of a sequence, for `restore` in a context like this one.

        Raises:
            InternalError: if llama.cpp cannot tell them.
        """
        self._check(sequence)
        size = int(self._lib.llama_state_seq_get_size(self.pointer, sequence))
        buffer = (ctypes.c_uint8 * size)()
        written = int(self._lib.llama_state_seq_get_data(self.pointer, buffer, size, sequence))
        if not written:
            raise InternalError("llama.cpp cannot copy the cells of a sequence")
        return bytes(memoryview(buffer)[:written])

    def restore(self, sequence: int, state: bytes, length: int) -> bool:
        """Fill an empty sequence with cells that `state` returned; False if they are not those of `length` tokens.

        The cells have to come from a context with the same model, types and number of streams: llama.cpp aborts on
        others.
        """
        self._check(sequence)
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        if self._lib.llama_state_seq_set_data(self.pointer, buffer, len(state), sequence):
            if self.length(sequence) == length:
                return True
        self.cut(sequence, 0)
        return False

    def length(self, sequence: int) -> int:
        """Number of cells of a sequence, as llama.cpp counts them."""
        self._check(sequence)
        return int(self._lib.llama_memory_seq_pos_max(self.memory, sequence)) + 1

    def close(self) -> None:
        """Free the cache."""
        if self.pointer:
            self._lib.llama_free(self.pointer)
            self.pointer = None

    def _check(self, sequence: int) -> None:
        if not 0 <= sequence < self.sequences:
            raise InternalError(f"sequence {sequence} is out of range")


class _Batch:
    """A llama_batch over numpy arrays, so that no call for each token is needed to fill it."""

    def __init__(self, lib: Any, size: int) -> None:
        self._token = np.zeros(size, dtype=np.int32)
        self._pos = np.zeros(size, dtype=np.int32)
        self._count = np.ones(size, dtype=np.int32)
        self._seq = np.zeros(size, dtype=np.int32)
        self._output = np.zeros(size, dtype=np.int8)
        int32_p = ctypes.POINTER(ctypes.c_int32)
        rows = (int32_p * (size + 1))()
        base = self._seq.ctypes.data
        for index in range(size):
            rows[index] = ctypes.cast(base + 4 * index, int32_p)
        self._rows = rows
        self._batch = lib.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(int32_p),
            embd=None,
            pos=self._pos.ctypes.data_as(int32_p),
            n_seq_id=self._count.ctypes.data_as(int32_p),
            seq_id=ctypes.cast(rows, ctypes.POINTER(int32_p)),
            logits=self._output.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[bool]) -> Any:
        count = len(tokens)
        self._token[:count] = tokens
        self._pos[:count] = positions
        self._seq[:count] = sequences
        self._output[:count] = outputs
        self._batch.n_tokens = count
        return self._batch


def model_info(model: Model, context: Context, path: str) -> ModelInfo:
    """Describe a loaded model."""
    summary, vocabulary = model.summary, model.vocabulary
    template = summary.metadata.get("tokenizer.chat_template")
    return ModelInfo(
        path=path,
        name=str(summary.metadata.get("general.name", os.path.basename(path))),
        architecture=summary.architecture,
        parameters=summary.parameters,
        token_parameters=summary.token_parameters,
        vocabulary_size=vocabulary.size,
        context_tokens=context.longest_path,
        cells=context.cells,
        offloaded=model.offloaded,
        chat_template=template if isinstance(template, str) else None,
        bos=vocabulary.bos(),
        eos=vocabulary.eos(),
        add_bos=vocabulary.adds_bos(),
        window_tokens=model.window_tokens,
        metadata=summary.metadata,
    )
