"""Base class of search strategies: a frozen configuration whose pure decisions grow a search tree.

The contract, which the tests hold every strategy to:

- `decide` changes nothing. The state of a search is in the tree and nowhere else.
- `decide` never asks again for pending children, and asks again for earlier children only if they were not added.
- Finished and pruned nodes are never expanded.
- Decisions depend on paths and scores, not on node ids, so scheduling cannot change the outcome.

The engine's part: it applies an Ask at once (prunes, then `add_pending` for each child it can afford). Before the next
call of `decide` it completes a node and finishes it, prunes it or leaves it open; a score may come later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import ClassVar, TypeVar

from ramify.errors import StrategyError
from ramify.text import nearest

from .budget import MOST_PATHS
from .node import Origin
from .tree import PruneReason, SearchTree
from .votes import Aggregation, VoteRule

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A request for more children of an open node.

    `temperature` is the sampling temperature; None takes the run's, 0 is greedy. `to_the_end` asks for children that
    hold the rest of their path, all steps in one, instead of one step each. `about` and `origin` ask for a critique or
    a revision of that finished node's text instead (see `Strategy.converses`); None for steps.
    """

    node: int
    children: int
    temperature: float | None = None
    to_the_end: bool = False
    about: int | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Decision of a strategy: children to add and nodes to prune. Empty and not `done`: wait for the pending nodes.

    `done` means that nothing is left to do once `prune` is applied.
    """

    expansions: tuple[Expansion, ...] = ()
    prune: tuple[tuple[int, PruneReason], ...] = ()
    done: bool = False


class Strategy(ABC):
    """A way to spend a budget on a search tree; the module's docstring has the contract.

    A strategy is a frozen dataclass derived from this class: the attributes below are its fields, those that are no
    options with `field(init=False)`.
    """

    __slots__ = ()

    name: ClassVar[str]
    """Name on the command line and in saved runs."""
    guided: ClassVar[bool] = False
    """True if decisions need the scores of steps."""
    leaves_only: ClassVar[bool] = False
    """True if a node that has children never gets more of them; the cached state that expands it is then freed."""
    ends_early: ClassVar[bool] = False
    """True if it may be done before `width` paths have begun, because the answer is decided."""
    sampling_temperature: ClassVar[float | None] = None
    """Sampling temperature of every step, 0 for greedy decoding; None takes the run's."""

    width: int
    """Most paths that are alive or finished at once."""
    max_depth: int
    """Most steps on a path."""
    vote: VoteRule
    """Rule by which finished paths decide the answer."""
    aggregation: Aggregation
    """Aggregation of a path's step scores to the score that votes."""
    explore_share: float = 1.0
    """Share of the budget, above 0 to 1, after which `decide` is called with `winding_down`; 1 for never."""

    def __post_init__(self) -> None:
        """Check the attributes that all strategies have, and take names for votes and aggregations.

        Raises:
            StrategyError: if one is out of range.
        """
        check_count("width", self.width)
        check_count("max_depth", self.max_depth)
        object.__setattr__(self, "vote", choice("vote", VoteRule, self.vote))
        object.__setattr__(self, "aggregation", choice("aggregation", Aggregation, self.aggregation))

    @property
    def uses_reward(self) -> bool:
        """True if steps must be scored, for the decisions or for the vote."""
        return self.guided or self.vote is not VoteRule.MAJORITY

    @property
    def converses(self) -> bool:
        """True if finished texts may be followed by critiques or revisions, so that they are kept."""
        return False

    @abstractmethod
    def decide(self, tree: SearchTree, *, winding_down: bool = False) -> Ask:
        """Return the next decision.

        `winding_down` says that exploring is over and unfinished paths are to be brought to their ends: only finished
        paths vote, so paths unfinished when the budget ends were paid for nothing. Once set it stays set, and it is
        first set while nothing is pending. Strategies that do not explore ignore it.
        """

    def settled(self, tree: SearchTree) -> Strategy:
        """Return the strategy whose vote, aggregation and width count: this one, or the one that it has chosen."""
        return self

    def instruction(self, origin: Origin) -> str:
        """Return the instruction to the policy for a critique or a revision of the text before.

        Raises:
            StrategyError: if the strategy does not converse.
        """
        raise StrategyError(f"the strategy {self.name} asks for no {origin}; leave it out")


def check_count(name: str, value: object) -> None:
    """Check that an option is a whole number from 1 to `MOST_PATHS`.

    Raises:
        StrategyError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise StrategyError(f"{name} is {value!r}; use 1 or more")
    if value > MOST_PATHS:
        raise StrategyError(f"{name} is {_digits(value)}; use {MOST_PATHS} or less")


def _digits(value: int) -> str:
    return str(value) if value < 10**18 else "a number of more than 18 digits"


def check_whole(name: str, value: object, *, least: int | None = None) -> None:
    """Check that an option is a whole number: from `least` to `MOST_PATHS`, or any if that is None.

    Raises:
        StrategyError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise StrategyError(f"{name} is {value!r}; use " + ("a whole number" if least is None else f"{least} or more"))
    if least is not None and value > MOST_PATHS:
        raise StrategyError(f"{name} is {_digits(value)}; use {MOST_PATHS} or less")


def check_flag(name: str, value: object) -> None:
    """Check that an option is True or False; a text would count as True.

    Raises:
        StrategyError: if it is not.
    """
    if not isinstance(value, bool):
        raise StrategyError(f"{name} is {value!r}; use true or false")


def check_positive(name: str, value: object, *, most: float | None = None) -> None:
    """Check that an option is a finite number above 0; `most` is the highest, None for no bound.

    Raises:
        StrategyError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise StrategyError(f"{name} is {value!r}; use a number above 0")
    if most is not None and value > most:
        raise StrategyError(f"{name} is {value!r}; use {most:g} or less")


def check_share(name: str, value: object) -> None:
    """Check that an option is a number above 0, up to 1.

    Raises:
        StrategyError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise StrategyError(f"{name} is {value!r}; use a number above 0, up to 1")


def choice(name: str, kind: type[ChoiceT], value: str) -> ChoiceT:
    """Return the member of an option's closed set.

    Raises:
        StrategyError: if there is none; the message names the nearest.
    """
    try:
        return kind(value)
    except ValueError:
        raise StrategyError(f"{name} cannot be {value!r}{nearest(str(value), kind)}") from None
