"""Scores of partial and whole texts for many clients from one reward, with paths kept between requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio

from ramify import extract_answer
from ramify.engine.policy.prompts.prompt_format import PromptFormat
from ramify.reward.protocol import RewardModel, RewardSession, ScoredStep


@dataclass(slots=True)
class _Question:
    session: RewardSession
    known: dict[tuple[str, ...], tuple[int, float]] = field(default_factory=dict[tuple[str, ...], tuple[int, float]])
    lock: anyio.Lock = field(default_factory=anyio.Lock)


class ScoreService:
    """Scores texts with `reward`, step by step as `prompt` cuts them."""

    def __init__(self, reward: RewardModel, prompt: PromptFormat) -> None:
        self._reward = reward
        self._prompt = prompt
        self._open: dict[tuple[str, str], _Question] = {}

    async def score(self, peer: str, question: str, texts: Sequence[str]) -> tuple[list[float], int]:
        """Return the score of each text after its last step, and the tokens that it took.

        Raises:
            RewardError: if a text cannot be scored.
        """
        key = (peer, question.strip())
        if key not in self._open:
            session = await self._reward.open(key[1])
            if self._open.setdefault(key, _Question(session)).session is not session:
                await session.close()
        asked = self._open[key]
        paths = [self.steps(text) for text in texts]
        async with asked.lock:
            before = _tokens(asked.session)
            new = [path for path in dict.fromkeys(paths) if path not in asked.known]
            steps = [_scored(asked, path, len(asked.known) + number) for number, path in enumerate(new, 1)]
            for step, score in zip(steps, await asked.session.score(steps) if steps else [], strict=True):
                asked.known[step.path] = (step.node, score)
            return [asked.known[path][1] for path in paths], _tokens(asked.session) - before

    def steps(self, text: str) -> tuple[str, ...]:
        """Return the steps of a text; clients lose the newline that ended a step, and it is put back."""
        if self._prompt.step.name == "line" and not text.endswith("\n") and extract_answer(text) is None:
            text += "\n"
        return tuple(self._prompt.split(text))

    async def forget(self, peer: str) -> None:
        """Free all that is kept for a client."""
        for key in [key for key in self._open if key[0] == peer]:
            await self._open.pop(key).session.close()


def _scored(asked: _Question, path: tuple[str, ...], node: int) -> ScoredStep:
    above = next((path[:end] for end in range(len(path) - 1, 0, -1) if path[:end] in asked.known), None)
    return ScoredStep(node=node, parent=None if above is None else asked.known[above][0], path=path)


def _tokens(session: RewardSession) -> int:
    usage = session.usage
    return usage.evaluated_tokens + usage.reevaluated_tokens + usage.generated_tokens
