"""Likelihoods of paths under a language model, token by token."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from ramify.errors import RewardContextExceeded, RewardError
from ramify.reward.calculator import drawn_tokens
from ramify.reward.protocol import ReadRequest, ReadResult, ScoredStep, ScoreUsage
from ramify.reward.tokens import Segment, SegmentEncoder, tokenizer_adds_space

from ..policy.prompts.prompt_format import PromptFormat
from ..runtime.messages import common_prefix
from ..runtime.serve.loaded_model import LoadedModel
from ..runtime.serve.token_tree import TokenTree


@dataclass(frozen=True, slots=True)
class PathLikelihood:
    """Likelihoods of the generated tokens of a path.

    `tokens` is the whole path, prompt included; `logprobs` and `certainties` have a value for each token after the
    prompt: its log probability, and the self-certainty of the distribution that it was drawn from (see
    `ramify.reward.protocol.Reading`).
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    certainties: tuple[float, ...]


class LikelihoodModel:
    """A language model that reads paths. `prompt` is the form in which it gets a question.

    `exact` takes the tokens of a step as they were generated, for the model that generated them; else, and where they
    are not known, its text is tokenised.
    """

    def __init__(self, model: LoadedModel, prompt: PromptFormat, *, exact: bool = False) -> None:
        self._model = model
        self._format = prompt
        self._encoder = SegmentEncoder(model.tokenizer)
        self._whole = tokenizer_adds_space(model.tokenizer)
        self._exact = exact
        self._piece = lru_cache(maxsize=65536)(model.tokenizer.piece)

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return self._model.info.token_parameters

    @property
    def width(self) -> int:
        """Length of a hidden state, 0 if the file does not say."""
        info = self._model.info
        return int(info.metadata.get(f"{info.architecture}.embedding_length", 0))

    async def open(self, question: str) -> LikelihoodSession:
        """Start a question.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        return LikelihoodSession(self, *await self.open_tree(question))

    async def open_tree(self, question: str) -> tuple[tuple[int, ...], TokenTree, int]:
        """Return a question's prompt, its token tree, and the longest path; raises as `open`."""
        prompt = self._format.encode(question, self._model.tokenizer)
        limit = self._model.info.context_tokens
        if len(prompt) >= limit:
            raise RewardContextExceeded(nodes=(), tokens=len(prompt), limit=limit)
        shared = self._format.shared_tokens(question, prompt, self._model.tokenizer)
        return prompt, await self._model.open_run(prompt, shared=shared), limit

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the text of each token."""
        return [self._piece(token) for token in tokens]

    def drawn(self, step: ScoredStep, tokens: Sequence[int]) -> list[bool]:
        """Return for each of a path's tokens whether a model chose it: not those of a calculator or of a tool."""
        drawn = [True] * len(tokens)
        if step.calculator:
            drawn = drawn_tokens(self.pieces(tokens), "".join(step.path))
        for first, end in self._told(step, tokens):
            drawn[first:end] = [False] * (end - first)
        return drawn

    def _told(self, step: ScoredStep, tokens: Sequence[int]) -> list[tuple[int, int]]:
        """Return the places of the tokens that were put into a path, as pairs of from and to."""
        if not step.told:
            return []
        if len(step.tokens) == len(step.path) and sum(map(len, step.tokens)) == len(tokens):
            starts = [0, *accumulate(map(len, step.tokens))]
            spans = [(starts[part.step], part.tokens) for part in step.told if part.tokens is not None]
            return [(start + first, start + end) for start, (first, end) in spans]
        # Encoded anew: a token belongs to the part in which it begins.
        starts = [0, *accumulate(len(text.encode()) for text in step.path)]
        pieces = self.pieces(tokens)
        blank = min(0, starts[-1] - sum(map(len, pieces)))
        places = list(accumulate(map(len, pieces), initial=blank))[:-1]
        spans = [(starts[part.step] + part.span[0], starts[part.step] + part.span[1]) for part in step.told]
        return [(bisect_left(places, first), bisect_left(places, end)) for first, end in spans]

    def tokens(self, step: ScoredStep) -> tuple[int, ...]:
        """Return the generated tokens of a path."""
        if self._exact and len(step.tokens) == len(step.path) and all(step.tokens):
            return tuple(token for node in step.tokens for token in node)
        texts = ["".join(step.path)] if self._whole else step.path
        return tuple(self._encoder.encode(Segment(text, special=False) for text in texts))


