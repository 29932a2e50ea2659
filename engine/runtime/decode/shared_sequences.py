"""Sequences that are generated, and the one cached sequence that equal ones share.

Samples of one problem start alike, and those of a small or a confident model stay alike for long. Children that have
drawn the same tokens so far share one path, one cached sequence and one row of logits. Each child draws its next
token from the common row with a random number of its own. Those that drew the same token stay together, and the
others branch off; so every child gets the tokens that it would have drawn alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache

from ramify.sampling_params import StepFormat, TokenSampling

from ..messages import StepRequest
from .answer_text import AnswerText
from .jobs import Job
from .prefix_cache import PrefixNode
from .step_text import StepText

_SEED_MASK = (1 << 64) - 1


@lru_cache(maxsize=256)
def _interned(sampling: TokenSampling) -> TokenSampling:
    """Return the same object for equal settings, so that a batch's can be compared by identity."""
    return sampling


@dataclass(eq=False, slots=True)
class RequestGroup:
    """Children that were requested together.

    `allowance` is the number of tokens that they may still generate, None for no limit. `watched` says that their
    progress is reported.
    """

    allowance: int | None
    watched: bool = False


@dataclass(eq=False, slots=True)
class ChildSequence:
    """One requested child that is being generated. `numbers` are its next random numbers, the last one first."""

    request: StepRequest
    seed: int
    numbers: list[float] = field(default_factory=list[float])


