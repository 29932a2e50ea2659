"""Test doubles: a scripted reward, and a vocabulary and a token scorer without a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import anyio

from ramify.errors import InternalError, RewardError

from .protocol import ReadRequest, ReadResult, ScoredStep, ScoreUsage
from .scores import checked_scores

Script = Mapping[str, float] | Mapping[tuple[str, ...], float] | Callable[[str, tuple[str, ...]], float]


class ScriptedReward:
    """A reward that reads its scores from a script.

    `script` is a function of (question, step texts), or a mapping from a path's step texts, or from its last step's
    text, to its score; white space around steps does not matter. `default` is the score of paths that the mapping
    lacks, None makes these an error. `delay_s` is slept before each call is answered.
    """

    parameters = 0

    def __init__(
        self, script: Script, *, default: float | None = None, delay_s: float = 0.0, name: str = "scripted"
    ) -> None:
        self._script = script
        self._scores = {} if callable(script) else {_key(key): score for key, score in script.items()}
        self._default = default
        self.delay_s = delay_s
        self.name = name
        self.scored: list[int] = []
        """Node ids in the order in which they were scored."""
        self.released: list[int] = []
        """Node ids in the order in which they were released."""
        self.closed = 0
        """Number of sessions closed."""

    async def open(self, question: str) -> ScriptedRewardSession:
        """Start a session."""
        return ScriptedRewardSession(self, question)

    def look_up(self, question: str, step: ScoredStep) -> float:
        """Return the scripted score of a path.

        Raises:
            RewardError: if the script has none.
        """
        if callable(self._script):
            return self._script(question, step.path)
        path = _key(step.path)
        score = self._scores.get(path, self._scores.get(path[-1:], self._default))
        if score is None:
            raise RewardError(f"the script has no score for node {step.node}, path {path!r}", node=step.node)
        return score


class ScriptedRewardSession:
    """The session of a ScriptedReward."""

    usage = ScoreUsage()

    def __init__(self, reward: ScriptedReward, question: str) -> None:
        self._reward = reward
        self._question = question

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return the scripted scores, in order.

        Raises:
            RewardError: if the script has none, or one that is not a number in [0, 1].
        """
        await anyio.sleep(self._reward.delay_s)
        self._reward.scored.extend(step.node for step in steps)
        values = [self._reward.look_up(self._question, step) for step in steps]
        return checked_scores(self._reward.name, steps, values)

    async def release(self, nodes: Sequence[int]) -> None:
        """Note the released nodes in `ScriptedReward.released`."""
        self._reward.released.extend(nodes)

    async def close(self) -> None:
        """Count the session in `ScriptedReward.closed`."""
        self._reward.closed += 1


def _key(steps: str | Sequence[str]) -> tuple[str, ...]:
    return tuple(step.strip() for step in ((steps,) if isinstance(steps, str) else steps))


class PieceTokenizer:
    """A vocabulary of given pieces, matched greedily and longest first; other text becomes bytes.

    `special` pieces are matched only where special tokens are recognised. `adds_space` puts a space before text that
    is tokenised on its own or follows a special token, as SentencePiece vocabularies do.
    """

    def __init__(self, pieces: Sequence[str] = (), special: Sequence[str] = (), *, adds_space: bool = False) -> None:
        self._pieces = [*(text.encode() for text in (*special, *pieces)), *(bytes([byte]) for byte in range(256))]
        self._special = frozenset(range(len(special)))
        self._ids = {piece: id for id, piece in reversed(list(enumerate(self._pieces)))}
        self._longest = max(map(len, self._pieces))
        self._adds_space = adds_space

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the token ids of `text`."""
        rest, tokens, fresh = text.encode(), list[int](), self._adds_space
        while rest:
            id = self._match(rest, special=special)
            if fresh and id not in self._special:
                rest, id = b" " + rest, self._match(b" " + rest, special=special)
            fresh = self._adds_space and id in self._special
            tokens.append(id)
            rest = rest[len(self._pieces[id]) :]
        return tokens

    def piece(self, id: int, /) -> bytes:
        """Return the bytes of a token."""
        return self._pieces[id]

    def _match(self, rest: bytes, *, special: bool) -> int:
        for length in range(min(self._longest, len(rest)), 0, -1):
            id = self._ids.get(rest[:length])
            if id is not None and (special or id not in self._special):
                return id
        raise InternalError("a byte of the text is no piece")


Logits = Callable[[tuple[int, ...], tuple[int, ...]], Sequence[float]]


class ScriptedScorer:
    """A TokenScorer without a model.

    `logits` gives, for the tokens up to and including a reading position and for the wanted ids, one logit an id.
    Caching is imitated: a request's tokens count as cached as far as they agree with those of any earlier request.
    """

    def __init__(self, logits: Logits) -> None:
        self._logits = logits
        self.requests: list[ReadRequest] = []
        """Requests in the order in which they were evaluated."""
        self.released: list[int] = []
        """Node ids in the order in which they were released."""
        self.open_runs = 0
        """Number of runs opened and not closed."""

    async def open_run(self, prompt: Sequence[int]) -> ScriptedScorerRun:
        """Start a question."""
        self.open_runs += 1
        return ScriptedScorerRun(self, self._logits)


class ScriptedScorerRun:
    """A question of a ScriptedScorer."""

    def __init__(self, scorer: ScriptedScorer, logits: Logits) -> None:
        self._scorer = scorer
        self._logits = logits
        self._seen: list[tuple[int, ...]] = []

    async def evaluate(self, requests: Sequence[ReadRequest]) -> list[ReadResult]:
        """Return the scripted logits."""
        return [self._result(each) for each in requests]

    async def release(self, nodes: Sequence[int]) -> None:
        """Note the released nodes in `ScriptedScorer.released`."""
        self._scorer.released.extend(nodes)

    async def close(self) -> None:
        """Count the run as closed."""
        self._scorer.open_runs -= 1

    def _result(self, request: ReadRequest) -> ReadResult:
        cached = max((_common(request.tokens, seen) for seen in self._seen), default=0)
        self._seen.append(request.tokens)
        self._scorer.requests.append(request)
        return ReadResult(
            node=request.node,
            logits=tuple(tuple(self._logits(request.tokens[: at + 1], request.ids)) for at in request.read),
            evaluated_tokens=len(request.tokens) - cached,
            cached_tokens=cached,
        )


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return next((index for index, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
