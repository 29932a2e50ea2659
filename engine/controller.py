"""The state of one run and every decision about it, without I/O or waiting.

The controller owns the tree, the strategy's state and the meter. The run around it only carries work to the models
and results back, so that a search can be driven, paused, replayed and tested without either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from ramify.engine.config import RunConfig
from ramify.engine.errors import UsageError
from ramify.engine.events import AnswerUpdate, Event, NodeAdded, NodePruned, NodeScored, NodesDispatched
from ramify.engine.policy import AdoptedNode, StepRequest, StepResult, Turn
from ramify.engine.runtime.messages import SamplingParams
from ramify.engine.seeds import node_seed
from ramify.engine.steering import Hand
from ramify.engine.usage import RoleUsage
from ramify.search.budget import Budget, BudgetMeter, Grant
from ramify.search.expectation import expected_rest
from ramify.search.node import FinishReason, Node, NodeState, Origin, PruneReason
from ramify.search.stopping import Situation, Stop, StopReason
from ramify.search.strategies.greedy import Greedy
from ramify.search.strategy import AnyStrategy, Ask, Converses, Expansion, WindsDown, settled
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate, Vote, candidates, decide

WHOLE = (FinishReason.STEP, FinishReason.EOS)
"""Reasons after which a step's text is complete, so that an answer in it can be trusted."""

DEAD_ENDS = {
    FinishReason.BUDGET: PruneReason.BUDGET,
    FinishReason.CANCELLED: PruneReason.STOPPED,
    FinishReason.CONTEXT: PruneReason.PATH_LENGTH,
}


@dataclass(slots=True)
class Dispatch:
    """Children to be written together, and the part of the budget that they share."""

    requests: list[StepRequest]
    grant: Grant


