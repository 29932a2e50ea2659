"""Grammars of llama.cpp: which tokens may follow a text that is written in one."""

from __future__ import annotations

import ctypes
from typing import Any
from weakref import finalize

import numpy as np
import numpy.typing as npt

from ramify.errors import UsageError

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Grammar:
    """A text that is being written in a grammar, from its start.

    `lib` is the binding of llama.cpp, `vocabulary` its vocabulary, None to check the grammar alone; `source` is in the
    notation GBNF, its first rule `root`.

    Raises:
        UsageError: if it is no grammar.
    """

    def __init__(self, lib: Any, vocabulary: Any, source: str) -> None:
        sampler = lib.llama_sampler_init_grammar(vocabulary, source.encode(), b"root")
        if not sampler:
            raise UsageError("the grammar of the answer cannot be read", "simplify the schema")
        self._take(lib, sampler)

    def _take(self, lib: Any, sampler: Any) -> None:
        self._lib, self._sampler = lib, sampler
        finalize(self, lib.llama_sampler_free, sampler)

    def copy(self) -> Grammar:
        """Return an independent copy."""
        other = Grammar.__new__(Grammar)
        other._take(self._lib, self._lib.llama_sampler_clone(self._sampler))
        return other

    def accept(self, token: int) -> None:
        """Append a token, one that may follow."""
        self._lib.llama_sampler_accept(self._sampler, token)

    def mask(self, row: npt.NDArray[np.float32]) -> None:
        """Set the logits of the tokens to -inf that may not follow; an end is one that follows a whole text."""
        candidates = np.empty(len(row), _CANDIDATE)
        candidates["id"], candidates["logit"], candidates["p"] = np.arange(len(row)), row, 0.0
        data = ctypes.cast(candidates.ctypes.data, self._lib.llama_token_data_p)
        array = self._lib.llama_token_data_array(data=data, size=len(row), selected=-1, sorted=False)
        self._lib.llama_sampler_apply(self._sampler, ctypes.byref(array))
        row[:] = candidates["logit"]
