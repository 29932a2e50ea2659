"""ramify itself: in its own process, through the endpoint, or in front of llama-server.

The method is `PLACE/STRATEGY`. Through the endpoint both models are there; with llama-server the reward is local.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from anyio.from_thread import start_blocking_portal
from common import Settings, Solve, run

import ramify
from ramify.engine.policy.protocol import PolicyModel
from ramify.engine.policy.remote.policy import RemotePolicy, RemoteSettings
from ramify.reward.callable import CallableReward
from ramify.search.registry import make_strategy


def prepare(settings: Settings, stack: ExitStack) -> Solve:
    """Open the engine on `stack`, and return the solver of one problem."""
    place, _, name = settings.method.partition("/")
    portal = stack.enter_context(start_blocking_portal())

    async def connect() -> PolicyModel:
        return await RemotePolicy.connect(
            f"openai:{settings.url}/v1#policy",
            prompt_preset="chat:plain",
            step_format="line",
            settings=RemoteSettings(parallel=settings.samples),
        )

    def scores(question: str, paths: list[tuple[str, ...]]) -> list[float]:
        return settings.score(question, ["".join(path) for path in paths])

    strategy = make_strategy(name, width=settings.samples)
    model: Any = settings.model if place == "in-process" else portal.call(connect)
    reward: Any = CallableReward(scores, batch=True) if place == "endpoint" else settings.reward
    if not strategy.uses_reward:
        reward = None
    # A remote policy has its own prompt already.
    preset = settings.prompt_preset or None if place == "in-process" else None
    unopened = ramify.Engine(model=model, reward=reward, threads=settings.threads, prompt_preset=preset)
    engine = stack.enter_context(portal.wrap_async_context_manager(unopened))
    budget = ramify.Budget(generated_tokens=settings.budget_tokens)

    async def search(question: str) -> ramify.Solution:
        return await engine.solve(
            question,
            strategy=strategy,
            budget=budget,
            seed=settings.seed,
            max_path_tokens=settings.max_tokens,
            sampling=ramify.SamplingParams(temperature=settings.temperature),
        )

    def solve(question: str) -> dict[str, Any]:
        found = portal.call(search, question)
        policy, judge = found.usage.policy, found.usage.reward
        usage = {
            "generated_tokens": policy.generated_tokens,
            "prompt_tokens": policy.prompt_tokens + policy.reevaluated_tokens,
            "reward_tokens": judge.evaluated_tokens,
        }
        return {"answer": found.answer, **({} if place == "endpoint" else {"usage": usage})}

    return solve


if __name__ == "__main__":
    with ExitStack() as opened:
        run(lambda settings: prepare(settings, opened))