@dataclass(eq=False, slots=True, init=False)
class SharedSequence(Job):
    """Generates a step for `children` that have drawn the same tokens so far.

    `node` is the parent until the step is complete. The children agree in all that decides where a step ends. The
    logits after the last of `tokens` are wanted. `logprob` is the sum of `logprobs`, which has None for a token of the
    calculator. `shared_tokens` counts the tokens that were evaluated for one child instead of more. `line` is the
    unfinished line before the step, None without a calculator. Of the tokens, `calculated_tokens` were put in by the
    calculator, and the last `ahead` of these wait for their evaluation together with the token before them. `penalised`
    counts the tokens that the path has drawn, None without penalties. `kept_open` is as in StepResult. `unverified`
    cells of a draft lie beyond the length of its cached sequence; `drafted_tokens` had been evaluated as part of a
    draft when they were drawn, and `rejected_tokens` of drafts were evaluated and not drawn. `answer` is the answer
    that ends the path in a grammar, None without one. `kept` is the node of the cells that are kept for it while it
    waits to go on, None if there are none.
    """

    children: list[ChildSequence]
    group: RequestGroup
    text: StepText
    sampling: TokenSampling
    max_tokens: int
    min_tokens: int
    tokens: list[int]
    logprob: float
    logprobs: list[float | None]
    active: bool
    shared_tokens: int
    line: str | None
    calculated_tokens: int
    ahead: int
    penalised: Counter[int] | None
    kept_open: bool
    unverified: int
    drafted_tokens: int
    rejected_tokens: int
    answer: AnswerText | None
    kept: PrefixNode | None
    _path: list[int]

    def __init__(self, parent: PrefixNode, like: StepRequest, text: StepText, group: RequestGroup) -> None:
        self._path = list(parent.path)
        Job.__init__(self, parent, self._path, frozenset())
        self.children, self.group, self.text = [], group, text
        self.sampling = _interned(like.sampling)
        self.max_tokens, self.min_tokens = like.max_tokens, like.min_tokens
        self.tokens, self.logprob, self.logprobs, self.active, self.shared_tokens = [], 0.0, [], False, 0
        self.line = like.line if like.calculator else None
        self.calculated_tokens = self.ahead = 0
        self.kept_open, self.kept = False, None
        self.unverified = self.drafted_tokens = self.rejected_tokens = 0
        self.penalised = Counter(parent.written()) if like.sampling.penalises else None
        self.answer = None if like.answer is None else AnswerText(like.answer)

    @property
    def path(self) -> list[int]:
        """The whole path, which grows with each token."""
        return self._path

    def branch(self, children: list[ChildSequence]) -> SharedSequence:
        """Move some of the children, in their order, to a new sequence that has no cached sequence yet."""
        other = SharedSequence(self.node, children[0].request, self.text.copy(), self.group)
        other._path += self.tokens
        other.tokens += self.tokens
        other.logprobs += self.logprobs
        other.logprob, other.cached_tokens = self.logprob, self.cached_tokens
        other.calculated_tokens, other.ahead = self.calculated_tokens, self.ahead
        other.penalised = copy(self.penalised)
        other.answer = None if self.answer is None else self.answer.copy()
        leaving = {id(each) for each in children}
        other.children = children
        self.children = [each for each in self.children if id(each) not in leaving]
        return other

    def select(self, ids: Collection[int] | None) -> list[ChildSequence]:
        """Return the children with these ids; None means all."""
        return [each for each in self.children if ids is None or each.request.child in ids]

    @property
    def followed(self) -> bool:
        """True if text may follow even the end of the model's text."""
        return any(each.request.keep for each in self.children)

    def wants(self, position: int) -> bool:
        """Tell whether the logits at a position are wanted."""
        return position == len(self._path) - 1

    @property
    def first_output(self) -> int:
        """Position of the last token."""
        return len(self._path) - 1

    def advance(self, end: int) -> None:
        """Record that all up to position `end` is evaluated now, and tell new tokens from repeated ones."""
        sequence = self.sequence
        assert sequence is not None
        if sequence.length < len(self.node.path) or end < len(self._path) or self.ahead:
            before = self.new_tokens
            super(SharedSequence, self).advance(end)
            self.shared_tokens += (self.new_tokens - before) * (len(self.children) - 1)
            self.ahead = max(0, min(self.ahead, len(self._path) - end - 1))
            return
        # This common case needs no look at the nodes above: all but the last token had been evaluated before, since
        # that one was drawn from the logits after the one before it.
        self.reevaluated_tokens += end - 1 - sequence.length
        self.new_tokens += 1
        self.shared_tokens += len(self.children) - 1
        sequence.length = end

    def _known_before(self) -> int:
        # Of its own tokens, all but the last: tokens are drawn from logits of evaluated ones.
        return max(self.node.known, self.evaluated if len(self.tokens) > 1 else 0)

    @property
    def evaluated(self) -> int:
        """Length of the path that was evaluated at some time, as far as tokens of its own go."""
        return len(self._path) - 1 - self.ahead

    def add_token(self, token: int, logprob: float) -> None:
        """Append a drawn token; it is evaluated next, if the sequence goes on."""
        self.tokens.append(token)
        self._path.append(token)
        self.logprob += logprob
        self.logprobs.append(logprob)
        if self.penalised is not None:
            self.penalised[token] += 1

    def put(self, tokens: Sequence[int]) -> None:
        """Append tokens in the place of a drawn one, whose random number the first of them takes."""
        for place, token in enumerate(tokens):
            self.add_calculated(token, drawn=not place)
        self.ahead -= 1

    def add_calculated(self, token: int, *, drawn: bool = False) -> None:
        """Append a token that was not drawn; it takes the random number of one, unless that was `drawn` already."""
        self.tokens.append(token)
        self._path.append(token)
        self.logprobs.append(None)
        self.calculated_tokens += 1
        self.ahead += 1
        if self.penalised is not None:
            self.penalised[token] += 1
        for child in () if drawn else self.children:
            del child.numbers[-1:]


def shared_sequences_of(
    requests: Iterable[tuple[PrefixNode, StepRequest]],
    step: StepFormat | None,
    group: RequestGroup,
    unfinished: Callable[[Sequence[int]], bytes],
) -> list[SharedSequence]:
    """Return sequences below their parents for requests, one for those that differ in their random numbers alone.

    `unfinished` returns the bytes of the character that tokens end within.
    """
    found: dict[object, SharedSequence] = {}
    for parent, request in requests:
        limits = (request.to_the_end, request.sampling, request.max_tokens, request.min_tokens)
        key = (parent, *limits, request.opened, request.call, request.calculator, request.line, request.stop)
        key = (*key, request.thought, request.answer)
        shared = found.get(key)
        if shared is None:
            text = StepText(
                step,
                to_the_end=request.to_the_end,
                opened=request.opened,
                stop=request.stop,
                call=request.call,
                thought=request.thought,
                begun=unfinished(parent.after_prompt()),
            )
            shared = found[key] = SharedSequence(parent, request, text, group)
        shared.children.append(ChildSequence(request, request.seed & _SEED_MASK))
    return list(found.values())
