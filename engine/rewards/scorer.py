"""Token scorer of a reward model, over the llama.cpp runtime."""

from __future__ import annotations

from collections.abc import Sequence

from ramify.errors import RewardError
from ramify.reward.protocol import ReadRequest, ReadResult

from ..runtime.serve.loaded_model import LoadedModel
from ..runtime.serve.token_tree import TokenTree


class LlamaScorer:
    """Evaluates a reward model's tokens in a loaded model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    async def open_run(self, prompt: Sequence[int]) -> LlamaScorerRun:
        """Start a question whose paths start with `prompt`.

        Raises:
            QuestionTooLong: if the prompt does not fit the context.
        """
        return LlamaScorerRun(await self._model.open_run(prompt))


class LlamaScorerRun:
    """One question's paths in the reward model."""

    def __init__(self, tree: TokenTree) -> None:
        self._tree = tree

    async def evaluate(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Evaluate the new tokens of each path; results are in the order of the requests.

        Raises:
            RewardError: if a path does not fit the context.
        """
        results = await self._tree.read(requests)
        for result in results:
            if result.too_long:
                raise RewardError(f"the path to node {result.node} does not fit the reward's context", node=result.node)
        return results

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        self._tree.release(nodes)

    async def close(self) -> None:
        """Free all of the run."""
        self._tree.close()
