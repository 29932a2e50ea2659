"""Controller of one run: its tree, its meter, and every decision about it, without I/O and without waiting.

The way of a step: `next_work` asks the strategy, reserves the budget and returns requests. `Run` has the policy write
them and passes each result to `complete`, which adds it to the usage and to the tree. `take_unscored` returns the
steps that the reward has to score, and `score` takes the scores in. A step that has no more to wait for is settled:
its reservation is freed, and the strategy is asked again. Finished paths are counted into the vote, and stop rules
see it. `Run` only carries work to the models and results back, so that a search can be driven, paused, replayed and
tested without models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ramify.answers.reading import AnswerReader, AnswerReading
from ramify.config import RunConfig
from ramify.errors import UsageError
from ramify.events import Event, NodeAdded, NodePruned, NodeScored, NodesDispatched
from ramify.problem import Problem
from ramify.reward.protocol import ScoreUsage
from ramify.search.budget import Budget
from ramify.search.node import FinishReason, Node, NodeState, Origin, PruneReason
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import Situation, Stop, StopReason
from ramify.search.strategy import Ask, Expansion, Strategy
from ramify.search.tree import ROOT, SearchTree
from ramify.search.votes import Candidate, Vote, decide_by_text
from ramify.solution import Solution

from ..policy.protocol import AdoptedNode, ForeseesInput, PolicySession
from ..runtime.messages import StepResult
from ..runtime.serve.rates import Rates
from .meter import Grant, Meter
from .opening import Opening
from .path_ends import PathEnds, furthest_text
from .requests import Dispatch, RequestBuilder
from .steering import Steering
from .votes import VoteCounter, voted_fields


class SearchController:
    """Tree, meter and decisions of one run; see the module's docstring.

    `answers` reads the answer of a path's text, `same` tells whether two answers are equal, `emit` takes events.
    `tree` is a saved tree to go on with, whose nodes the policy has to adopt (`take_adopted`); None starts with the
    question.
    `parameters` is the policy's number of weights, 0 if unknown: slow models under a limit of time open with one path.
    `rates` returns what is known of their speed.
    `ends_at_answer` is as in PathEnds.
    """

    def __init__(
        self,
        *,
        strategy: Strategy,
        config: RunConfig,
        meter: Meter,
        answers: AnswerReader,
        same: Callable[[str, str], bool],
        emit: Callable[[Event], None],
        tree: SearchTree | None = None,
        parameters: int = 0,
        rates: Callable[[], Rates] = Rates,
        ends_at_answer: bool = True,
    ) -> None:
        self.tree = tree or SearchTree()
        self.meter = meter
        self.strategy = strategy
        self.steering = Steering(self.tree)
        self.stop_reason: StopReason | None = None
        self.stopped_by: Stop | None = None
        self._config = config
        self._emit = emit
        self._requests = RequestBuilder(self.tree, strategy, config)
        self._path_ends = PathEnds(self.tree, answers, config.max_path_tokens, ends_at_answer)
        self._votes = VoteCounter(self.tree, strategy, same, emit, answers.kind)
        self._writing: set[int] = set()
        self._unscored: list[int] = []
        self._scoring: set[int] = set()
        self._released: list[int] = []
        self._children_in_flight: dict[int, int] = {}
        self._adopted: list[AdoptedNode] = []
        self._unwritten: list[int] = []
        self._winding_down = False
        self._asked_width = strategy.width
        self._opening = Opening.of(self.tree, meter, strategy, parameters, rates, any_text=answers.takes_any_text)
        meter.alone = strategy.width == 1 or not self._opening.over
        if tree is not None:
            self._take_over()

    def foresee_input(self, policy: PolicySession) -> None:
        """Reserve the policy's prompt, and from now on what it is expected to read for each step."""
        self.meter.foresee_prompts(policy.prompt_tokens)
        self._requests.input_tokens = policy.input_tokens if isinstance(policy, ForeseesInput) else None

    @property
    def answers(self) -> AnswerReader:
        """The reader of answers, which `conclude` may change."""
        return self._path_ends.answers

    # Work for the models

    @property
    def idle(self) -> bool:
        """True if nothing is being generated or waits for a score."""
        return not (self._writing or self._unscored or self._scoring)

    def next_work(self) -> Dispatch | None:
        """Ask the strategy, reserve the budget and return the children to be written now, None if there are none.

        Sets `stop_reason` when nothing is in flight and the strategy is done or the budget allows no further step.
        """
        if self.stop_reason is not None:
            return None
        if self._unwritten:
            return self._resume()
        asked = self.steering.take_expansions()
        if asked:
            return self._dispatch(asked)
        if not self._opening.over:
            return self._open()
        self._wind_down()
        for node in () if self._config.cut is None else self._config.cut(self.tree):
            self._prune(node, PruneReason.CONFIDENCE)
        ask = self._ask()
        dispatch = self._dispatch(ask.expansions) if ask.expansions else None
        if dispatch is None and self.idle:
            dispatch = self._widen() if ask.done else None
        if dispatch is None and self.idle:
            self.stop_reason = self._ended(exhausted=bool(ask.expansions))
        return dispatch

    def _open(self) -> Dispatch | None:
        """Return the next step of the opening; nothing while one is in flight."""
        if not self.idle:
            return None
        opening = self._opening
        wishes = opening.start(self._ask()) if opening.first is None else opening.go_on()
        self.meter.alone = not opening.over
        if opening.over and opening.width < self.strategy.width:
            self._set_width(opening.width)
        dispatch = self._dispatch(wishes) if wishes else None
        if dispatch is None and (wishes or not opening.over):
            self.stop_reason = self._ended(exhausted=True)
        return dispatch if wishes else self.next_work()

    def _widen(self) -> Dispatch | None:
        """Return more paths of a search whose opening had to narrow it, if it is done and there is time left."""
        width = self._opening.wider(self._asked_width)
        if self.strategy.width == self._asked_width or width <= self.strategy.width:
            return None
        self._set_width(width)
        ask = self._ask()
        return self._dispatch(ask.expansions) if ask.expansions else None

    def _set_width(self, width: int) -> None:
        self._opening.width = width
        self.strategy = replace(cast("Any", self.strategy), width=width)
        self._votes.follow(self.strategy)

    def _resume(self) -> Dispatch | None:
        dispatch = self._write_again()
        if dispatch is None and self.idle:
            self.stop_reason = self._ended(exhausted=True)
        return dispatch

    def _ended(self, *, exhausted: bool) -> StopReason:
        """Return why the search is over: the limit that refused or cut a step, if one did.

        `exhausted` says that steps are left which the budget does not allow.
        """
        limit = self.meter.exhausted() if exhausted else None
        narrowed = StopReason.BUDGET_SECONDS if self.strategy.width < self._asked_width else None
        return limit or self.meter.cut_by or narrowed or StopReason.COMPLETED

    def _ask(self) -> Ask:
        """Ask the strategy and prune as it says, again where it only pruned and has not said that it is done."""
        while True:
            ask = self.strategy.decide(self.tree, winding_down=self._winding_down)
            for node, reason in ask.prune:
                self._prune(node, reason)
            if ask.expansions or ask.done or not ask.prune:
                return ask

    def _wind_down(self) -> None:
        """End exploring when the strategy's share of the budget is used.

        This happens only while nothing is in flight, so that the order of results cannot change the decision.
        """
        if not self._winding_down and self.idle:
            self._winding_down = self.meter.progress() >= self.strategy.explore_share

    def rescue(self) -> Dispatch | None:
        """Return one greedy continuation of the best unfinished path if a limit ended the run without an answer.

        It has the part of each limit that was withheld for it. None if there is an answer, or nothing is left.
        """
        out_of_budget = self.stop_reason is not None and self.stop_reason.is_budget
        if not out_of_budget or self.vote().answer is not None:
            return None
        best = self._path_ends.most_promising()
        return None if best is None else self._dispatch([Expansion(best.id, 1, 0.0, to_the_end=True)], rescue=True)

    def take_unscored(self) -> list[int]:
        """Return the nodes that wait for a score; they count as in flight until `score` or `too_long`."""
        nodes, self._unscored = self._unscored, []
        self._scoring.update(nodes)
        return nodes

    def take_released(self) -> list[int]:
        """Return the nodes that will not be expanded again, each once."""
        nodes, self._released = self._released, []
        return nodes

    def _dispatch(self, expansions: Sequence[Expansion], *, rescue: bool = False) -> Dispatch | None:
        plan = [(each, self._requests.max_tokens(each)) for each in expansions for _ in range(each.children)]
        most = max(max_tokens for _, max_tokens in plan)
        inputs = self._inputs([each for each, _ in plan])
        if rescue:
            grant = self.meter.reserve_finish(most, input_tokens=inputs)
        else:
            expected = 1 if self.meter.budget.is_unlimited else self._requests.expected_tokens(expansions)
            grant = self.meter.reserve(len(plan), most, expected_tokens=expected, input_tokens=inputs)
        granted = plan[: grant.children]
        return self._send(
            [(self._requests.add(each, rescue=rescue), each, max_tokens) for each, max_tokens in granted], grant
        )

    def _write_again(self) -> Dispatch | None:
        """Dispatch those pending nodes of a saved tree that the budget allows."""
        plan = [(node, self._requests.expansion(node)) for node in map(self.tree.node, self._unwritten)]
        sized = [(node, each, self._requests.max_tokens(each)) for node, each in plan]
        inputs = self._inputs([each for _, each in plan])
        grant = self.meter.reserve(len(sized), max(most for *_, most in sized), input_tokens=inputs)
        self._unwritten = self._unwritten[grant.children :]
        return self._send(sized[: grant.children], grant)

    def _inputs(self, expansions: Sequence[Expansion]) -> list[int]:
        """Return what the policy is expected to read for each of these children, empty if no limit counts that."""
        budget = self.meter.budget
        return self._requests.inputs(expansions) if budget.total_tokens or budget.flops else []

    def _send(self, plan: Sequence[tuple[Node, Expansion, int]], grant: Grant) -> Dispatch | None:
        if not plan:
            return None
        requests = [self._requests.request(node, expansion, most) for node, expansion, most in plan]
        self.meter.begin(grant, [request.child for request in requests])
        self._writing.update(request.child for request in requests)
        for request in requests:
            self._children_in_flight[request.parent] = self._children_in_flight.get(request.parent, 0) + 1
        for parent in dict.fromkeys(request.parent for request in requests):
            nodes = tuple(request.child for request in requests if request.parent == parent)
            self._emit(NodesDispatched(parent=parent, nodes=nodes))
        return Dispatch(requests, grant)

    # Results of the models

    def complete(self, result: StepResult) -> None:
        """Record a written step; its reservation is settled once it is scored or known to need no score."""
        self._writing.discard(result.child)
        self.meter.written(result)
        node = self.tree.complete(
            result.child,
            result.text,
            result.tokens,
            result.logprob,
            result.finish_reason,
            token_count=result.generated_tokens,
        )
        self._take_in(node)

    def _take_in(self, node: Node) -> None:
        """Prune, finish or leave open a node that has its text, or have it scored first."""
        answer = self._path_ends.answer(node)
        self._emit(_added(node, answer))
        reason = (
            PruneReason.USER if node.id in self.steering.pruned_when_written else self._path_ends.dead_end(node, answer)
        )
        if reason is not None:
            self._prune(node.id, reason)
        elif self.strategy.uses_reward and node.origin is not Origin.CRITIQUE:
            self._unscored.append(node.id)
            return
        else:
            self._finish_if_ended(node, answer)
        self._settle(node.id)

    def score(self, values: Mapping[int, float], total: ScoreUsage) -> None:
        """Record the rewards of the paths that end in the nodes, and what the reward model has used in the run."""
        self.meter.scored(total)
        for node_id, value in values.items():
            self._score(node_id, value)

    def _score(self, node_id: int, value: float) -> None:
        self._scoring.discard(node_id)
        if self.tree.node(node_id).state is not NodeState.PRUNED:
            node = self.tree.score(node_id, value)
            self._emit(NodeScored(node=node_id, score=value))
            self._finish_if_ended(node, self._path_ends.answer(node))
        self._settle(node_id)

    def too_long(self, node_id: int) -> None:
        """Prune a node whose path is too long for the reward model."""
        self._scoring.discard(node_id)
        if self.tree.node(node_id).state is not NodeState.PRUNED:
            self._prune(node_id, PruneReason.PATH_LENGTH)
        self._settle(node_id)

    def _finish_if_ended(self, node: Node, answer: str | None) -> None:
        if answer is not None or node.finish_reason is FinishReason.EOS:
            self._finish(node, answer)

    def _finish(self, node: Node, answer: str | None) -> None:
        self.tree.finish(node.id, answer)
        if not self.strategy.converses:
            self._released.append(node.id)
        if answer is None:
            return
        self.meter.note_finished()
        self.revote()

    def _prune(self, node_id: int, reason: PruneReason) -> None:
        node = self.tree.node(node_id)
        if (
            reason is PruneReason.DEPTH
            and (node.score is not None or not self.strategy.uses_reward)
            and node.state is NodeState.OPEN
            and (answer := self._path_ends.answer_so_far(node))
        ):
            # The limit of steps ends a path like that of tokens.
            self._finish(node, answer)
            return
        self.tree.prune(node_id, reason)
        self._released.append(node_id)
        self._emit(NodePruned(node=node_id, reason=reason))

    def _settle(self, node_id: int) -> None:
        node = self.tree.node(node_id)
        self.meter.settle(node_id)
        if node.parent in self._children_in_flight:
            self._child_settled(node.parent)

    def _child_settled(self, parent: int) -> None:
        """Release a node after its last child in flight, if the strategy never comes back to it."""
        self._children_in_flight[parent] -= 1
        if self._children_in_flight[parent]:
            return
        del self._children_in_flight[parent]
        if parent != ROOT and self.strategy.settled(self.tree).leaves_only:
            # Its children keep the cached tokens that they share with it.
            self._released.append(parent)

    # Steering, and nodes of a saved tree

    def take_adopted(self) -> list[AdoptedNode]:
        """Return the nodes that the policy did not write in this run, parents first, each once."""
        nodes, self._adopted = self._adopted, []
        return nodes

    def prune_subtree(self, node_id: int) -> None:
        """Prune a subtree; steps in flight are pruned when they are written.

        Raises:
            UsageError: if nothing in it could be pruned.
        """
        for each in self.steering.prunable(node_id):
            self._prune(each, PruneReason.USER)

    def edit(self, node_id: int, text: str) -> int:
        """Add a sibling of a node that holds `text`, ask for a step after it, and return its id.

        Raises:
            UsageError: if the node cannot be edited.
        """
        node = self.steering.rewrite(node_id, text)
        self._adopted.append(_adopted(node))
        self._take_in(node)
        if node.state is NodeState.OPEN and self._path_ends.answer(node) is None:
            self.steering.expand(node.id, 1)
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

    def _take_over(self) -> None:
        """Take over a saved tree: its pending nodes are to be written, all others have their text."""
        self._unwritten = [node.id for node in self.tree.pending()]
        self._adopted = [
            _adopted(node) for node in self.tree if node.parent is not None and node.state is not NodeState.PENDING
        ]
        if self.strategy.uses_reward:
            self._unscored = [
                node.id for node in self.tree.open_nodes() if node.parent is not None and node.score is None
            ]
        if not self._path_ends.ends_at_answer:
            self._read_again()
        if any(node.answer is not None for node in self.tree.finished_nodes()):
            self.meter.note_finished()

    # The end

    def stop(self, reason: StopReason) -> None:
        """End the search after what is in flight; the first reason stays."""
        if self.stop_reason is None:
            self.stop_reason = reason

    def consider_stopping(self) -> None:
        """Ask the stop rule, if a path has finished since it was last asked."""
        if self._config.stop is None or self.stop_reason is not None or not self._votes.changed:
            return
        self._votes.changed = False
        self.stopped_by = self._config.stop(Situation(self.tree, self.vote(), self._votes.strategy.width))
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
        """Count again after two answers turned out to be equal."""
        self._votes.recount()

    def conclude(self) -> None:
        """Read the finished paths in another way if none of them has an answer and the kind of answers allows it."""
        finished = self.tree.finished_nodes()
        if self._path_ends.ends_at_answer or any(node.answer is not None for node in finished):
            return
        texts = {node.id: self.tree.path_text(node.id) for node in finished}
        answers = self.answers.settled(list(texts.values()))
        if answers is not None:
            self._path_ends = replace(self._path_ends, answers=answers)
            self._votes.kind = answers.kind
            self._read_again()
            self.revote()

    def _read_again(self) -> None:
        """Read the answers of the paths that ended by themselves."""
        for node in self.tree.finished_nodes():
            if node.finish_reason is FinishReason.EOS:
                self.tree.read_again(node.id, self.answers.read(self.tree.path_text(node.id)))

    def candidates(self) -> list[Candidate]:
        """Return the finished paths, in path order; those without an answer do not vote."""
        return self._votes.candidates()

    def vote(self) -> Vote:
        """Return the vote over the paths that have finished so far."""
        return self._votes.vote()

    def reading(self, vote: Vote) -> AnswerReading | None:
        """Return how the answer of a vote was read, None if paths end with the model's own format."""
        return None if self._path_ends.ends_at_answer else self.answers.reading(vote.chosen_by)

    def solution(self, problem: Problem, model: Mapping[str, Any]) -> Solution:
        """Return the solution of the search, which has ended; `model` names the policy and the reward.

        If no path has finished with an answer, those decide that have one in their text so far.
        """
        self.meter.stop()
        vote = self.vote()
        found = voted_fields(self.candidates(), vote, pinned=self.steering.pinned)
        if found["answer"] is None and (cut := self._path_ends.cut_paths()):
            vote = decide_by_text(cut, self._votes.strategy.vote, self.answers.kind)
            found = voted_fields(cut, vote)
        if found["answer"] is None and not found["text"]:
            found["text"] = furthest_text(self.tree)
        return Solution(
            **found,
            problem_id=problem.id,
            question=problem.question,
            stop_reason=self.stop_reason or StopReason.COMPLETED,
            stop=self.stopped_by,
            usage=self.meter.usage(),
            seed=self._config.seed,
            strategy=strategy_to_dict(self.strategy),
            model=model,
            reading=self.reading(vote),
            tree=self.tree,
        )


def _adopted(node: Node) -> AdoptedNode:
    assert node.parent is not None
    return AdoptedNode(node=node.id, parent=node.parent, text=node.text, tokens=node.tokens)


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
