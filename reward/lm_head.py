"""Rewards read at a tag after each step, from a language model's own head, an MLP head or a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ramify.errors import RewardContextExceeded, RewardError, RewardSpecError

from .layout import PathLayout, PathTokens
from .protocol import Reading, ReadRequest, ReadResult, ScoredStep, ScorerRun, ScoreUsage, Tokenizer, TokenScorer
from .scores import checked_score, combined, score_of
from .specs import RewardSpec

Head = Callable[[Sequence[float]], Sequence[float]]
"""From a final hidden state to the head's outputs."""


class LmHeadReward:
    """A reward model that is read at tags, run by `scorer`.

    Each new step costs only its own tokens: a request names the whole path, and the scorer evaluates the tokens that it
    has not cached. `split` cuts the text of a node into steps as the policy writes them; None takes each node as one
    step, and a separator in the spec comes before both. A node of several steps gets the aggregate, after the spec, of
    their scores. `head` runs on hidden states if the spec asks for a head other than the model's own. `parameters` is
    the number of weights, 0 if unknown. `context_tokens` is the context of the scorer, None for no limit but the
    spec's.

    Raises:
        RewardSpecError: if the spec does not fit the vocabulary, or needs a head and there is none.
    """

    def __init__(
        self,
        spec: RewardSpec,
        tokenizer: Tokenizer,
        scorer: TokenScorer,
        *,
        parameters: int = 0,
        context_tokens: int | None = None,
        split: Callable[[str], Sequence[str]] | None = None,
        head: Head | None = None,
    ) -> None:
        if (spec.head == "mlp") != (head is not None):
            raise RewardSpecError(f"the reward spec {spec.name!r} reads {spec.head!r}, and no such head is loaded")
        self.spec = spec
        self.layout = PathLayout(spec, tokenizer)
        self.parameters = parameters
        self.context_limit = spec.context_limit if context_tokens is None else min(spec.context_limit, context_tokens)
        self._scorer = scorer
        self._split = split if spec.step_separator is None else _separated(spec.step_separator)
        self._head = head

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    async def open(self, question: str) -> LmHeadSession:
        """Start a session.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        prompt = self.layout.prompt(question)
        if len(prompt) >= self.context_limit:
            raise RewardContextExceeded(nodes=(), tokens=len(prompt), limit=self.context_limit)
        return LmHeadSession(self, question, await self._scorer.open_run(prompt))

    def steps(self, path: Sequence[str]) -> tuple[list[str], int]:
        """Return the steps of all nodes of `path`, and how many of them belong to its last node."""
        if self._split is None:
            return list(path), 1
        per_node = [list(self._split(text)) or [text] for text in path]
        return [step for steps in per_node for step in steps], len(per_node[-1])

    @property
    def reads(self) -> Reading:
        """Kind of output that the scorer returns at each reading position."""
        return "rank" if self.spec.head == "rank" else "logits" if self._head is None else "states"

    def value(self, node: int, row: Sequence[float]) -> float:
        """Return the score of one reading position of `node` from the scorer's `row` of outputs there.

        Raises:
            RewardError: if it is not a number from 0 to 1, or the head lacks an output.
        """
        spec = self.spec
        if self._head is not None:
            row = self._head(row)
        if spec.head != "lm_head":
            wanted = [int(each) for each in (spec.good, spec.bad) if each is not None]
            if max(wanted) >= len(row):
                raise RewardError(
                    f"the reward spec {spec.name!r} reads output {max(wanted)} of a head with {len(row)}; correct it",
                    node=node,
                )
            row = [row[each] for each in wanted]
        return checked_score(self.name, node, score_of(spec, row))


class LmHeadSession:
    """The paths of one question."""

    def __init__(self, reward: LmHeadReward, question: str, run: ScorerRun) -> None:
        self._reward = reward
        self._question = question
        self._run = run
        self._usage = ScoreUsage()

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened."""
        return self._usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
            RewardError: if the scorer returns something else than was asked for, or a score is not a number.
        """
        if not steps:
            return []
        paths = [self._tokens(step) for step in steps]
        self._check_lengths(steps, paths)
        ids = self._reward.layout.read_ids
        requests = [
            ReadRequest(
                node=step.node,
                parent=step.parent,
                tokens=path.tokens,
                read=path.read,
                ids=ids,
                what=self._reward.reads,
            )
            for step, path in zip(steps, paths, strict=True)
        ]
        results = {each.node: each for each in await self._run.evaluate(requests)}
        self._count(results.values())
        return [self._score(each, results.get(each.node)) for each in requests]

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the cache of these nodes."""
        await self._run.release(nodes)

    async def close(self) -> None:
        """Free all that is cached for the question."""
        await self._run.close()

    def _tokens(self, step: ScoredStep) -> PathTokens:
        if not step.path:
            raise RewardError(f"node {step.node} has no steps to score", node=step.node)
        steps, own = self._reward.steps(step.path)
        try:
            return self._reward.layout.path(self._question, steps, own=own)
        except RewardError as error:
            raise RewardError(f"node {step.node} cannot be scored: {error}", node=step.node) from error

    def _check_lengths(self, steps: Sequence[ScoredStep], paths: Sequence[PathTokens]) -> None:
        limit = self._reward.context_limit
        long = [
            (step.node, len(path.tokens)) for step, path in zip(steps, paths, strict=True) if len(path.tokens) > limit
        ]
        if long:
            raise RewardContextExceeded(nodes=[node for node, _ in long], tokens=long[0][1], limit=limit)

    def _score(self, request: ReadRequest, result: ReadResult | None) -> float:
        if (
            result is None
            or len(result.logits) != len(request.read)
            or any(_incomplete(request, each) for each in result.logits)
        ):
            raise RewardError(f"the reward model returned no complete score for node {request.node}", node=request.node)
        scores = [self._reward.value(request.node, each) for each in result.logits]
        return combined(scores, self._reward.spec.aggregation)

    def _count(self, results: Iterable[ReadResult]) -> None:
        for result in results:
            self._usage += ScoreUsage.of(result)


def _incomplete(request: ReadRequest, row: Sequence[float]) -> bool:
    return len(row) != len(request.ids) if request.what == "logits" else not row


def _separated(separator: str) -> Callable[[str], Sequence[str]]:
    return lambda text: [step for step in text.split(separator) if step.strip()]
