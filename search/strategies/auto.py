"""The strategy that suits the problem: a few whole paths show how hard it looks, and that decides how to go on.

Compute-optimal choice by predicted difficulty (Snell et al., arXiv 2408.03314, section 3). The first paths are not
lost: they take places of the width of what is chosen, and vote.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, cast

from ramify.errors import StrategyError

from ..adaptive.difficulty import difficulty
from ..aggregation import Aggregation
from ..node import Node
from ..strategy import AnyStrategy, Ask, Expansion, WindsDown, check_count, check_told
from ..tree import ROOT, NodeState, SearchTree
from ..votes import VoteRule

EXPLORE_SHARE = 0.5
"""Share of the budget after which a chosen strategy that does not say so itself would wind down; it ignores it."""


@dataclass(frozen=True, slots=True)
class AutoState:
    """State of the chosen strategy, None before it was told anything, and whether it is to wind down."""

    inner: Any = None
    winding_down: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Auto:
    """Write `probe_paths` whole paths, then go on with one of `choices`.

    `choices` are strategies, or their JSON forms, for problems from easy to hard; `edges` are the difficulties (see
    `ramify.search.adaptive.difficulty`) between them in ascending order, one fewer than choices. `Profile.plan` makes
    both from measurements.

    Raises StrategyError unless edges ascend, one between two choices, and each choice has `probe_paths` or more.
    """

    name: ClassVar[str] = "auto"
    choices: tuple[AnyStrategy, ...]
    edges: tuple[float, ...] = ()
    probe_paths: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(_made(each) for each in self.choices))
        object.__setattr__(self, "edges", tuple(float(edge) for edge in self.edges))
        check_count("probe_paths", self.probe_paths)
        if not self.choices or len(self.edges) != len(self.choices) - 1:
            raise StrategyError(
                f"{len(self.choices)} choices with {len(self.edges)} edges; give one edge between two choices"
            )
        if any(low >= high for low, high in pairwise(self.edges)):
            raise StrategyError(f"the edges {self.edges} do not ascend; sort them")
        if any(choice.width < self.probe_paths for choice in self.choices):
            raise StrategyError(f"a choice is narrower than the probe of {self.probe_paths} paths; probe with fewer")

    @property
    def uses_reward(self) -> bool:
        """If any of the choices does."""
        return any(choice.uses_reward for choice in self.choices)

    @property
    def vote(self) -> VoteRule:
        """That of the first choice; `settled` tells which one counts."""
        return self.choices[0].vote

    @property
    def aggregation(self) -> Aggregation:
        """That of the first choice; `settled` tells which one counts."""
        return self.choices[0].aggregation

    @property
    def width(self) -> int:
        """That of the widest choice."""
        return max(choice.width for choice in self.choices)

    @property
    def max_depth(self) -> int:
        """That of the deepest choice."""
        return max(choice.max_depth for choice in self.choices)

    @property
    def explore_share(self) -> float:
        """The least of the choices that wind down."""
        shares = [choice.explore_share for choice in self.choices if isinstance(choice, WindsDown)]
        return min(shares, default=EXPLORE_SHARE)

    def settled(self, tree: SearchTree) -> AnyStrategy:
        """Return the chosen strategy, this one while the probe is not complete."""
        return self._chosen(tree) or self

    def difficulty(self, tree: SearchTree) -> float:
        """Return how hard the problem looks from the probe's paths that have ended."""
        return self._difficulty(self._probe(tree))

    def start(self) -> AutoState:
        """Return the state of a new run."""
        return AutoState()

    def ask(self, tree: SearchTree, state: AutoState) -> Ask:
        """Return the probe's paths, or what the chosen strategy wants."""
        missing = self.probe_paths - tree.child_count(ROOT)
        if missing > 0 and tree.pending_count == 0 and tree.root.state is NodeState.OPEN:
            return Ask((Expansion(ROOT, missing, to_the_end=True),))
        chosen = self._chosen(tree)
        if chosen is None:
            return Ask()
        ask = chosen.ask(tree, self._inner(chosen, tree, state))
        more = chosen.width - tree.child_count(ROOT)
        if ask.done and not ask.expansions and more > 0 and tree.child_count(ROOT) == self.probe_paths:
            # A strategy that sees only finished paths takes the search to be over: its own first step is missing.
            return Ask((Expansion(ROOT, more),), ask.prune)
        return ask

    def tell(self, tree: SearchTree, state: AutoState, node_ids: Iterable[int]) -> AutoState:
        """Check the results and pass them on to the chosen strategy."""
        node_ids = list(node_ids)
        check_told(tree, node_ids, scored=self.uses_reward)
        chosen = self._chosen(tree)
        own = [node_id for node_id in node_ids if not self._of_probe(tree.node(node_id))]
        if chosen is None or not own:
            return state
        return AutoState(chosen.tell(tree, self._inner(chosen, tree, state), own), state.winding_down)

    def wind_down(self, tree: SearchTree, state: AutoState) -> AutoState:
        """Return the state in which the chosen strategy winds down, if it can."""
        return AutoState(state.inner, winding_down=True)

    def _inner(self, chosen: AnyStrategy, tree: SearchTree, state: AutoState) -> Any:
        inner = chosen.start() if state.inner is None else state.inner
        if state.winding_down and isinstance(chosen, WindsDown):
            return cast("WindsDown[Any]", chosen).wind_down(tree, inner)
        return inner

    def _of_probe(self, node: Node) -> bool:
        return node.depth == 1 and node.index < self.probe_paths

    def _chosen(self, tree: SearchTree) -> AnyStrategy | None:
        probe = self._probe(tree)
        waiting = [node for node in probe if node.state is NodeState.PENDING or self._unscored(node)]
        if waiting or len(probe) < self.probe_paths:
            return None
        return self.choices[bisect_right(self.edges, self._difficulty(probe))]

    def _probe(self, tree: SearchTree) -> list[Node]:
        return [node for node in tree.level(1) if self._of_probe(node)]

    def _difficulty(self, probe: Sequence[Node]) -> float:
        answered = [node for node in probe if node.state is NodeState.FINISHED and node.answer is not None]
        return difficulty(answered, self.probe_paths)

    def _unscored(self, node: Node) -> bool:
        return self.uses_reward and node.score is None and node.state is not NodeState.PRUNED


def _made(choice: AnyStrategy | Mapping[str, Any]) -> AnyStrategy:
    if isinstance(choice, Mapping):
        from ..registry import make_strategy

        return make_strategy(**choice)
    return choice
