"""Vocabulary of a model at the engine's end of the worker's pipe: that of the worker, and one that is loaded here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import from_thread

from ramify.errors import ModelLoadError

from ..llama.config import ModelConfig
from ..llama.gguf_check import GgufSummary

if TYPE_CHECKING:
    from ..llama.native import Model
    from ..llama.vocabulary import Vocabulary

AskWorker = Callable[[str | int, bool], Coroutine[Any, Any, tuple[tuple[int, bytes], ...]]]
"""Asks the worker for the tokens of a text, or for one token, with their bytes; the flag allows special ones."""


class SharedVocabulary:
    """Vocabulary of a file, loaded without weights at its first use, once for all models of that file.

    A large one takes half a second. Until it is needed for more than a prompt, the worker's can be asked.
    """

    def __init__(self, config: ModelConfig, summary: GgufSummary) -> None:
        self._config, self._summary = config, summary
        self._lock = threading.Lock()
        self._model: Model | None = None
        self._begun = False

    @property
    def loaded(self) -> bool:
        """True if `load` returns at once."""
        return self._model is not None

    def load(self) -> Vocabulary:
        """Return the vocabulary, loaded at the first call; blocks meanwhile.

        Raises:
            ModelLoadError: if the file has been exchanged.
        """
        from ..llama.native import Model

        with self._lock:
            if self._model is None:
                self._model = Model(self._config, self._summary, vocabulary_only=True)
            return self._model.vocabulary

    def load_ahead(self) -> None:
        """Load the vocabulary in a thread, at the first call only; an error comes out of `load`."""
        if self._begun:
            return
        self._begun = True

        def load() -> None:
            with suppress(ModelLoadError):
                self.load()

        threading.Thread(target=load, daemon=True, name="ramify-vocabulary").start()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return token ids; see `Tokenizer`."""
        return self.load().encode(text, special=special)

    def piece(self, id: int, /) -> bytes:
        """Return the bytes of a token; see `Tokenizer`."""
        return self.load().piece(id)

    def close(self) -> None:
        """Free the vocabulary; a load in progress is waited for."""
        with self._lock:
            if self._model is not None:
                self._model.close()
                self._model = None


class WorkerVocabulary:
    """The worker's vocabulary, for use in threads that anyio has started; each call waits for the worker."""

    def __init__(self, ask: AskWorker) -> None:
        self._ask = ask
        self._tokens: dict[tuple[str, bool], tuple[int, ...]] = {}
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return token ids; see `Tokenizer`."""
        found = self._tokens.get((text, special))
        if found is None:
            told = from_thread.run(self._ask, text, special)
            self._pieces.update(told)
            found = self._tokens[text, special] = tuple(token for token, _ in told)
        return list(found)

    def piece(self, id: int, /) -> bytes:
        """Return the bytes of a token; see `Tokenizer`."""
        if id not in self._pieces:
            self._pieces.update(from_thread.run(self._ask, id, True))
        return self._pieces[id]
