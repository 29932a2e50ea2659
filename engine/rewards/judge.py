"""A language model behind an OpenAI-compatible endpoint as the judge of steps."""

from __future__ import annotations

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
from pydantic import BaseModel, ValidationError

from ramify.engine.errors import UsageError
from ramify.reward.checks import checked_scores
from ramify.reward.errors import RewardError
from ramify.reward.protocol import ScoredStep, ScoreUsage

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the key that is sent, if it is set."""

PREFIX = "openai:"
PARALLEL_REQUESTS = 8
ATTEMPTS = 3
PAUSE_S = 0.5
"""Time before the second attempt; it doubles with each further one."""

TIMEOUT_S = 120.0
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
"""HTTP codes that may pass."""

INSTRUCTION = (
    "You grade the reasoning of a solution in progress. Read the problem and the steps so far, check each step, and "
    "judge how likely it is that a careful solver who goes on from here reaches the right final answer. Think "
    "briefly, then end with one line of the form\nScore: N\nwhere N is a whole number from 0 (certainly wrong) to 10 "
    "(certainly right)."
)
_SCORE = re.compile(r"score\s*[:=]?\s*\**\s*(\d+(?:\.\d+)?)\s*(?:/\s*(\d+))?", re.IGNORECASE)


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Tokens(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Reply(BaseModel):
    choices: list[_Choice]
    usage: _Tokens | None = None


class _Refused(Exception):
    """Raised when the endpoint answers with an error."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeAddress:
    """Where a judge is: the endpoint's base address, such as http://localhost:8000/v1, and the model's name there."""

    url: str
    model: str


def parse_address(text: str) -> JudgeAddress:
    """Return the address in `openai:URL#MODEL`.

    Raises:
        UsageError: if it is not of this form.
    """
    url, mark, model = text.removeprefix(PREFIX).rpartition("#")
    if not mark or not model or not url.startswith(("http://", "https://")):
        raise UsageError(f"{text!r} names no judge", "write it as openai:http://HOST:PORT/v1#MODEL")
    return JudgeAddress(url=url.rstrip("/"), model=model)


class JudgeReward:
    """Asks a remote model to grade each path from 0 to 10; the score is a tenth of the grade.

    Tokens are those that the endpoint reports. `parameters` is 0, as they are not known.
    """

    parameters = 0

    def __init__(
        self, address: JudgeAddress, *, instruction: str = INSTRUCTION, max_tokens: int = 512, key: str | None = None
    ) -> None:
        self.address = address
        self.name = f"judge {address.model}"
        self._instruction = instruction
        self._max_tokens = max_tokens
        self._key = os.environ.get(KEY_VARIABLE) if key is None else key

    async def open(self, question: str) -> JudgeSession:
        """Start a session."""
        return JudgeSession(self, question)

    async def ask(self, question: str, step: ScoredStep) -> tuple[float, ScoreUsage]:
        """Return the score of one path and what it cost.

        Raises:
            RewardError: if the endpoint cannot be reached, refuses, or does not grade.
        """
        body = {
            "model": self.address.model,
            "messages": [
                {"role": "system", "content": self._instruction},
                {"role": "user", "content": f"Problem:\n{question}\n\nSteps so far:\n{''.join(step.path).strip()}"},
            ],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        for attempt in range(1, ATTEMPTS + 1):
            try:
                reply = await anyio.to_thread.run_sync(self._post, body, abandon_on_cancel=True)
                return self._read(reply, step)
            except _Refused as error:
                if attempt == ATTEMPTS or error.code not in RETRIED:
                    raise self._failed(step, f"it answered {error}") from error
            except (OSError, TimeoutError) as error:
                if attempt == ATTEMPTS:
                    raise self._failed(step, f"it cannot be reached ({error})") from error
            await anyio.sleep(PAUSE_S * 2 ** (attempt - 1))
        raise AssertionError("the last attempt returns or raises")

    def _post(self, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(
            f"{self.address.url}/chat/completions", data=json.dumps(body).encode(), headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            with error:
                raise _Refused(error.code, error.reason) from None

    def _read(self, data: bytes, step: ScoredStep) -> tuple[float, ScoreUsage]:
        try:
            reply = _Reply.model_validate_json(data)
        except ValidationError as error:
            raise self._failed(step, "it does not answer as an OpenAI-compatible endpoint does") from error
        text = (reply.choices[0].message.content if reply.choices else None) or ""
        used = reply.usage or _Tokens()
        usage = ScoreUsage(evaluated_tokens=used.prompt_tokens, generated_tokens=used.completion_tokens)
        return self._grade(text, step), usage

    def _grade(self, text: str, step: ScoredStep) -> float:
        grades = _SCORE.findall(text)
        if not grades:
            raise self._failed(step, f"its answer has no score ({text[-60:]!r})")
        value, scale = grades[-1]
        return min(1.0, float(value) / (float(scale or 10) or 10.0))

    def _failed(self, step: ScoredStep, why: str) -> RewardError:
        return RewardError(
            f"{self.name} at {self.address.url} gave no score for node {step.node}: {why}; check the address, the "
            f"model's name and {KEY_VARIABLE}",
            node=step.node,
        )


class JudgeSession:
    """The paths of one question; nothing is held for them."""

    def __init__(self, reward: JudgeReward, question: str) -> None:
        self._reward = reward
        self._question = question
        self.usage = ScoreUsage()
        """Tokens that the endpoint has reported."""

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardError: if the endpoint fails on one of them.
        """
        scores: dict[int, float] = {}
        failures: list[RewardError] = []
        limiter = anyio.CapacityLimiter(PARALLEL_REQUESTS)

        async def ask(step: ScoredStep) -> None:
            async with limiter:
                if failures:
                    return
                try:
                    scores[step.node], usage = await self._reward.ask(self._question, step)
                    self.usage += usage
                except RewardError as error:
                    failures.append(error)

        async with anyio.create_task_group() as tasks:
            for step in steps:
                tasks.start_soon(ask, step)
        if failures:
            raise failures[0]
        return checked_scores(self._reward.name, steps, [scores[step.node] for step in steps])

    async def release(self, nodes: Sequence[int]) -> None:
        """Do nothing; nothing is held."""

    async def close(self) -> None:
        """Do nothing; nothing is held."""
