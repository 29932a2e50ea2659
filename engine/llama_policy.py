"""The policy and the reward's token scorer over slots of the llama.cpp runtime."""

from __future__ import annotations

from ramify.engine.errors import QuestionTooLong
from ramify.engine.prompts import PromptFormat
from ramify.engine.runtime.client import Slot
from ramify.engine.runtime.messages import SamplingParams


class LlamaPolicy:
    """A GGUF model that writes steps, in the format that its prompt asks for."""

    def __init__(self, slot: Slot, prompt: PromptFormat, name: str) -> None:
        self._slot = slot
        self._prompt = prompt
        self.name = name

    @property
    def parameters(self) -> int:
        """Number of weights in the file."""
        return self._slot.info.parameters

    @property
    def context_tokens(self) -> int:
        """Longest path, prompt included."""
        return self._slot.context_tokens

    async def open(self, question: str, sampling: SamplingParams) -> LlamaPolicySession:
        """Start a session.

        Raises:
            QuestionTooLong: if the prompt leaves no room in the context.
            UsageError: if the question is empty.
        """
        prompt = self._prompt.encode(question, self._slot.tokenizer)
        if len(prompt) >= self.context_tokens:
            raise QuestionTooLong(len(prompt), self.context_tokens)
        handle = await self._slot.open_run(prompt)
        return LlamaPolicySession(handle, self._prompt, len(prompt), sampling)
