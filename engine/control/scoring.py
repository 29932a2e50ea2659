"""Scores of one run's tree: each distinct path is scored once, however many nodes hold it.

Samples of one question repeat each other: with small models more than half of all steps stand below the same text as
another one and say the same. A reward is a function of question and path, so nodes with equal paths share one score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ramify.answers.thoughts import ThoughtMarks
from ramify.errors import RewardContextExceeded
from ramify.reward.combined import CombinedSession
from ramify.reward.protocol import RewardSession, ScoredStep, ScoreUsage, ToldPart
from ramify.search.node import TOLD, Node, NodeState
from ramify.search.tree import ROOT, SearchTree

NEUTRAL = 0.5
"""Score of a path that thinks and has no reply yet."""
Key = tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]
"""A path: its steps' texts, and their tokens, which the rewards of the policy itself read."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores by node, those of a combined reward's parts, and the nodes whose paths are too long for the reward."""

    values: dict[int, float]
    too_long: tuple[int, ...]
    parts: dict[int, Mapping[str, float]]


class Scorer:
    """One run's reward session over its tree, in which each distinct path is scored once.

    Scores that the tree already has are taken over. With `thoughts`, the marks of a model that thinks, replies alone
    are scored: a path that has none yet has the score NEUTRAL. None scores all of a path. `calculator` says that paths
    are written with one.
    """

    def __init__(
        self,
        tree: SearchTree,
        session: RewardSession,
        thoughts: ThoughtMarks | None = None,
        *,
        calculator: bool = False,
    ) -> None:
        self._tree = tree
        self._calculator = calculator
        self._session = DistinctSession(session)
        self._thoughts = thoughts
        for node in tree:
            step = None if node.score is None else self._step(node.id)
            if step is not None and node.score is not None:
                self._session.know(step, node.score)

    def _step(self, node_id: int) -> ScoredStep | None:
        step = replace(scored_step(self._tree, node_id), calculator=self._calculator)
        return step if self._thoughts is None else reply_step(step, self._thoughts)

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used so far."""
        return self._session.usage

    async def score(self, nodes: Sequence[int]) -> Scored:
        """Score the paths that end in the nodes.

        Raises:
            RewardError: if a path cannot be scored.
        """
        found = [(node, self._step(node)) for node in nodes]
        steps = [step for _, step in found if step is not None]
        thinking = {node: NEUTRAL for node, step in found if step is None}
        too_long: tuple[int, ...] = ()
        try:
            values = await self._session.score(steps) if steps else []
        except RewardContextExceeded as error:
            too_long = error.nodes
            steps = [step for step in steps if step.node not in too_long]
            values = await self._session.score(steps) if steps else []
        parts = {step.node: found for step in steps if (found := self._session.scores_of(step))}
        scores = {step.node: value for step, value in zip(steps, values, strict=True)}
        return Scored(scores | thinking, too_long, parts)

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes; nothing below them will be scored."""
        await self._session.release(nodes)

    async def close(self) -> None:
        """Free the whole session."""
        await self._session.close()


def scored_step(tree: SearchTree, node_id: int) -> ScoredStep:
    """Return the path to a node as rewards are shown it: a call of a tool and its result are one step."""
    return shown_path(tree.path_nodes(node_id))


def shown_path(nodes: Sequence[Node]) -> ScoredStep:
    """Return the path through some nodes, from the first step down, as rewards are shown it."""
    steps = list[list[Node]]()
    goes_on = False
    for node in nodes:
        if goes_on:
            steps[-1].append(node)
        else:
            steps.append([node])
        goes_on = node.state is NodeState.CONTINUED
    parent = steps[-1][0].parent
    return ScoredStep(
        node=nodes[-1].id,
        parent=None if parent == ROOT else parent,
        path=tuple("".join(node.text for node in step) for step in steps),
        tokens=tuple(tuple(token for node in step for token in node.tokens) for step in steps),
        logprobs=tuple(_logprob(step) for step in steps),
        told=tuple(part for number, step in enumerate(steps) for part in _told(number, step)),
        members=tuple(node.id for node in steps[-1]) if len(steps[-1]) > 1 else (),
    )


def _told(number: int, step: Sequence[Node]) -> Iterator[ToldPart]:
    """Yield the parts of a step that were put in; `number` is the step's."""
    at = token = 0
    for node in step:
        end, last = at + len(node.text.encode()), token + len(node.tokens)
        if node.origin in TOLD:
            yield ToldPart(number, (at, end), (token, last))
        at, token = end, last


