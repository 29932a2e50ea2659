"""Rewards with added noise, which show how accurate a reward must be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from statistics import NormalDist

from ramify.errors import RewardSpecError

from .protocol import RewardModel, RewardSession, ScoredStep, ScoreUsage

NOISY = "noisy:"
"""`noisy:2:demo-prm` names the reward demo-prm with normal noise of standard deviation 2 on its logits."""
_CERTAINTY = 1e-6
_STANDARD = NormalDist()


def split_noisy(name: str) -> tuple[float, str]:
    """Return the standard deviation and the inner reward's name.

    Raises:
        RewardSpecError: if it is not of the form noisy:SIGMA:REWARD, with a finite SIGMA from 0.
    """
    text, _, inner = name.removeprefix(NOISY).partition(":")
    try:
        sigma = float(text)
    except ValueError:
        sigma = math.nan
    if not (0 <= sigma < math.inf and inner):
        raise RewardSpecError(f"{name!r} is no reward with noise; write it like noisy:2:demo-prm")
    return sigma, inner


def noise(question: str, path: Sequence[str], seed: int = 0) -> float:
    """Return a draw from the standard normal that depends on the seed, the question and the text of the path alone."""
    key = "\x1f".join([str(seed), question, "".join(path)]).encode("utf-8", "surrogatepass")
    whole = int.from_bytes(blake2b(key, digest_size=6).digest(), "little")
    return _STANDARD.inv_cdf((whole + 0.5) / 2**48)


def disturbed(score: float, shift: float) -> float:
    """Return a score in [0, 1] whose logit is moved by `shift`; exactly the same without one."""
    if not shift:
        return score
    share = min(1 - _CERTAINTY, max(_CERTAINTY, score))
    logit = math.log(share / (1 - share)) + shift
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


class NoisyReward:
    """A reward model with normal noise of standard deviation `sigma` on the logits of its scores.

    Equal paths of one question always get the same noise, as a reward model's own errors are a function of its
    input. Cost and usage are those of `inner`.
    """

    def __init__(self, inner: RewardModel, sigma: float, *, seed: int = 0) -> None:
        self.inner = inner
        self.sigma = sigma
        self.seed = seed
        self.name = f"{NOISY}{sigma:g}:{inner.name}"
        self.parameters = inner.parameters

    async def open(self, question: str) -> NoisySession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone is too long.
        """
        return NoisySession(self, question, await self.inner.open(question))


class NoisySession:
    """A question of a NoisyReward."""

    def __init__(self, reward: NoisyReward, question: str, inner: RewardSession) -> None:
        self._reward = reward
        self._question = question
        self._inner = inner

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        return self._inner.usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
            RewardError: if a path cannot be scored.
        """
        values = await self._inner.score(steps)
        return [
            disturbed(value, self._reward.sigma * noise(self._question, step.path, self._reward.seed))
            for step, value in zip(steps, values, strict=True)
        ]

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes."""
        await self._inner.release(nodes)

    async def close(self) -> None:
        """Free the whole session."""
        await self._inner.close()
