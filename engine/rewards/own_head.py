"""Reward head in the policy's own file, read in the policy's own tree: no second pass over the policy's text.

The state that the head reads is the one that the policy computes anyway when it goes on. Only the last token of a step
is evaluated for the score, and kept for the steps below; after the last step of a path the tag takes the place of the
end token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ramify.errors import RewardContextExceeded, RewardError, RewardSpecError
from ramify.reward.combined import CombinedReward
from ramify.reward.lm_head import LmHeadReward
from ramify.reward.protocol import ReadRequest, ReadResult, RewardModel, RewardSession, ScoredStep, ScoreUsage
from ramify.reward.spec_loading import spec_from_metadata
from ramify.reward.specs import RewardSpec

from ..policy.llama import LlamaPolicy, LlamaPolicySession
from ..policy.protocol import PolicySession
from ..runtime.serve.token_tree import TokenTree
from .heads import LikelihoodHeadReward

_SAMPLE = ("What is 2 + 3?", ("2 + 3 = 5\n", "The answer is 5.\n"))


class OwnHeadReward:
    """A head of the policy's file as a reward; `inner` reads it where there is no policy's session to read in."""

    def __init__(self, inner: LmHeadReward, policy: LlamaPolicy) -> None:
        self.inner = inner
        self.policy = policy

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.inner.name

    @property
    def parameters(self) -> int:
        """Number of weights that a token passes."""
        return self.inner.parameters

    async def open(self, question: str) -> RewardSession:
        """Start a session of its own, which reads every token of the paths.

        Raises:
            RewardContextExceeded: if the question alone fills the context.
        """
        return await self.inner.open(question)


async def open_beside(reward: RewardModel, question: str, policy: PolicySession) -> RewardSession:
    """Start a reward's session for the paths that `policy` writes.

    A head in the policy's file is read in the policy's own tree, and a likelihood head on the policy takes the log
    probabilities that the policy tells as it writes; parts of a combination too.

    Raises:
        RewardContextExceeded: if the question alone fills the context.
    """
    if not isinstance(policy, LlamaPolicySession):
        return await reward.open(question)
    if isinstance(reward, OwnHeadReward):
        return OwnHeadSession(reward, question, policy.read_along())
    if isinstance(reward, LikelihoodHeadReward) and reward.ends is not None:
        return await reward.open(question, policy.token_logprobs())
    if isinstance(reward, CombinedReward):
        return await reward.open(question, lambda part: open_beside(part, question, policy))
    return await reward.open(question)


def reads_what_it_writes(reward: LmHeadReward, policy: LlamaPolicy) -> bool:
    """Tell whether the reward's format equals the policy's text, token by token, with one score at a step's end."""
    question, steps = _SAMPLE
    encode = policy.model.tokenizer.encode
    written = [*policy.prompt.encode(question, policy.model.tokenizer)]
    for step in steps:
        written += encode(step, special=False)
    spec = reward.spec
    if spec.head != "lm_head" or spec.aggregation != "last" or spec.step_separator or spec.read_at != "tag":
        return False
    try:
        path = reward.layout.path(question, steps)
    except RewardError:
        return False
    return path.tokens == tuple(written) and path.read == (len(written) - 1,)


def muted_ids(metadata: Mapping[str, object]) -> tuple[int, ...]:
    """Return the ids whose rows in a file's output matrix hold a reward head; as a policy it must not draw them."""
    try:
        spec = spec_from_metadata(metadata)
    except RewardSpecError:
        return ()
    if not isinstance(spec, RewardSpec) or spec.head != "lm_head":
        return ()
    return tuple(each for each in (spec.good, spec.bad) if isinstance(each, int))


def same_file(policy: LlamaPolicy, path: Path) -> bool:
    """Tell whether the policy runs this very file."""
    return same_path(policy.model.config.path, path)


def same_path(left: str | Path, right: str | Path) -> bool:
    """Tell whether two paths lead to the same place."""
    return Path(left).resolve() == Path(right).resolve()


class OwnHeadSession:
    """The paths of one question in the policy's own tree, which the policy closes."""

    def __init__(self, reward: OwnHeadReward, question: str, tree: TokenTree) -> None:
        self._reward = reward.inner
        self._question = question
        self._tree = tree
        self._prompt = tree.prompt
        self._tag = reward.inner.layout.tag
        self._ends = reward.policy.model.tokenizer.ends
        # Nodes of paths that are not read as the policy wrote them, by the search's node.
        self._beside: dict[int, int] = {}
        self._usage = ScoreUsage()

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used since the session was opened: mostly those that the policy would evaluate next."""
        return self._usage

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long; nothing has been evaluated then.
            RewardError: if a path has no steps, or a score is not a number.
        """
        requests = [self._request(step) for step in steps]
        limit = self._reward.context_limit
        long = [
            (at.node, len(each.tokens)) for at, each in zip(steps, requests, strict=True) if len(each.tokens) > limit
        ]
        if long:
            raise RewardContextExceeded(nodes=[node for node, _ in long], tokens=long[0][1], limit=limit)
        results = await self._tree.read(requests)
        return [self._value(step, result) for step, result in zip(steps, results, strict=True)]

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the nodes kept beside the policy's own nodes; the policy frees its own."""
        self._tree.release([self._beside.pop(node) for node in nodes if node in self._beside])

    async def close(self) -> None:
        """Free the same of all nodes."""
        self._tree.release(list(self._beside.values()))
        self._beside.clear()

    def _request(self, step: ScoredStep) -> ReadRequest:
        if not step.path:
            raise RewardError(f"node {step.node} has no steps to score", node=step.node)
        tokens, as_written = self._tokens(step)
        known = self._tree.knows(step.node)
        here = as_written and known
        above = step.node if known and not here else step.parent
        if not here and step.node not in self._beside:
            self._beside[step.node] = self._tree.new_id()
        return ReadRequest(
            node=step.node if here else self._beside[step.node],
            parent=above if above is not None and self._tree.knows(above) else None,
            tokens=tokens,
            read=(len(tokens) - 1,),
            ids=self._reward.layout.read_ids,
            keep=here,
        )

    def _tokens(self, step: ScoredStep) -> tuple[tuple[int, ...], bool]:
        """Return the path's tokens up to its last tag, and whether the policy wrote exactly these."""
        if len(step.tokens) == len(step.path) and all(step.tokens):
            written = self._prompt + tuple(token for node in step.tokens for token in node)
            if written[-1] == self._tag:
                return written, True
            if written[-1] in self._ends:
                return (*written[:-1], self._tag), False
        return self._reward.layout.path(self._question, self._reward.steps(step.path)[0]).tokens, False

    def _value(self, step: ScoredStep, result: ReadResult) -> float:
        if result.too_long:
            raise RewardError(f"the path to node {step.node} does not fit the policy's context", node=step.node)
        self._usage += ScoreUsage.of(result)
        return self._reward.value(step.node, result.logits[0])
