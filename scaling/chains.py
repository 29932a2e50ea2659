"""Chains: independent samples of a search tree, scored and counted for every smaller width.

The chains of a run of width w are exactly the first w of a wider run with the same seed, because a step's draws depend
on its place in the tree alone. So one wide run gives the results and costs of each narrower one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ramify.engine.control.scoring import DistinctSession, shown_path
from ramify.reward.noise import noise
from ramify.reward.protocol import RewardModel, ScoredStep
from ramify.search.node import TOLD
from ramify.search.tree import ROOT, Node, NodeState, PruneReason, SearchTree

Same = Callable[[str, str], bool]
SCORED_WHEN_PRUNED = (None, PruneReason.DEPTH)
"""A step that a search gave up for another reason was never shown to the reward model."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One sample: its nodes from the first step down; `answer` is None if it did not finish with one."""

    nodes: tuple[Node, ...]
    answer: str | None

    @property
    def generated_tokens(self) -> int:
        """Tokens generated for it."""
        return sum(node.token_count for node in self.nodes)

    @property
    def told_tokens(self) -> int:
        """Tokens that were put into it, such as the results of tools, and that the policy reads."""
        return sum(len(node.tokens) for node in self.nodes if node.origin in TOLD)

    @property
    def scorable(self) -> tuple[Node, ...]:
        """The nodes that a search would have shown to the reward model; a step that goes on is shown at its end."""
        shown = (node for node in self.nodes if node.state is not NodeState.CONTINUED)
        return tuple(node for node in shown if node.prune_reason in SCORED_WHEN_PRUNED)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of chains: that of each last step (None: not scored), and the cost of each narrower width.

    `tokens` are read, `seconds` are wall-clock time.
    """

    values: tuple[float | None, ...]
    tokens: dict[int, int]
    seconds: dict[int, float]


def chains_of(tree: SearchTree) -> list[Chain]:
    """Return the samples of a tree of independent chains, in the order of their numbers."""
    return [_chain(tree, child) for child in tree.children(ROOT)]


def _chain(tree: SearchTree, first: Node) -> Chain:
    nodes = [first]
    while below := tree.children(nodes[-1].id):
        nodes.append(below[0])
    last = nodes[-1]
    return Chain(tuple(nodes), last.answer if last.state is NodeState.FINISHED else None)


async def score_chains(reward: RewardModel, question: str, chains: Sequence[Chain], widths: Sequence[int]) -> Scores:
    """Score chains, the narrowest width first, so that the cost of each width is known.

    As in a search, each distinct path is scored once, and steps are kept for those that begin alike.

    Raises:
        RewardError: if a path cannot be scored.
    """
    session = DistinctSession(await reward.open(question))
    values, tokens, seconds, start = list[float | None](), dict[int, int](), dict[int, float](), 0
    started = time.monotonic()
    try:
        for width in sorted({*(each for each in widths if each < len(chains)), len(chains)}):
            block = chains[start:width]
            scores = dict[int, float]()
            for depth in range(max((len(chain.scorable) for chain in block), default=0)):
                steps = [_step(chain, depth) for chain in block if depth < len(chain.scorable)]
                for step, value in zip(steps, await session.score(steps), strict=True):
                    scores[step.node] = value
            await session.release([chain.nodes[-1].id for chain in block])
            values += [scores.get(chain.nodes[-1].id) for chain in block]
            used = session.usage
            tokens[width] = used.evaluated_tokens + used.generated_tokens + used.reevaluated_tokens
            seconds[width] = time.monotonic() - started
            start = width
    finally:
        await session.close()
    return Scores(tuple(values), tokens, seconds)


def _step(chain: Chain, depth: int) -> ScoredStep:
    last = chain.nodes.index(chain.scorable[depth])
    return shown_path(chain.nodes[: last + 1])


def sample_row(question: str, chains: Sequence[Chain], same: Same, right: Callable[[str], bool]) -> dict[str, Any]:
    """Return the row of samples, in JSON types.

    `groups` has the number of each chain's answer in `answers`, -1 without an answer; `right` the numbers of those that
    are `right`; `told` the tokens that were put into each chain; `noise` a standard normal draw for the text of each.
    """
    answers, groups, by_text = list[str](), list[int](), dict[str, int]()
    for chain in chains:
        answer = chain.answer
        if answer is None:
            groups.append(-1)
            continue
        if answer not in by_text:
            number = next((place for place, first in enumerate(answers) if same(first, answer)), len(answers))
            if number == len(answers):
                answers.append(answer)
            by_text[answer] = number
        groups.append(by_text[answer])
    return {
        "answers": answers,
        "right": [number for number, answer in enumerate(answers) if right(answer)],
        "groups": groups,
        "tokens": [chain.generated_tokens for chain in chains],
        "told": [chain.told_tokens for chain in chains],
        "noise": [round(noise(question, [node.text for node in chain.nodes]), 4) for chain in chains],
    }
