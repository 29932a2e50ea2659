"""A language model behind an OpenAI-compatible endpoint as the judge of steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ramify.errors import RewardError, UsageError
from ramify.reward.protocol import ScoredStep, ScoreUsage

from ..policy.remote.address import KEY_VARIABLES, ApiKey, check_sendable, key_from_environment
from ..policy.remote.address import parse_address as parse_remote_address
from ..policy.remote.http import HttpError, Refused, Transport, Unreachable
from ..policy.remote.pool import Endpoint, EndpointPool, RetryPolicy
from ..policy.remote.server_reply import ServerUsage, read_reply
from .endpoint_session import PARALLEL_REQUESTS, EndpointSession

ATTEMPTS = 3
PAUSE_S = 0.5
"""Time before the second attempt; it doubles with each further one."""

CONNECT_S = 10.0
SILENCE_S = 120.0
"""Longest time in seconds for the endpoint to take a connection, and to answer."""

INSTRUCTION = (
    "You grade the reasoning of a solution in progress. Read the problem and the steps so far, check each step, and "
    "judge how likely it is that a careful solver who goes on from here reaches the right final answer. Think "
    "briefly, then end with one line of the form\nScore: N\nwhere N is a whole number from 0 (certainly wrong) to 10 "
    "(certainly right)."
)
_SCORE = re.compile(
    r"score(?:[\s*`]|__)*(?:[:=](?:[\s*`]|__)*)?(\d+(?:\.\d+)?)(?:[*`]|__)*(?:\s*/\s*(?:[*`]|__)*(\d+))?", re.IGNORECASE
)
"""A grade, in Markdown or not: `Score: 8`, `**Score**: 8/10`."""
_WRONG_ADDRESS = f"check the address, the model's name and {KEY_VARIABLES[-1]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAddress:
    """Address of a judge: the endpoint's base address, such as http://localhost:8000/v1, and the model's name there."""

    url: str
    model: str


def parse_address(text: str) -> JudgeAddress:
    """Return the address in `openai:URL#MODEL`.

    Raises:
        UsageError: if it is not of this form, names several servers or holds a password.
    """
    found = parse_remote_address(text, "names no judge")
    if len(found.urls) != 1:
        raise UsageError("a judge is asked at one address", "leave out the others")
    return JudgeAddress(url=found.urls[0], model=found.model)


class JudgeReward:
    """Asks a remote model to grade each path from 0 to 10; the score is a tenth of the grade.

    Tokens are those that the endpoint reports. `parameters` is 0, as they are not known. `key` None means that of the
    environment, "" none.

    Raises:
        UsageError: if the key is none, or would be sent unencrypted.
    """

    parameters = 0

    def __init__(
        self, address: JudgeAddress, *, instruction: str = INSTRUCTION, max_tokens: int = 512, key: str | None = None
    ) -> None:
        self.address = address
        self.name = f"judge {address.model}"
        self._instruction = instruction
        self._max_tokens = max_tokens
        secret = key_from_environment() if key is None else ApiKey(key) if key else None
        check_sendable(secret, address.url)
        transport = Transport(url=address.url, key=secret, connect_s=CONNECT_S, silence_s=SILENCE_S)
        retry = RetryPolicy(attempts=ATTEMPTS, pause_s=PAUSE_S)
        self._pool = EndpointPool([Endpoint(transport, PARALLEL_REQUESTS)], retry)

    async def open(self, question: str) -> EndpointSession:
        """Start a session."""
        return EndpointSession(self, question, per_request=1)

    async def ask(self, question: str, steps: Sequence[ScoredStep]) -> tuple[list[float], ScoreUsage]:
        """Return the score of one path, and its usage.

        Raises:
            RewardError: if the endpoint cannot be reached, refuses, or does not grade.
        """
        (step,) = steps
        body = {
            "model": self.address.model,
            "messages": [
                {"role": "system", "content": self._instruction},
                {"role": "user", "content": f"Problem:\n{question}\n\nSteps so far:\n{''.join(step.path).strip()}"},
            ],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        try:
            data = await self._pool.send(lambda endpoint: endpoint.transport.request("/chat/completions", body))
        except Refused as error:
            raise self._failed(step, f"it answered {error}") from None
        except HttpError as error:
            raise self._failed(step, f"it cannot be reached ({error})") from None
        score, usage = self._read(data or b"", step)
        return [score], usage

    def _read(self, data: bytes, step: ScoredStep) -> tuple[float, ScoreUsage]:
        try:
            reply = read_reply(data)
        except Unreachable as error:
            raise self._failed(step, str(error)) from None
        text = reply.choices[0].written() if reply.choices else ""
        used = reply.usage or ServerUsage()
        usage = ScoreUsage(evaluated_tokens=used.prompt_tokens, generated_tokens=used.completion_tokens)
        return self._grade(text, step), usage

    def _grade(self, text: str, step: ScoredStep) -> float:
        grades = _SCORE.findall(text)
        if not grades:
            raise self._failed(
                step, f"its answer has no score ({text[-60:]!r})", "choose a model that follows instructions"
            )
        value, scale = grades[-1]
        return min(1.0, float(value) / (float(scale or 10) or 10.0))

    def _failed(self, step: ScoredStep, why: str, remedy: str = _WRONG_ADDRESS) -> RewardError:
        return RewardError(
            f"{self.name} at {self.address.url} gave no score for node {step.node}: {why}; {remedy}",
            node=step.node,
        )
