"""Token scorer of a reward model over the llama.cpp runtime."""

from __future__ import annotations

from collections.abc import Sequence

from ramify.errors import RewardError
from ramify.reward.protocol import ScoreJob, ScoreRow

from ..runtime.messages import ReadRequest
from ..runtime.serve.handle import RunHandle
from ..runtime.serve.loaded_model import LoadedModel


class LlamaScorer:
    """Runs a reward model's tokens in a loaded model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    async def open_run(self, prompt: Sequence[int]) -> LlamaScorerRun:
        """Start a question whose paths start with `prompt`."""
        return LlamaScorerRun(await self._model.open_run(prompt))


class LlamaScorerRun:
    """One question's paths in the reward model."""

    def __init__(self, run: RunHandle) -> None:
        self._run = run

    async def evaluate(self, jobs: Sequence[ScoreJob]) -> list[ScoreRow]:
        """Evaluate what is new of each path.

        Raises:
            RewardError: if a path does not fit the context.
        """
        requests = [
            ReadRequest(node=job.node, parent=job.parent, tokens=job.tokens, read=job.read, ids=job.ids, what=job.what)
            for job in jobs
        ]
        rows = await self._run.read(requests)
        for row in rows:
            if row.too_long:
                raise RewardError(f"the path to node {row.node} does not fit the reward's context", node=row.node)
        return [
            ScoreRow(
                node=row.node,
                logits=row.logits,
                evaluated_tokens=row.evaluated_tokens,
                cached_tokens=row.cached_tokens,
                reevaluated_tokens=row.reevaluated_tokens,
            )
            for row in rows
        ]

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is cached for these nodes."""
        self._run.release(nodes)

    async def close(self) -> None:
        """Free all of the run."""
        self._run.close()