def reply_step(step: ScoredStep, marks: ThoughtMarks) -> ScoredStep | None:
    """Return the path without its thoughts, None while it has no reply.

    The step in which the last thought ends is shown from there on, without its tokens.
    """
    text = "".join(step.path)
    if marks.is_thinking(text):
        return None
    end = text.rfind(marks.close)
    if end < 0:
        return step
    left = end + len(marks.close)
    parts = list[str]()
    for each in step.path:
        parts.append(each[max(0, left) :])
        left -= len(each)
    first = next((place for place, part in enumerate(parts) if part.strip()), None)
    if first is None:
        return None
    later = slice(first + 1, None)
    whole = parts[first] == step.path[first]
    cut = len(step.path[first].encode()) - len(parts[first].encode())
    return replace(
        step,
        parent=step.parent if first + 1 < len(step.path) else None,
        path=(parts[first], *step.path[later]),
        tokens=(step.tokens[first] if whole else (), *step.tokens[later]),
        logprobs=step.logprobs[first:],
        told=tuple(
            ToldPart(part.step - first, part.span, part.tokens)
            if part.step > first or whole
            else ToldPart(0, (max(0, part.span[0] - cut), part.span[1] - cut))
            for part in step.told
            if part.step > first or (part.step == first and part.span[1] > cut)
        ),
    )


def _logprob(step: Sequence[Node]) -> float | None:
    if len(step) == 1:
        return step[0].logprob
    known = [node.logprob for node in step if node.logprob is not None]
    return sum(known) if len(known) == len(step) else None


class DistinctSession:
    """A reward session in which one of the nodes with equal paths represents all of them; `inner` knows that one only.

    A representative is kept until all nodes that it represents are released, and a path below any of them is scored
    as if it were below the representative. A path that was released keeps its score; a node with that path later is
    represented by the nearest node above that `inner` still keeps. One call of `score` at a time.
    """

    def __init__(self, inner: RewardSession) -> None:
        self._inner = inner
        self._scores = dict[Key, float]()
        self._parts = dict[Key, Mapping[str, float]]()
        self._by_path = dict[Key, int]()
        self._paths = dict[int, Key]()
        self._representative = dict[int, int]()
        self._members = dict[int, set[int]]()

    @property
    def usage(self) -> ScoreUsage:
        """Tokens really used since the session was opened."""
        return self._inner.usage

    def know(self, step: ScoredStep, score: float) -> None:
        """Take over the score of a path, such as one of a saved tree."""
        self._scores.setdefault(_key(step), score)

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        """Return one score in [0, 1] for each path, in order.

        Raises:
            RewardContextExceeded: if paths are too long, naming all nodes that have one; nothing has been evaluated
                then.
            RewardError: if a path cannot be scored.
        """
        keys = [_key(step) for step in steps]
        # Before the wait, because nodes may be released during it.
        asked = self._represented(steps, keys)
        try:
            values = await self._inner.score(list(asked.values())) if asked else []
        except Exception as error:
            await self.release([step.node for step in steps])
            if isinstance(error, RewardContextExceeded):
                raise _for_equal_paths(error, asked, steps, keys) from error
            raise
        self._scores.update(zip(asked, values, strict=True))
        if isinstance(self._inner, CombinedSession):
            self._parts.update({key: self._inner.scores_of(step.node) for key, step in asked.items()})
        return [self._scores[key] for key in keys]

    def scores_of(self, step: ScoredStep) -> Mapping[str, float]:
        """Return the scores of a combined reward's parts for a path, empty if they are not known."""
        return self._parts.get(_key(step), {})

    async def release(self, nodes: Sequence[int]) -> None:
        """Free the state kept for these nodes, unless other nodes with the same path need it."""
        freed = list(self._remove(nodes))
        if freed:
            await self._inner.release(freed)

    async def close(self) -> None:
        """Free the whole session."""
        await self._inner.close()

    def _represented(self, steps: Sequence[ScoredStep], keys: Sequence[Key]) -> dict[Key, ScoredStep]:
        """Give every node its representative, and return the paths that have to be scored."""
        asked = dict[Key, ScoredStep]()
        for step, key in zip(steps, keys, strict=True):
            above = None if step.parent is None else self._representative.get(step.parent, step.parent)
            first = self._by_path.get(key)
            if first is None and key not in self._scores:
                first = self._by_path[key] = step.node
                self._paths[first] = key
                asked[key] = replace(step, parent=above)
            elif first is None:
                first = above
            if first is not None:
                self._representative[step.node] = first
                self._members.setdefault(first, set()).add(step.node)
        return asked

    def _remove(self, nodes: Iterable[int]) -> Iterable[int]:
        """Take nodes from their representatives and yield those that represent none any more."""
        for node in nodes:
            first = self._representative.pop(node, node)
            members = self._members.get(first, set())
            members.discard(node)
            if not members:
                self._members.pop(first, None)
                self._by_path.pop(self._paths.pop(first, ((), ())), None)
                yield first


def _key(step: ScoredStep) -> Key:
    return step.path, step.tokens


def _for_equal_paths(
    error: RewardContextExceeded, asked: Mapping[Key, ScoredStep], steps: Sequence[ScoredStep], keys: Sequence[Key]
) -> RewardContextExceeded:
    """Return the error with all nodes whose path is one of those that are too long."""
    long = {key for key, step in asked.items() if step.node in error.nodes}
    nodes = [step.node for step, key in zip(steps, keys, strict=True) if key in long]
    return RewardContextExceeded(nodes=nodes, tokens=error.tokens, limit=error.limit)
