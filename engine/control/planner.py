"""Planner of one run: which steps are written next, how many of them the budget allows, and why the search ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from ramify.config import RunConfig
from ramify.search.node import FinishReason, NodeState, Origin, PruneReason
from ramify.search.stopping import StopReason
from ramify.search.strategies.sampling import Greedy
from ramify.search.strategy import Ask, Expansion, Strategy

from .continuations import Continuations
from .dispatch import Dispatcher, StepsInFlight
from .meter import Meter
from .node_ends import NodeEnds
from .opening import Opening
from .requests import Dispatch
from .steering import Steering
from .thinking import Thinking


class Planner:
    """Decides which steps of one tree are written next.

    `strategy` is asked for them, narrowed where the opening allows fewer paths. `stop_reason` is why the search ends,
    None while it goes on. Before the strategy come nodes of a saved tree that are still to be written, what a person
    asked for, texts that have to go on (`continued`), and the opening. `thinking` is None without thoughts.
    """

    def __init__(
        self,
        config: RunConfig,
        meter: Meter,
        *,
        dispatcher: Dispatcher,
        steps: StepsInFlight,
        ends: NodeEnds,
        steering: Steering,
        continued: Continuations,
        opening: Opening,
        thinking: Thinking | None,
    ) -> None:
        self.stop_reason: StopReason | None = None
        self.opening = opening
        self.expect_paths: Callable[[int], None] | None = None
        """Takes the number of paths that the strategy wants at first, None if nobody asks."""
        self._config = config
        self._meter = meter
        self._dispatcher = dispatcher
        self._steps = steps
        self._ends = ends
        self._steering = steering
        self._continued = continued
        self._thinking = thinking
        self._winding_down = False
        self._asked_width = self.strategy.width
        meter.alone = self._asked_width == 1 or not opening.over

    @property
    def narrowed(self) -> bool:
        """True while the strategy has a smaller width than it was made with, for want of time."""
        return self.strategy.width < self._asked_width

    @property
    def most_paths(self) -> int:
        """The most paths that may finish: those of the width that was asked for, as long as time may be left over."""
        return self._asked_width if self.narrowed else self._ends.results.votes.strategy.width

    @property
    def strategy(self) -> Strategy:
        """The strategy that is asked; the ends of nodes keep it."""
        return self._ends.strategy

    def next_work(self) -> Dispatch | None:
        """Return the children to be written now, None if there are none.

        Sets `stop_reason` when nothing is in flight and the strategy is done or the budget allows no further step.
        """
        if self.stop_reason is not None:
            return None
        if self._dispatcher.unwritten:
            return self._resume()
        asked = self._steering.take_expansions()
        if asked and (dispatch := self._expand(asked)) is not None:
            return dispatch
        if self._continued.going_on:
            return self._go_on()
        if not self.opening.over:
            return self._open()
        self._wind_down()
        for node in () if self._config.cut is None else self._config.cut(self._ends.tree):
            if not self._waits_for_score(node):
                self._ends.prune(node, PruneReason.CONFIDENCE)
        ask = self._ask()
        dispatch = self._dispatcher.dispatch(ask.expansions) if ask.expansions else None
        if dispatch is None and self._steps.none:
            dispatch = self._widen() if ask.done else None
        if dispatch is None and self._steps.none:
            self.stop_reason = self._ended(exhausted=bool(ask.expansions))
        return dispatch

    def _expand(self, asked: Sequence[Expansion]) -> Dispatch | None:
        """Return the children that the user asked for, as many as the budget allows.

        While steps are in flight, the rest is asked for again after them: what they reserved may turn out unused.
        """
        in_flight = not self._steps.none
        dispatch = self._dispatcher.dispatch(asked)
        if in_flight or dispatch is not None:
            begun = Counter(request.parent for request in dispatch.requests) if dispatch is not None else Counter[int]()
            for each in asked:
                granted = min(each.children, begun[each.node])
                begun[each.node] -= granted
                if granted < each.children:
                    self._steering.expand(each.node, each.children - granted)
        return dispatch

    def _waits_for_score(self, node_id: int) -> bool:
        """Tell whether a step that may end its path has yet to be scored, before which the path is not finished."""
        return self.strategy.uses_reward and self._ends.tree.node(node_id).score is None

    def _resume(self) -> Dispatch | None:
        """Return the nodes of a saved tree that are still to be written, as many as the budget allows."""
        dispatch = self._dispatcher.write_again()
        if dispatch is None and self._steps.none:
            self.stop_reason = self._ended(exhausted=True)
        return dispatch

    def _go_on(self) -> Dispatch | None:
        """Return the texts that go on after an insertion into their paths, as many as the budget allows.

        If it allows none and nothing is in flight, their steps end there.
        """
        wishes = self.opening.rest_of_path(self._continued.expansions(self.strategy.sampling_temperature))
        dispatch = self._dispatcher.dispatch(wishes)
        self._continued.begun({request.parent for request in dispatch.requests} if dispatch is not None else set())
        if dispatch is None and self._steps.none:
            for node in self._continued.give_up():
                self._ends.settle(node)
            self.stop_reason = self._ended(exhausted=True)
        return dispatch

    def _open(self) -> Dispatch | None:
        """Return the next step of the opening; nothing while one is in flight."""
        if not self._steps.none:
            return None
        opening = self.opening
        wishes = opening.next(self._ask, self.expect_paths)
        self._meter.alone = not opening.over
        if opening.over and opening.width < self.strategy.width:
            self._set_width(opening.width)
        dispatch = self._dispatcher.dispatch(wishes) if wishes else None
        if dispatch is None and (wishes or not opening.over):
            self.stop_reason = self._ended(exhausted=True)
        return dispatch if wishes else self.next_work()

    def _widen(self) -> Dispatch | None:
        """Return more paths of a search whose opening had to narrow it, if it is done and there is time left."""
        width = self.opening.wider(self._asked_width)
        if self.strategy.width == self._asked_width or width <= self.strategy.width:
            return None
        self._set_width(width)
        ask = self._ask()
        return self._dispatcher.dispatch(ask.expansions) if ask.expansions else None

    def _set_width(self, width: int) -> None:
        self.opening.width = width
        self._ends.strategy = replace(cast("Any", self.strategy), width=width)
        self._ends.results.votes.follow(self.strategy)

    def _ended(self, *, exhausted: bool) -> StopReason:
        """Return why the search is over: the limit that refused or cut a step, if one did.

        `exhausted` says that steps are left which the budget does not allow. Steps that were refused and not asked for
        again are missing where fewer paths than the width have ended.
        """
        missing = bool(self._dispatcher.lacking) and self._ends.tree.finished_count < self.strategy.width
        limit = self._meter.exhausted() if exhausted else None
        limit = limit or (self._dispatcher.refused_by if exhausted or missing else None)
        narrowed = StopReason.BUDGET_SECONDS if self._lacks_paths() else None
        return limit or self._meter.cut_by or narrowed or StopReason.COMPLETED

    def _lacks_paths(self) -> bool:
        """Tell whether a strategy that a limit of time narrowed would have written more paths."""
        if not self.narrowed:
            return False
        wide = replace(cast("Any", self.strategy), width=self._asked_width)
        return not (wide.ends_early and wide.decide(self._ends.tree).done)

    def _ask(self) -> Ask:
        """Ask the strategy and prune as it says, again where it only pruned and has not said that it is done."""
        while True:
            ask = self.strategy.decide(self._ends.tree, winding_down=self._winding_down)
            for node, reason in ask.prune:
                self._ends.prune(node, reason)
            if ask.expansions or ask.done or not ask.prune:
                return ask

    def _wind_down(self) -> None:
        """End exploring when the strategy's share of the budget is used.

        This happens only while nothing is in flight, so that the order of results cannot change the decision.
        """
        if not self._winding_down and self._steps.none:
            self._winding_down = self._meter.progress() >= self.strategy.explore_share

    def rescue(self) -> Dispatch | None:
        """Return one greedy continuation of the best unfinished path if a limit ended the run without an answer.

        It has the part of each limit that was withheld for it. None if there is an answer, or nothing is left.
        """
        out_of_budget = self.stop_reason is not None and self.stop_reason.is_budget
        if not out_of_budget or self._ends.results.votes.vote().answer is not None:
            return None
        best = self._ends.results.path_ends.most_promising()
        if best is None:
            return None
        if self._thinking is not None and self._thinking.is_open(best.id):
            # What is left of the budget is for the reply.
            best = self._thinking.end(best.id)
        return self._dispatcher.finish(Expansion(best.id, 1, 0.0, to_the_end=True))

    def settle_rescue(self) -> None:
        """Set the stop reason of a greedy search to completed if its one path, after a cut, was finished after all.

        A path with a thought is not: its thought was cut for the reply.
        """
        ended = self.stop_reason is not None and self.stop_reason.is_budget
        if ended and self._thinking is None and isinstance(self.strategy, Greedy):
            rest = next((node for node in self._ends.tree if node.origin is Origin.RESCUE), None)
            if rest is not None and rest.state is NodeState.FINISHED and rest.finish_reason is not FinishReason.BUDGET:
                self.stop_reason = StopReason.COMPLETED
