"""Opening of a run under a limit of time: one path to its end first, then the width that the measured speed allows.

A wide search of a slow model may end with every path unfinished. So the first child of the question grows alone, by
the strategy's own draws, until it has an answer; where its steps show that the whole width will fit, the rest follows
at once, and the search is the one that it would have been without an opening.

Where the time is so short that a second path cannot be expected, the first one is decoded greedily: an answer at
temperature 0 is shorter than a sampled one as a rule, and comes wherever the strategy `greedy` has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from math import floor
from typing import Any, cast

from ramify.search.node import Node, NodeState, Origin
from ramify.search.strategy import Ask, Expansion, Strategy
from ramify.search.tree import ROOT, SearchTree

from ..runtime.messages import SLOW_PARAMETERS
from ..runtime.serve.rates import Rates
from .meter import Meter

PATH_TOKENS = 256
"""Tokens of a path before one has finished: the length of answers to school problems with chat models."""
SHARE_OF_TIME = 0.85
"""Share of the time left that wider work is planned to take."""
WEIGHTS_PER_S = 1.5e10
"""Speed of a model that was never measured: weights times tokens in a second, as on two cores of a processor."""
GREEDY_NOTE = (
    "the limit of time seemed to allow one path at most, so the first one was decoded greedily (temperature 0)"
)


@dataclass(slots=True)
class Opening:
    """The first path of one run, and the width that comes after it.

    `first` is the strategy's expansion of the question, None before it was asked. `begun` children of it have been
    sent. `over` is true once the strategy decides by itself. `rates` returns the known speed of the model.
    `any_text` tells that a text that has ended without a marked answer may answer all the same. `greedy` is true once
    the first path is decoded at temperature 0, from where it stands to its end. `fixed` tells that the strategy has no
    width of its own to narrow, so that all that it asked for follows the first path. `max_depth` is the most steps of a
    path, None for no limit; the strategy ends a path that has them.
    """

    tree: SearchTree
    meter: Meter
    width: int
    over: bool = False
    first: Expansion | None = None
    begun: int = 0
    path_seconds: float = 0.0
    rates: Callable[[], Rates] = field(default=Rates)
    any_text: bool = False
    parameters: int = 0
    greedy: bool = False
    fixed: bool = False
    max_depth: int | None = None

    @classmethod
    def of(
        cls,
        tree: SearchTree,
        meter: Meter,
        strategy: Strategy,
        parameters: int,
        rates: Callable[[], Rates] = Rates,
        *,
        any_text: bool = False,
    ) -> Opening:
        """Return the opening of a run; it is over at once where the width cannot be too much for the time.

        `parameters` is the policy's number of weights, 0 if unknown.
        """
        needless = meter.budget.seconds is None or strategy.width < 2 or parameters < SLOW_PARAMETERS
        fixed = not any(each.name == "width" and each.init for each in fields(cast("Any", strategy)))
        return cls(
            tree,
            meter,
            strategy.width,
            over=needless or len(tree) > 1,
            rates=rates,
            any_text=any_text,
            parameters=parameters,
            fixed=fixed,
            max_depth=strategy.max_depth,
        )

    def next(self, ask: Callable[[], Ask], expect_paths: Callable[[int], None] | None) -> list[Expansion]:
        """Return the next step of the first path, or the expansions after it; [] if the opening ended and none is left.

        `ask` asks the strategy for its first decision, whose paths are told to `expect_paths`, None if nobody asks.
        """
        if self.first is not None:
            return self.go_on()
        wishes = self.start(ask())
        if expect_paths is not None and self.first is not None and not self.over:
            expect_paths(self.first.children)
        return wishes

    def rest_of_path(self, wishes: Sequence[Expansion]) -> list[Expansion]:
        """Return the rests of texts that wait to go on, that of a greedy first path at temperature 0."""
        if not self.greedy:
            return list(wishes)
        first = {each.node for each in wishes if self.tree.node(each.node).path[0] == 0}
        return [replace(each, temperature=0.0) if each.node in first else each for each in wishes]

    def start(self, ask: Ask) -> list[Expansion]:
        """Take the strategy's first decision and return the part of it that is done now."""
        self.first = ask.expansions[0] if ask.expansions else None
        needless = self.fixed and not self._one_path_at_most()
        if needless or self.first is None or self.first.node != ROOT or self.first.children < 2:
            self.over = True
            return list(ask.expansions)
        return self._another()

    def go_on(self) -> list[Expansion]:
        """Return the next expansions when the last step is there; [] if the opening ended with it and none is left.

        Sets `over` where the width opens: at once if all of it will fit, else after the first answer.
        """
        assert self.first is not None
        last = self._last()
        if self._fits():
            return self.widen(self.width)
        if last.state is NodeState.OPEN and (self.max_depth is None or last.depth < self.max_depth):
            return [self._next_of_path(last.id)]
        answered = last.answer is not None or (self.any_text and last.state is NodeState.FINISHED)
        if not answered and self.begun < self.first.children:
            return self._another()
        self.path_seconds = self._writing_seconds() / self.begun
        return self.widen(self.width if self.fixed else 1 + self.affordable())

    def widen(self, width: int) -> list[Expansion]:
        """End the opening with a width in all; return the missing part of the strategy's first decision."""
        assert self.first is not None
        self.over = True
        self.width = min(self.width, width)
        missing = min(self.first.children, self.width) - self.begun
        return [replace(self.first, children=missing)] if missing > 0 else []

    def affordable(self) -> int:
        """Return how many more paths like the first one fit into the time that is left."""
        alone, rates = self._paths_left(self.path_seconds), self.rates()
        if alone < 2 and rates.widest_tokens_per_s is None:
            # A gain that was never measured is not counted on where it decides about the second path.
            return floor(alone)
        return next((paths for paths in range(self.width, 1, -1) if paths <= alone * rates.gain(paths)), floor(alone))

    def wider(self, asked: int) -> int:
        """Return the width, up to the one `asked`, that the time left allows when all of the present width is done."""
        done = self.tree.finished_count
        more = floor(self._paths_left(self._writing_seconds() / done)) if done else 0
        return min(asked, self.width + more)

    def _writing_seconds(self) -> float:
        """Seconds of the run without those of its prompt, which is read once, whatever the number of paths.

        A run whose model's speed of reading is not known has taken them all for its paths.
        """
        usage, rates = self.meter.usage(), self.rates()
        if rates.prompt_tokens_per_s is None or rates.single_tokens_per_s is None:
            return usage.seconds
        reading_s = usage.policy.prompt_tokens / rates.prompt_tokens_per_s
        return max(usage.seconds - reading_s, usage.policy.generated_tokens / rates.single_tokens_per_s)

    def _paths_left(self, path_seconds: float) -> float:
        left_s = self.meter.seconds_left()
        return float(self.width) if left_s is None else SHARE_OF_TIME * left_s / max(path_seconds, 1e-3)

    def _another(self) -> list[Expansion]:
        assert self.first is not None
        self.begun += 1
        return [self._next_of_path(ROOT)]

    def _next_of_path(self, node: int) -> Expansion:
        """Return the next step of the path that grows alone; only the first path may be greedy."""
        assert self.first is not None
        step = replace(self.first, node=node, children=1)
        if step.temperature == 0.0:
            return step
        self.greedy = self.greedy or (self.begun == 1 and self._one_path_at_most())
        if self.begun > 1 or not self.greedy:
            return step
        # A rest of a path keeps its origin, by which a saved tree is gone on with.
        return replace(step, temperature=0.0, origin=step.origin if step.to_the_end else Origin.GREEDY)

    def _one_path_at_most(self) -> bool:
        """Tell whether two paths are more than the whole time allows, by the speed of the model."""
        left_s = self.meter.seconds_left()
        if left_s is None:
            return False
        rates, tokens = self.rates(), self.meter.usage().policy.generated_tokens
        if tokens and not rates.now:
            # A speed from earlier decides once; the tokens of this run are too few to contradict it.
            return False
        path_s = rates.seconds(1, prompt_tokens=self.meter.prompt_tokens, tokens=PATH_TOKENS)
        if path_s is None:
            path_s = PATH_TOKENS * self.parameters / WEIGHTS_PER_S
        return 2 * path_s > SHARE_OF_TIME * (self.meter.seconds + left_s)

    def _last(self) -> Node:
        """Return the deepest node of the path that was begun last."""
        return max(self.tree, key=lambda node: (node.path[:1], len(node.path)))

    def _fits(self) -> bool:
        """Tell whether the whole width will fit, by the tokens per second so far."""
        usage, left_s = self.meter.usage(), self.meter.seconds_left()
        if left_s is None:
            return True
        tokens = usage.policy.generated_tokens
        if not tokens:
            return False
        path_s = PATH_TOKENS * self._writing_seconds() / tokens
        return path_s * self.width / self.rates().gain(self.width) <= SHARE_OF_TIME * left_s
