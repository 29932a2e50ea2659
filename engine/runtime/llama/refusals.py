"""Refusal of models and contexts whose use would abort the process, or go wrong later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ramify.errors import ModelLoadError


def refuse_unfit(lib: Any, model: Any, path: str, architecture: str) -> None:
    """Refuse a loaded model whose use would abort or go wrong later.

    Raises:
        ModelLoadError: if it has no vocabulary, does not write from left to right, or keeps a state that cannot be cut.
    """
    vocabulary = lib.llama_model_get_vocab(model)
    if lib.llama_vocab_type(vocabulary) == lib.LLAMA_VOCAB_TYPE_NONE or not lib.llama_vocab_n_tokens(vocabulary):
        raise ModelLoadError(f"{path} has no vocabulary", "convert it again together with its tokenizer")
    if lib.llama_model_has_encoder(model) or not lib.llama_model_has_decoder(model):
        raise ModelLoadError(f"{path} is not a decoder-only language model", "use one that generates text by itself")
    if lib.llama_model_is_diffusion(model):
        raise ModelLoadError(
            f"{path} is a diffusion model ({architecture}), which does not write from left to right", "use another one"
        )
    # Their state cannot be cut at any token, and trees need that.
    if lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model):
        raise ModelLoadError(
            f"{path} is a recurrent model ({architecture}), which trees cannot branch", "use another one"
        )


def refuse_uncuttable(lib: Any, memory: Any, decode: Callable[..., int], path: str, architecture: str) -> None:
    """Refuse a context whose sequences cannot be cut at any token, which trees need; tried with two tokens.

    Raises:
        ModelLoadError: if it cannot be done, or the model does not work at all.
    """
    if not memory:
        raise ModelLoadError(f"{path} keeps no KV cache ({architecture})", "use a model that generates text")
    try:
        decode([0, 0], [0, 1], [0, 0], [False, True])
    except RuntimeError as error:
        raise ModelLoadError(f"{path} does not work: {error}", "its file may be damaged") from error
    cut = lib.llama_memory_seq_rm(memory, 0, 1, -1)
    lib.llama_memory_clear(memory, False)
    if not cut:
        raise ModelLoadError(f"{path} keeps a state ({architecture}) in which trees cannot branch", "use another model")
