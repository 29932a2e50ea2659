"""Has the steps of one run's tree scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ramify.errors import RewardContextExceeded
from ramify.reward.protocol import RewardSession, ScoredStep, ScoreUsage
from ramify.search.tree import ROOT, SearchTree

from .distinct import DistinctSession


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores by node, and the nodes whose paths are too long for the reward model."""

    values: dict[int, float]
    too_long: tuple[int, ...]


class Scorer:
    """One run's reward session over its tree, in which each distinct path is scored once.

    Scores that the tree already has are taken over.
    """

    def __init__(self, tree: SearchTree, session: RewardSession) -> None:
        self._tree = tree
        self._session = DistinctSession(session)
        for node in tree:
            if node.score is not None:
                self._session.know(scored_step(tree, node.id), node.score)

    @property
    def usage(self) -> ScoreUsage:
        """Tokens used so far."""
        return self._session.usage

    async def score(self, nodes: Sequence[int]) -> Scored:
        """Score the paths that end in the nodes.

        Raises:
            RewardError: if a path cannot be scored.
        """
        steps = [scored_step(self._tree, node) for node in nodes]
        too_long: tuple[int, ...] = ()
        try:
            values = await self._session.score(steps)
        except RewardContextExceeded as error:
            too_long = error.nodes
            steps = [step for step in steps if step.node not in too_long]
            values = await self._session.score(steps) if steps else []
        return Scored({step.node: value for step, value in zip(steps, values, strict=True)}, too_long)

    async def release(self, nodes: Sequence[int]) -> None:
        """Free what is kept for these nodes; nothing below them will be scored."""
        await self._session.release(nodes)

    async def close(self) -> None:
        """Free the whole session."""
        await self._session.close()


def scored_step(tree: SearchTree, node_id: int) -> ScoredStep:
    """Return the path to a node as rewards are shown it."""
    nodes = tree.path_nodes(node_id)
    parent = nodes[-1].parent
    return ScoredStep(
        node=node_id,
        parent=None if parent == ROOT else parent,
        path=tuple(node.text for node in nodes),
        tokens=tuple(node.tokens for node in nodes),
        logprobs=tuple(node.logprob for node in nodes),
    )