class LikelihoodSession:
    """The paths of one question. Each step costs its own tokens: the row after its parent's last one is kept."""

    def __init__(self, model: LikelihoodModel, prompt: tuple[int, ...], tree: TokenTree, limit: int) -> None:
        self._model = model
        self._prompt = prompt
        self._tree = tree
        self._limit = limit
        self._known: dict[int, PathLikelihood] = {}
        self.usage = ScoreUsage()
        """Tokens used since the session was opened."""

    async def read(self, steps: Sequence[ScoredStep]) -> list[PathLikelihood]:
        """Return how likely each path is, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
        """
        paths = [self._prompt + self._model.tokens(step) for step in steps]
        self._check(steps, paths)
        requests = [self._request(step, path) for step, path in zip(steps, paths, strict=True)]
        found = await self._tree.read(requests)
        for request, result in zip(requests, found, strict=True):
            self._take(request, result)
        return [self._known[step.node] for step in steps]

    def logprob_of(self, step: ScoredStep, path: PathLikelihood) -> float:
        """Return the log probability of the tokens that the path's writer chose."""
        drawn = self._model.drawn(step, path.tokens[len(self._prompt) :])
        return math.fsum(value for value, own in zip(path.logprobs, drawn, strict=True) if own)

    def _request(self, step: ScoredStep, path: tuple[int, ...]) -> ReadRequest:
        first = max(len(self._prompt), len(self._shared(step, path)))
        # The path's last token predicts nothing that is read.
        return ReadRequest(
            node=step.node,
            parent=step.parent if step.parent in self._known else None,
            tokens=path,
            read=tuple(range(min(first, len(path) - 1) - 1, len(path) - 1)),
            ids=(),
            what="tokens",
        )

    def _shared(self, step: ScoredStep, path: tuple[int, ...]) -> tuple[int, ...]:
        parent = None if step.parent is None else self._known.get(step.parent)
        return () if parent is None else path[: common_prefix(parent.tokens, path)]

    def _take(self, request: ReadRequest, result: ReadResult) -> None:
        if result.too_long:
            raise RewardContextExceeded(nodes=[result.node], tokens=len(request.tokens), limit=self._limit)
        kept = request.read[0] + 1 - len(self._prompt)
        parent = None if request.parent is None else self._known[request.parent]
        logprobs = tuple(row[0] for row in result.logits)
        certainties = tuple(row[1] for row in result.logits)
        if parent is not None:
            logprobs = parent.logprobs[:kept] + logprobs
            certainties = parent.certainties[:kept] + certainties
        self._known[result.node] = PathLikelihood(request.tokens, logprobs, certainties)
        self.usage += ScoreUsage.of(result)

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        for node in nodes:
            self._known.pop(node, None)
        self._tree.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        self._tree.close()

    def _check(self, steps: Sequence[ScoredStep], paths: Sequence[tuple[int, ...]]) -> None:
        empty = next((step for step, path in zip(steps, paths, strict=True) if len(path) == len(self._prompt)), None)
        if empty is not None:
            raise RewardError(f"node {empty.node} has no text to score", node=empty.node)
        long = [(step.node, len(path)) for step, path in zip(steps, paths, strict=True) if len(path) > self._limit]
        if long:
            raise RewardContextExceeded(nodes=[node for node, _ in long], tokens=long[0][1], limit=self._limit)
