"""Strategy chosen for each problem by its estimated difficulty, which a probe of a few whole paths gives.

Compute-optimal choice by predicted difficulty (Snell et al., "Scaling LLM Test-Time Compute", arXiv 2408.03314,
sections 3.2 and 3.3), which sorts problems into quintiles by the mean verifier score over many samples. A probe has few
samples, so their agreement counts as well: an answer that comes again and again is likely right (self-consistency,
arXiv 2203.11171). The probe's paths are not lost: they take places of the width of the chosen strategy, and vote.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum
from typing import Any, ClassVar

from ramify.errors import StrategyError

from ..node import Node, Origin
from ..strategy import Ask, Expansion, Strategy, check_count
from ..tree import ROOT, NodeState, SearchTree
from ..votes import Aggregation, VoteRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto(Strategy):
    """Write `probe_paths` whole paths, then go on with one of `choices`.

    `choices` are strategies, or their JSON forms, for problems from easy to hard; `edges` are the difficulties (see
    `difficulty`) between them in ascending order, one fewer than choices. `Profile.plan` makes both from measurements.
    Vote and aggregation are those of the first choice, the other attributes the widest of all choices; `settled` tells
    which choice counts.

    Raises:
        StrategyError: unless edges ascend, one between two choices, and each choice has `probe_paths` or more; or if
            two choices converse with different instructions.
    """

    name: ClassVar[str] = "auto"
    choices: tuple[Strategy, ...]
    edges: tuple[float, ...] = ()
    probe_paths: int = 4
    width: int = field(init=False, repr=False)
    max_depth: int = field(init=False, repr=False)
    vote: VoteRule = field(init=False, repr=False)
    aggregation: Aggregation = field(init=False, repr=False)
    explore_share: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        choices = tuple(_made(each) for each in self.choices)
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "edges", tuple(float(edge) for edge in self.edges))
        check_count("probe_paths", self.probe_paths)
        if not choices or len(self.edges) != len(choices) - 1:
            raise StrategyError(
                f"{len(choices)} choices with {len(self.edges)} edges; give one edge between two choices"
            )
        if any(low >= high for low, high in pairwise(self.edges)):
            raise StrategyError(f"the edges {self.edges} do not ascend; sort them")
        if any(choice.width < self.probe_paths for choice in choices):
            raise StrategyError(f"a choice is narrower than the probe of {self.probe_paths} paths; probe with fewer")
        instructions = {
            tuple(map(each.instruction, (Origin.CRITIQUE, Origin.REVISION))) for each in choices if each.converses
        }
        if len(instructions) > 1:
            raise StrategyError("two choices converse with different instructions; give both the same")
        object.__setattr__(self, "width", max(choice.width for choice in choices))
        object.__setattr__(self, "max_depth", max(choice.max_depth for choice in choices))
        object.__setattr__(self, "vote", choices[0].vote)
        object.__setattr__(self, "aggregation", choices[0].aggregation)
        object.__setattr__(self, "explore_share", min(choice.explore_share for choice in choices))

    @property
    def uses_reward(self) -> bool:
        """True if any of the choices does."""
        return any(choice.uses_reward for choice in self.choices)

    @property
    def converses(self) -> bool:
        """True if any of the choices does."""
        return any(choice.converses for choice in self.choices)

    def instruction(self, origin: Origin) -> str:
        """Return the instruction of the choices that converse, which have the same one; see Strategy.instruction."""
        conversing = (choice for choice in self.choices if choice.converses)
        return next(conversing, self.choices[0]).instruction(origin)

    def settled(self, tree: SearchTree) -> Strategy:
        """Return the chosen strategy, this one while the probe is not complete."""
        return self._chosen(tree) or self

    def difficulty(self, tree: SearchTree) -> float:
        """Return the difficulty of the problem by the probe's paths that have ended, from 0 (easy) to 1 (hard)."""
        return self._difficulty(self._probe(tree))

    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the probe's paths, or the decision of the chosen strategy."""
        begun = tree.child_count(ROOT)
        if begun < self.probe_paths and tree.pending_count == 0 and tree.root.state is NodeState.OPEN:
            return Ask((Expansion(ROOT, self.probe_paths - begun, to_the_end=True),))
        chosen = self._chosen(tree)
        if chosen is None:
            return Ask()
        ask = chosen.decide(tree, winding_down=winding_down)
        more = chosen.width - begun
        missing = more > 0 and begun == self.probe_paths and not chosen.ends_early
        if ask.done and not ask.expansions and missing:
            # A strategy that sees only finished paths takes the search to be over: its own first step is missing.
            return Ask((Expansion(ROOT, more),), ask.prune)
        if self.uses_reward and not chosen.uses_reward:
            # All steps of this run are scored, and an ended path finishes with its score: it must not go on before.
            scored = (each for each in ask.expansions if each.node == ROOT or tree.node(each.node).score is not None)
            return Ask(tuple(scored), ask.prune, ask.done)
        return ask

    def _chosen(self, tree: SearchTree) -> Strategy | None:
        probe = self._probe(tree)
        waiting = any(node.state is NodeState.PENDING or self._unscored(node) for node in probe)
        if waiting or len(probe) < self.probe_paths:
            return None
        return self.choices[bisect_right(self.edges, self._difficulty(probe))]

    def _probe(self, tree: SearchTree) -> list[Node]:
        return [node for node in tree.next_steps(ROOT) if node.path[0] < self.probe_paths]

    def _difficulty(self, probe: Sequence[Node]) -> float:
        answered = [node for node in probe if node.state is NodeState.FINISHED and node.answer is not None]
        return difficulty(answered, self.probe_paths)

    def _unscored(self, node: Node) -> bool:
        return self.uses_reward and node.score is None and node.state is not NodeState.PRUNED


def difficulty(answered: Sequence[Node], paths: int) -> float:
    """Return the difficulty of a problem, from 0 (easy) to 1 (hard), by `paths` whole paths, those that died included.

    Without scores it is 1 minus the share of the leading answer among all paths, with scores 1 minus the mean of that
    share and of the mean score; a path without an answer counts as score 0. Answers that are written differently count
    as different.
    """
    if paths < 1 or not answered:
        return 1.0
    agreement = max(Counter(node.answer for node in answered).values()) / paths
    scores = [node.score for node in answered if node.score is not None]
    if not scores:
        return 1.0 - agreement
    return 1.0 - (agreement + fsum(scores) / paths) / 2


def _made(choice: Strategy | Mapping[str, Any]) -> Strategy:
    if isinstance(choice, Mapping):
        from ..registry import make_strategy

        return make_strategy(**choice)
    return choice