class SearchController:
    """Owns one run's tree, strategy state and meter; see the module's docstring.

    `extract` reads an answer from a path's text, `same` tells whether two answers are equal, `emit` takes events.
    `tree` is one to go on from, whose nodes the policy has to take in (`take_adopted`); None starts with the question.
    """

    def __init__(
        self,
        *,
        strategy: AnyStrategy,
        config: RunConfig,
        meter: BudgetMeter,
        extract: Callable[[str], str | None],
        same: Callable[[str, str], bool],
        emit: Callable[[Event], None],
        tree: SearchTree | None = None,
    ) -> None:
        self.tree = tree or SearchTree()
        self.meter = meter
        self.strategy = strategy
        self.hand = Hand(self.tree)
        self.stop_reason: StopReason | None = None
        self.stopped_by: Stop | None = None
        self._state = strategy.start()
        self._config = config
        self._extract = extract
        self._same = same
        self._emit = emit
        self._grants: dict[int, Grant] = {}
        self._writing: set[int] = set()
        self._unscored: list[int] = []
        self._scoring: set[int] = set()
        self._released: list[int] = []
        self._adopted: list[AdoptedNode] = []
        self._unwritten: list[int] = []
        self._reward_tokens_paid = 0
        self._winding_down = False
        self._news = False
        self._vote: Vote | None = None
        if tree is not None:
            self._go_on()

    # Work out

    @property
    def idle(self) -> bool:
        """True if nothing is being generated or waits for a score."""
        return not (self._writing or self._unscored or self._scoring)

    def next_work(self) -> Dispatch | None:
        """Ask the strategy, reserve the budget and return the children to be written now, if any.

        Sets `stop_reason` when nothing is in flight and the strategy is done or its wish cannot be paid.
        """
        if self.stop_reason is not None:
            return None
        if self._unwritten:
            return self._written_again_or_over()
        by_hand = self.hand.take_wishes()
        if by_hand:
            return self._dispatch(by_hand)
        self._wind_down()
        for node in () if self._config.cut is None else self._config.cut(self.tree):
            self._prune(node, PruneReason.CONFIDENCE)
        ask = self._ask()
        dispatch = self._dispatch(ask.expansions) if ask.expansions else None
        if dispatch is None and self.idle:
            self.stop_reason = (self.meter.exhausted() if ask.expansions else None) or StopReason.COMPLETED
        return dispatch

    def _written_again_or_over(self) -> Dispatch | None:
        dispatch = self._write_again()
        if dispatch is None and self.idle:
            self.stop_reason = self.meter.exhausted() or StopReason.COMPLETED
        return dispatch

    def _ask(self) -> Ask:
        """Ask the strategy and prune as it says, again where it only pruned and has not said that it is done."""
        while True:
            ask = self.strategy.ask(self.tree, self._state)
            for node, reason in ask.prune:
                self._prune(node, reason)
            if ask.expansions or ask.done or not ask.prune:
                return ask

    def _wind_down(self) -> None:
        """Tell a strategy that explores when its share of the budget is used.

        Only between its rounds, so that the order of results within a round cannot change what it sees.
        """
        if self._winding_down or not self.idle or not isinstance(self.strategy, WindsDown):
            return
        strategy = cast("WindsDown[Any]", self.strategy)
        if self.meter.progress() >= strategy.explore_share:
            self._winding_down = True
            self._state = strategy.wind_down(self.tree, self._state)

    def finishing_touch(self) -> Dispatch | None:
        """Return one greedy continuation of the best unfinished path if the budget ended a run without an answer.

        The meter's reserve pays for it. None if there is an answer, or nothing left to pay with.
        """
        out_of_budget = self.stop_reason is not None and self.stop_reason.is_budget
        if not out_of_budget or self.vote().answer is not None:
            return None
        open_nodes = self.tree.open_nodes()
        if not open_nodes:
            return None
        best = max(open_nodes, key=_promise)
        return self._dispatch([Expansion(best.id, 1, 0.0, to_the_end=True)], rescue=True)

    def take_unscored(self) -> list[int]:
        """Return the nodes that wait for a score; they count as in flight until `score` or `unscorable`."""
        nodes, self._unscored = self._unscored, []
        self._scoring.update(nodes)
        return nodes

    def take_released(self) -> list[int]:
        """Return the nodes that no one will expand again, each once."""
        nodes, self._released = self._released, []
        return nodes

    def _dispatch(self, expansions: Sequence[Expansion], *, rescue: bool = False) -> Dispatch | None:
        plan = [(each, self._room(each)) for each in expansions for _ in range(each.children)]
        most = max(room for _, room in plan)
        if rescue:
            grant = self.meter.reserve_finish(most)
        else:
            grant = self.meter.reserve(len(plan), most, worth_tokens=self._worth(expansions))
        return self._send([(self._add(each, rescue), each, room) for each, room in plan[: grant.children]], grant)

    def _worth(self, expansions: Sequence[Expansion]) -> int:
        """Return the tokens that each rest of a path is expected to take, 1 for steps and where nothing limits them."""
        ends = [each.node for each in expansions if each.to_the_end for _ in range(each.children)]
        return expected_rest(self.tree, ends) if ends and not self.meter.budget.is_unlimited else 1

    def _write_again(self) -> Dispatch | None:
        """Dispatch as many as can be paid of the nodes of a saved tree whose steps were cut."""
        plan = [(node, self._wish(node)) for node in map(self.tree.node, self._unwritten)]
        grant = self.meter.reserve(len(plan), max(self._room(wish) for _, wish in plan))
        self._unwritten = self._unwritten[grant.children :]
        return self._send([(node, wish, self._room(wish)) for node, wish in plan[: grant.children]], grant)

    def _send(self, plan: Sequence[tuple[Node, Expansion, int]], grant: Grant) -> Dispatch | None:
        if not plan:
            return None
        requests = [self._request(node, wish, room) for node, wish, room in plan]
        self._grants.update((request.child, grant) for request in requests)
        self._writing.update(request.child for request in requests)
        for parent in dict.fromkeys(request.parent for request in requests):
            nodes = tuple(request.child for request in requests if request.parent == parent)
            self._emit(NodesDispatched(parent=parent, nodes=nodes))
        return Dispatch(requests, grant)

    def _room(self, wish: Expansion) -> int:
        left = max(1, self._config.max_path_tokens - self.tree.path_token_count(wish.node))
        return left if wish.to_the_end else min(self._config.max_step_tokens, left)

    def _add(self, wish: Expansion, rescue: bool) -> Node:
        rest = Origin.RESCUE if rescue else Origin.REST
        origin = wish.origin or (rest if wish.to_the_end else Origin.MODEL)
        return self.tree.add_pending(wish.node, origin=origin, about=wish.about)

    def _wish(self, node: Node) -> Expansion:
        assert node.parent is not None
        # Of all strategies greedy decoding alone draws otherwise than the run says.
        temperature = 0.0 if isinstance(self.strategy, Greedy) else None
        if node.about is not None:
            return Expansion(node.parent, 1, temperature, True, node.about, node.origin)
        return Expansion(node.parent, 1, temperature, to_the_end=node.origin is Origin.REST)

    def _request(self, node: Node, wish: Expansion, room: int) -> StepRequest:
        return StepRequest(
            parent=wish.node,
            child=node.id,
            path=node.path,
            seed=node_seed(self._config.seed, node.path),
            prefix=self.tree.path_text(wish.node),
            max_tokens=room,
            sampling=self._sampling(wish.temperature),
            to_the_end=wish.to_the_end,
            turns=self._turns(node),
            keep=isinstance(self.strategy, Converses),
        )

    def _turns(self, node: Node) -> tuple[Turn, ...]:
        """Return the conversation that a critique or a revision goes on from, oldest text first."""
        turns = list[Turn]()
        while node.about is not None:
            assert isinstance(self.strategy, Converses)
            instruction, node = self.strategy.instruction(node.origin), self.tree.node(node.about)
            turns.append(Turn(node=node.id, text=node.text, tokens=node.tokens, instruction=instruction))
        return tuple(reversed(turns))

    def _sampling(self, temperature: float | None) -> SamplingParams:
        sampling = self._config.sampling
        return sampling if temperature is None else replace(sampling, temperature=temperature)

    # Results in

    def complete(self, result: StepResult) -> None:
        """Record a written step; its part of the budget is settled once it is scored or known to need no score."""
        self._writing.discard(result.child)
        node = self.tree.complete(
            result.child,
            result.text,
            result.tokens,
            result.logprob,
            result.finish_reason,
            token_count=result.generated_tokens,
        )
        if node.about is not None:
            more = result.prompt_tokens + result.reevaluated_tokens
            self.meter.charge(total_tokens=more, flops=more * self.meter.price.flops_per_generated)
        self._take_in(node)

    def _take_in(self, node: Node) -> None:
        answer = self._answer(node)
        self._emit(_added(node, answer))
        reason = PruneReason.USER if node.id in self.hand.doomed else self._dead_end(node, answer)
        if reason is not None:
            self._prune(node.id, reason)
        elif self.strategy.uses_reward and node.origin is not Origin.CRITIQUE:
            self._unscored.append(node.id)
            return
        else:
            self._finish_if_ended(node, answer)
        self._tell(node.id)

    def score(self, node_id: int, value: float) -> None:
        """Record the reward of the path that ends in the node."""
        self._scoring.discard(node_id)
        if self.tree.node(node_id).state is NodeState.PRUNED:
            self._tell(node_id)
            return
        node = self.tree.score(node_id, value)
        cost = self.meter.price.cost(1, node.token_count)
        self._reward_tokens_paid += cost.total_tokens - cost.generated_tokens
        self._emit(NodeScored(node=node_id, score=value))
        self._finish_if_ended(node, self._answer(node))
        self._tell(node_id)

    def unscorable(self, node_id: int) -> None:
        """Prune a node whose path is too long for the reward model."""
        self._scoring.discard(node_id)
        if self.tree.node(node_id).state is not NodeState.PRUNED:
            self._prune(node_id, PruneReason.PATH_LENGTH)
        self._tell(node_id)

    def _answer(self, node: Node) -> str | None:
        if node.origin is Origin.CRITIQUE or node.finish_reason not in WHOLE:
            return None
        return self._extract(self.tree.path_text(node.id))

    def _dead_end(self, node: Node, answer: str | None) -> PruneReason | None:
        assert node.finish_reason is not None
        if node.finish_reason in DEAD_ENDS:
            return DEAD_ENDS[node.finish_reason]
        if answer is not None or node.finish_reason is FinishReason.EOS:
            return None
        if self.tree.path_token_count(node.id) >= self._config.max_path_tokens:
            return PruneReason.PATH_LENGTH
        return None if node.text.strip() else PruneReason.EMPTY

    def _finish_if_ended(self, node: Node, answer: str | None) -> None:
        if answer is None and node.finish_reason is not FinishReason.EOS:
            return
        self.tree.finish(node.id, answer)
        if not isinstance(self.strategy, Converses):
            self._released.append(node.id)
        if answer is None:
            return
        self.meter.note_finished()
        self.revote()

    def _prune(self, node_id: int, reason: PruneReason) -> None:
        self.tree.prune(node_id, reason)
        self._released.append(node_id)
        self._emit(NodePruned(node=node_id, reason=reason))

    def _tell(self, node_id: int) -> None:
        # Settled only now, so that the reward model's share stays reserved until it has read the step.
        grant = self._grants.pop(node_id, None)
        if grant is not None:
            self.meter.settle(grant, generated_tokens=self.tree.node(node_id).token_count, children=1)
        self._state = self.strategy.tell(self.tree, self._state, (node_id,))

    # By hand, and from a saved tree

    def take_adopted(self) -> list[AdoptedNode]:
        """Return the nodes that the policy did not write in this run, parents first, each once."""
        nodes, self._adopted = self._adopted, []
        return nodes

    def prune_by_hand(self, node_id: int) -> None:
        """Give up a subtree; steps in the making are pruned when they are there.

        Raises:
            UsageError: if nothing in it could be pruned.
        """
        for each in self.hand.condemn(node_id):
            self._prune(each, PruneReason.USER)

    def edit(self, node_id: int, text: str) -> int:
        """Add a sibling of a node that holds `text`, wish for a step after it, and return its id.

        Raises:
            UsageError: if the node cannot be edited.
        """
        node = self.hand.rewrite(node_id, text)
        self._adopted.append(_adopted(node))
        self._take_in(node)
        if node.state is NodeState.OPEN and self._answer(node) is None:
            self.hand.expand(node.id, 1)
        return node.id

    def set_budget(self, budget: Budget) -> None:
        """Change the limits.

        Raises:
            UsageError: if the run is ending.
            BudgetError: if FLOPs are limited and their price is unknown.
        """
        if self.stop_reason is not None:
            raise UsageError("the run is ending", "start another one with the new budget")
        self.meter.change(budget)

    def _go_on(self) -> None:
        """Take over a saved tree: its pending nodes are to be written, all others are there."""
        self._unwritten = [node.id for node in self.tree.pending()]
        self._adopted = [
            _adopted(node) for node in self.tree if node.parent is not None and node.state is not NodeState.PENDING
        ]
        if self.strategy.uses_reward:
            self._unscored = [
                node.id for node in self.tree.open_nodes() if node.parent is not None and node.score is None
            ]
        if any(node.answer is not None for node in self.tree.finished_nodes()):
            self.meter.note_finished()

    # The end

    def charge_prompts(self, prompt_tokens: int) -> None:
        """Book the prompt up front, for both models if there is a reward: theirs are about equally long."""
        if self.strategy.uses_reward:
            self._reward_tokens_paid += prompt_tokens
        readers = 1 + self.strategy.uses_reward
        flops = prompt_tokens * self.meter.price.flops_per_generated
        self.meter.charge(total_tokens=prompt_tokens * readers, flops=flops)

    def reconcile(self, reward: RoleUsage) -> None:
        """Book what the reward model read beyond what the meter's prices foresaw for the steps scored so far."""
        more = reward.evaluated_tokens - self._reward_tokens_paid
        if more > 0:
            self.meter.charge(total_tokens=more, flops=more * reward.flops / reward.evaluated_tokens)
            self._reward_tokens_paid += more

    def stop(self, reason: StopReason) -> None:
        """End the search after what is in flight; the first reason stays."""
        if self.stop_reason is None:
            self.stop_reason = reason

    def consider_stopping(self) -> None:
        """Let the stop rule look, if a path has finished since it last did."""
        if self._config.stop is None or self.stop_reason is not None or not self._news:
            return
        self._news = False
        self.stopped_by = self._config.stop(Situation(self.tree, self.vote(), self._settled().width))
        if self.stopped_by is not None:
            self.stop(StopReason.EARLY_STOP)

    def close(self) -> None:
        """Prune what was left unfinished, so that the tree says why each path ended."""
        completed = self.stop_reason in (None, StopReason.COMPLETED)
        budget = self.stop_reason is not None and self.stop_reason.is_budget
        reason = PruneReason.BUDGET if budget else PruneReason.ALLOCATION if completed else PruneReason.STOPPED
        for leaf in self.tree.open_leaves():
            if leaf.parent is not None:
                self._prune(leaf.id, reason)

    def revote(self) -> None:
        """Count again after a path has finished or two answers turned out to be equal."""
        self._vote, self._news = None, True
        vote = self.vote()
        groups = tuple((group.answer, group.count, group.weight) for group in vote.groups)
        self._emit(AnswerUpdate(answer=vote.answer, groups=groups))

    def candidates(self) -> list[Candidate]:
        """Return the finished paths, in path order; those without an answer do not vote."""
        return candidates(self.tree, self._settled().aggregation)

    def vote(self) -> Vote:
        """Return the vote over what has finished so far."""
        if self._vote is None:
            self._vote = decide(self.candidates(), self._settled().vote, self._same)
        return self._vote

    def _settled(self) -> AnyStrategy:
        return settled(self.strategy, self.tree)


def _adopted(node: Node) -> AdoptedNode:
    assert node.parent is not None
    return AdoptedNode(node=node.id, parent=node.parent, text=node.text, tokens=node.tokens)


def _promise(node: Node) -> tuple[float, int, Sequence[int]]:
    score = -math.inf if node.score is None else node.score
    return score, node.depth, tuple(-index for index in node.path)


def _added(node: Node, answer: str | None) -> NodeAdded:
    assert node.parent is not None and node.finish_reason is not None
    return NodeAdded(
        node=node.id,
        parent=node.parent,
        depth=node.depth,
        text=node.text,
        generated_tokens=node.token_count,
        logprob=node.logprob,
        state=NodeState.OPEN if answer is None else NodeState.FINISHED,
        finish_reason=node.finish_reason,
        answer=answer,
    )
