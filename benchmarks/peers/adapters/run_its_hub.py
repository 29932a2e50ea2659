"""its_hub: self-consistency, beam search and particle filtering, with its own client of OpenAI-compatible servers."""

from __future__ import annotations

import asyncio
from typing import Any

from common import Settings, Solve, answer_in, run
from its_hub.api import AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.algorithms.particle_gibbs import ParticleFiltering
from its_hub.core.algorithms.self_consistency import SelfConsistency
from its_hub.core.lms.openai_lm import OpenAICompatibleLanguageModel
from its_hub.core.lms.step_generation import StepGeneration

MAX_STEPS = 12
BEAM_WIDTH = 4


class Reward(AbstractProcessRewardModel):
    """The endpoint's reward in its_hub's form: one score for each text so far."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def score(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
        """Return the scores."""
        return self._settings.score(str(prompt_or_messages), steps)

    async def ascore(self, prompt_or_messages: Any, steps: list[str]) -> list[float]:
        """Return the scores without holding up the event loop."""
        return await asyncio.to_thread(self.score, prompt_or_messages, steps)


def answer_of(text: str) -> str:
    """Return the answer that is voted on."""
    return answer_in(text) or text.strip()


def prepare(settings: Settings) -> Solve:
    """Build the algorithm; a problem is one call of it."""
    steps = StepGeneration(
        max_steps=MAX_STEPS, step_token="\n", stop_token="The answer is", temperature=settings.temperature
    )
    width = min(BEAM_WIDTH, max(1, settings.samples // 2))
    algorithm = {
        "self-consistency": lambda: SelfConsistency(answer_of),
        "beam": lambda: BeamSearch(steps, Reward(settings), beam_width=width),
        "particle": lambda: ParticleFiltering(steps, Reward(settings)),
    }[settings.method]()

    async def solve(question: str) -> dict[str, Any]:
        model = OpenAICompatibleLanguageModel(
            endpoint=f"{settings.url}/v1",
            api_key=settings.key,
            model_name="policy",
            max_completion_tokens=settings.max_tokens,
            temperature=settings.temperature,
        )
        async with model:
            reply = await algorithm.ainfer(model, question, budget=settings.samples)
        return {"text": reply["content"]}

    return lambda question: asyncio.run(solve(question))


if __name__ == "__main__":
    run(prepare)
