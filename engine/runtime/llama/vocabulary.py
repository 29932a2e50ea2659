"""Vocabulary of a loaded model: text to tokens and back."""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

from ramify.answers.thoughts import KNOWN_MARKS
from ramify.errors import InternalError, ModelLoadError
from ramify.tools.forms import CONTROL_MARKS

from .grammar import Grammar
from .library import library


class Vocabulary:
    """Vocabulary of a loaded model: text to tokens and back. The weights are not needed."""

    def __init__(self, model: Any) -> None:
        self._lib = library()
        self._vocab = self._lib.llama_model_get_vocab(model)
        self.size = int(self._lib.llama_vocab_n_tokens(self._vocab))
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self._is_end: dict[int, bool] = {}

    def grammar(self, source: str) -> Grammar:
        """Return a text in a grammar, from its start; see Grammar.

        Raises:
            UsageError: if it is no grammar.
        """
        return Grammar(self._lib, self._vocab, source)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return token ids without a leading BOS; `special` says whether special tokens in `text` are recognised.

        A lone surrogate, which UTF-8 cannot express, becomes a question mark.
        """
        data = text.encode("utf-8", "replace")
        if not data:
            return []
        room = len(data) + 16
        buffer = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), buffer, room, False, special)
        if count < 0:
            raise ModelLoadError("the model's vocabulary cannot express the text", "use another model")
        return list(buffer[:count])

    def piece(self, id: int, /, *, special: bool = True) -> bytes:
        """Return a token's bytes; a control token gives its text, or nothing without `special`.

        Marks of thoughts and of calls of tools give their text always.
        """
        key = (id, special)
        found = self._pieces.get(key)
        if found is None:
            if not 0 <= id < self.size:
                raise InternalError(f"token {id} is not in the vocabulary of {self.size}")
            room = 64
            while True:
                buffer = ctypes.create_string_buffer(room)
                length = self._lib.llama_token_to_piece(self._vocab, id, buffer, room, 0, special or id in self._marks)
                if length >= 0:
                    break
                room = -length
            found = self._pieces[key] = buffer.raw[:length]
        return found

    @cached_property
    def _marks(self) -> frozenset[int]:
        """Tokens that are marks of thoughts or of calls of tools, and those that marks of channels are made of."""
        thoughts = [text for each in KNOWN_MARKS for text in (each.open, each.close)]
        found = [self.encode(text, special=True) for text in (*thoughts, *CONTROL_MARKS)]
        marks = {tokens[0] for tokens in found if len(tokens) == 1}
        channels = [self.encode(text, special=True) for text in ("<|channel|>", "<|message|>", "<|start|>", "<|end|>")]
        if all(len(tokens) == 1 for tokens in channels):
            marks |= {tokens[0] for tokens in channels}
        return frozenset(marks)

    @cached_property
    def ends(self) -> frozenset[int]:
        """Tokens that end a text; the first use looks at each token, which takes a large vocabulary 0.1 s."""
        return frozenset(id for id in range(self.size) if self._lib.llama_vocab_is_eog(self._vocab, id))

    def is_end(self, id: int) -> bool:
        """Tell whether the token ends a text."""
        found = self._is_end.get(id)
        if found is None:
            found = self._is_end[id] = bool(self._lib.llama_vocab_is_eog(self._vocab, id))
        return found

    def bos(self) -> int:
        """Id of the begin-of-sequence token, -1 if there is none."""
        return int(self._lib.llama_vocab_bos(self._vocab))

    def eos(self) -> int:
        """Id of the end-of-sequence token, -1 if there is none."""
        return int(self._lib.llama_vocab_eos(self._vocab))

    def adds_bos(self) -> bool:
        """Tell whether prompts should start with the begin-of-sequence token."""
        return bool(self._lib.llama_vocab_get_add_bos(self._vocab))
