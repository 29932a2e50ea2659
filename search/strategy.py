"""What a search strategy is: a frozen configuration that is asked what to do next and told what came back.

The contract, which the tests hold every strategy to:

- `ask` and `tell` change neither the tree nor the state they get; all that evolves is the tree and a frozen state.
- `ask` never asks again for what is pending, and asks again for what it asked before only if it was not done.
- `tell` is idempotent and does not depend on the order in which results arrive.
- Finished and pruned nodes are never expanded.
- What is decided depends on paths and scores, not on node ids, so scheduling cannot change the outcome.

The run's part: it applies an Ask at once (prunes, then `add_pending` for each child it may afford); it completes a
node and finishes, prunes or leaves it open before the next `ask`; it tells a node after scoring it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from ramify.errors import StrategyError
from ramify.text import nearest

from .aggregation import Aggregation
from .node import Origin
from .tree import NodeState, PruneReason, SearchTree
from .votes import VoteRule

StateT = TypeVar("StateT")
ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A wish for more children of an open node.

    `temperature` is the sampling temperature; None takes the run's, 0 is greedy. `to_the_end` asks for children that
    hold the rest of their path, all steps in one, instead of one step each. `about` and `origin` ask for a critique or
    a revision of that finished node's text instead (see `Converses`); None for steps.
    """

    node: int
    children: int
    temperature: float | None = None
    to_the_end: bool = False
    about: int | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a strategy wants done now. Nothing at all means: wait for what is pending.

    `done` means that nothing is left to do once `prune` is applied.
    """

    expansions: tuple[Expansion, ...] = ()
    prune: tuple[tuple[int, PruneReason], ...] = ()
    done: bool = False


class Strategy(Protocol[StateT]):
    """A way to spend a budget on a search tree; see the module's contract."""

    name: ClassVar[str]

    @property
    def uses_reward(self) -> bool:
        """Whether steps must be scored."""
        ...

    @property
    def vote(self) -> VoteRule:
        """How finished paths decide the answer."""
        ...

    @property
    def aggregation(self) -> Aggregation:
        """How the scores of a path's steps become one."""
        ...

    @property
    def width(self) -> int:
        """Most paths that are alive or finished at once."""
        ...

    @property
    def max_depth(self) -> int:
        """Most steps on a path."""
        ...

    def start(self) -> StateT:
        """Return the state of a new run."""
        ...

    def ask(self, tree: SearchTree, state: StateT) -> Ask:
        """Return what to do next."""
        ...

    def tell(self, tree: SearchTree, state: StateT, node_ids: Iterable[int]) -> StateT:
        """Return the state after these nodes got their result."""
        ...


AnyStrategy = Strategy[Any]


@runtime_checkable
class WindsDown(Protocol[StateT]):
    """A strategy that can leave exploring and bring its best unfinished paths to their ends.

    Only finished paths vote, so what is unfinished when the budget ends was spent for nothing.
    """

    @property
    def explore_share(self) -> float:
        """Share of the budget, from 0 to 1, after which the run calls `wind_down`."""
        ...

    def wind_down(self, tree: SearchTree, state: StateT) -> StateT:
        """Return the state from which `ask` only finishes paths; called at most once, while nothing is pending."""
        ...


@runtime_checkable
class Settles(Protocol):
    """A strategy that chooses another one on the way."""

    def settled(self, tree: SearchTree) -> AnyStrategy:
        """Return the strategy whose vote, aggregation and width count as the tree stands."""
        ...


def settled(strategy: AnyStrategy, tree: SearchTree) -> AnyStrategy:
    """Return the strategy whose vote, aggregation and width count: the one itself, or the one it has chosen."""
    return strategy.settled(tree) if isinstance(strategy, Settles) else strategy


def expands_leaves_only(strategy: AnyStrategy, tree: SearchTree) -> bool:
    """Tell whether a strategy says by its `leaves_only` that it never comes back to a node that has children.

    What is kept for such nodes is freed then, all but the question's.
    """
    return bool(getattr(settled(strategy, tree), "leaves_only", False))


@runtime_checkable
class Converses(Protocol):
    """A strategy that talks with the policy about what it wrote, so that finished texts are needed on."""

    def instruction(self, origin: Origin) -> str:
        """Return what is said to the policy to get a critique or a revision of the text before."""
        ...


@dataclass(frozen=True, slots=True)
class NoState:
    """State of a strategy that decides from the tree alone."""


def check_told(tree: SearchTree, node_ids: Iterable[int], *, scored: bool) -> None:
    """Raise StrategyError, naming the node, if a told node is still pending or lacks the score it needs."""
    for node_id in node_ids:
        node = tree.node(node_id)
        if node.state is NodeState.PENDING:
            raise StrategyError(f"node {node_id} was told while pending; complete it first")
        if scored and node.score is None and node.state is not NodeState.PRUNED:
            raise StrategyError(f"node {node_id} was told without a score; score it first")


def check_count(name: str, value: object) -> None:
    """Raise StrategyError if an option is not a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise StrategyError(f"{name} is {value!r}; use 1 or more")


def check_whole(name: str, value: object, *, least: int | None = None) -> None:
    """Raise StrategyError if an option is not a whole number of `least` or more; None for any whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise StrategyError(f"{name} is {value!r}; use " + ("a whole number" if least is None else f"{least} or more"))


def check_flag(name: str, value: object) -> None:
    """Raise StrategyError if an option is not True or False; any text would count as True."""
    if not isinstance(value, bool):
        raise StrategyError(f"{name} is {value!r}; use true or false")


def check_positive(name: str, value: object) -> None:
    """Raise StrategyError if an option is not a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise StrategyError(f"{name} is {value!r}; use a number above 0")


def check_share(name: str, value: object) -> None:
    """Raise StrategyError if an option is not a number above 0, up to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise StrategyError(f"{name} is {value!r}; use a number above 0, up to 1")


def choice(name: str, kind: type[ChoiceT], value: str) -> ChoiceT:
    """Return the member of an option's closed set; raises StrategyError with the nearest one."""
    try:
        return kind(value)
    except ValueError:
        raise StrategyError(f"{name} cannot be {value!r}{nearest(str(value), kind)}") from None
