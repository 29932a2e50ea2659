"""Controller of one run: its tree, its meter, and every decision about it, without I/O and without waiting.

The way of a step: `next_work` has the planner ask the strategy and reserve the budget, and returns requests. `Run` has
the policy write them and passes each result to `complete`, which adds it to the usage and to the tree. `take_unscored`
returns the steps that the reward has to score, and `score` takes the scores in. A step that has no more to wait for is
settled. Finished paths are counted into the vote, and stop rules see it. `Run` only carries work to the models and
results back, so that a search can be driven, paused, replayed and tested without models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ramify.answers.reading import AnswerReader
from ramify.answers.thoughts import ThoughtMarks
from ramify.config import RunConfig
from ramify.errors import UsageError
from ramify.events import Event, NodeScored, NodesDispatched
from ramify.problem import Problem
from ramify.reward.protocol import ScoreUsage
from ramify.search.budget import Budget
from ramify.search.node import FinishReason, Node, NodeState, Origin, PruneReason
from ramify.search.stopping import Situation, Stop, StopReason
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate, Vote
from ramify.solution import Solution

from ..policy.protocol import AdoptedNode, ForeseesPaths, PolicySession
from ..runtime.messages import StepResult
from ..runtime.serve.rates import Rates
from .continuations import Continuations, ForeignTexts
from .dispatch import Dispatcher, StepsInFlight
from .meter import Meter
from .node_ends import NodeEnds, Releases
from .opening import GREEDY_NOTE, Opening
from .path_ends import PathEnds, node_added
from .planner import Planner
from .requests import Dispatch, RequestBuilder
from .results import Results
from .steering import Steering
from .thinking import Thinking
from .thoughts import Probe, Thoughts
from .tool_calls import ToolCalls, ToolRequest
from .votes import Usable, VoteCounter


class SearchController:
    """Tree, meter and decisions of one run; see the module's docstring.

    `answers` reads the answer of a path's text, `same` tells whether two answers are equal, `emit` takes events.
    `usable` tells whether an answer may vote, None if all may.
    `tree` is a saved tree to go on with, whose nodes the policy has to adopt (`take_adopted`); None starts with the
    question. `results` are the answers of its paths, and their vote.
    `parameters` is the policy's number of weights, 0 if unknown: slow models under a limit of time open with one path.
    `rates` returns what is known of their speed.
    `ends_at_answer` is as in PathEnds. `tools` makes the finder of tool calls in the tree, None where there are no
    tools. `context_tokens` is the longest path of the policy, prompt included; None if unknown.
    `steers_thoughts` says that the policy's thoughts can be ended and kept going.
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
        tools: Callable[[SearchTree, Continuations], ToolCalls] | None = None,
        usable: Usable | None = None,
        context_tokens: int | None = None,
        steers_thoughts: bool = False,
    ) -> None:
        self.tree = tree or SearchTree()
        self.meter = meter
        self.steering = Steering(self.tree)
        self.stopped_by: Stop | None = None
        self._config = config
        self._emit = emit
        self._steps = StepsInFlight()
        self._continued = Continuations(self.tree)
        self._tools = None if tools is None else tools(self.tree, self._continued)
        self._context_tokens = context_tokens
        marks = answers.thoughts if steers_thoughts else None
        self._foreign = ForeignTexts(self.tree, emit)
        thoughts = None if marks is None else Thoughts(self.tree, marks, config, answers, same)
        builder = RequestBuilder(self.tree, strategy, config, calls_tools=tools is not None, thoughts=thoughts)
        self._dispatcher = Dispatcher(builder, meter, self._steps, emit)
        self._thinking = (
            None if thoughts is None else Thinking(self.tree, thoughts, meter, self._continued, self._foreign, emit)
        )
        ends = PathEnds(self.tree, answers, config.max_path_tokens, ends_at_answer)
        self._votes = VoteCounter(self.tree, strategy, same, emit, answers.kind, usable)
        self.results = Results(self.tree, ends, self._votes)
        self._releases = Releases(self.tree)
        self._ends = NodeEnds(self.results, strategy, meter, self._steps, self._releases, emit)
        self._planner = Planner(
            config,
            meter,
            dispatcher=self._dispatcher,
            steps=self._steps,
            ends=self._ends,
            steering=self.steering,
            continued=self._continued,
            opening=Opening.of(self.tree, meter, strategy, parameters, rates, any_text=answers.takes_any_text),
            thinking=self._thinking,
        )
        if tree is not None:
            self._take_over()

    def foresee_input(self, policy: PolicySession) -> None:
        """Reserve the policy's prompt, and from now on the input that is expected for each step."""
        self._dispatcher.foresee_input(policy)
        self._planner.expect_paths = policy.expect_paths if isinstance(policy, ForeseesPaths) else None
        if self._thinking is not None:
            self._thinking.thoughts.prepare(policy, self._context_tokens)

    @property
    def strategy(self) -> Strategy:
        """The strategy; where the opening allows fewer paths than were asked for, with its narrower width."""
        return self._planner.strategy

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the search ends, None while it goes on."""
        return self._planner.stop_reason

    @property
    def unscored_thoughts(self) -> ThoughtMarks | None:
        """The marks of thoughts that rewards are not shown, None if they are shown all."""
        return None if self._config.reward_thoughts else self.answers.thoughts

    @property
    def calculator(self) -> bool:
        """True if values after `=` are put in instead of being sampled."""
        return self._config.calculator

    @property
    def counts_reused(self) -> bool:
        """True if limits count tokens from a store like all others."""
        return self._config.count_reused

    @property
    def answers(self) -> AnswerReader:
        """The reader of answers, which `conclude` may change."""
        return self.results.answers

    @property
    def _path_ends(self) -> PathEnds:
        return self.results.path_ends

    # Work for the models

    @property
    def idle(self) -> bool:
        """True if nothing is being generated or waits for a score."""
        return self._steps.none

    def next_work(self) -> Dispatch | None:
        """Ask the strategy, reserve the budget and return the children to be written now, None if there are none.

        Sets `stop_reason` when nothing is in flight and the strategy is done or the budget allows no further step.
        """
        return self._planner.next_work()

    def rescue(self) -> Dispatch | None:
        """Return one greedy continuation of the best unfinished path if a limit ended the run without an answer.

        It has the part of each limit that was withheld for it. None if there is an answer, or nothing is left.
        """
        return self._planner.rescue()

    def take_unscored(self) -> list[int]:
        """Return the nodes that wait for a score; they count as in flight until `score` or `too_long`."""
        return self._steps.take_unscored()

    def take_released(self) -> list[int]:
        """Return the nodes that will not be expanded again, each once."""
        return self._releases.take()

    # Results of the models

    def complete(self, result: StepResult) -> None:
        """Record a written step; its reservation is settled once it is scored or known to need no score.

        A step in a thought may wait for a probe first.
        """
        self.meter.written(result)
        if self._thinking is None or not self._thinking.keeps(result, ending=self.stop_reason is not None):
            self._record(result)

    def take_probes(self) -> list[Probe]:
        """Return the probes that are to be written, each once; their steps count as in flight until `probed`."""
        return [] if self._thinking is None else self._thinking.take_probes()

    def probed(self, node_id: int, result: StepResult | None) -> None:
        """Record the answer of a probe, None if there is none, and the step that waited for it."""
        assert self._thinking is not None
        self._record(self._thinking.probed(node_id, result))

    def _record(self, result: StepResult) -> None:
        self._steps.writing.discard(result.child)
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
        """Prune, finish or leave open a node that has its text, or have it scored or its tools called first."""
        if self._tools is not None and self._calls(node, self._tools):
            return
        if self._thinking is not None and self._thinks_on(node, self._thinking):
            return
        answer = self._path_ends.answer(node)
        self._emit(node_added(node, answer))
        reason = (
            PruneReason.USER if node.id in self.steering.pruned_when_written else self._path_ends.dead_end(node, answer)
        )
        if reason is PruneReason.BUDGET and self._thinking is not None and self._thinking.is_open(node.id):
            # The reply can still be written from the withheld part of the budget.
            reason = None
        if reason is not None:
            self._ends.prune(node.id, reason)
        elif self.strategy.uses_reward and node.origin is not Origin.CRITIQUE:
            self._steps.unscored.append(node.id)
            return
        else:
            self._ends.finish_if_ended(node, answer)
        self._ends.settle(node.id)

    def _thinks_on(self, node: Node, thinking: Thinking) -> bool:
        """Go on after a step in a thought: with a text put in there, or with the rest of a text that is wanted whole.

        Return whether the step goes on.
        """
        if self.stop_reason is not None or node.id in self.steering.pruned_when_written:
            return False
        told = thinking.told_after(node)
        if told is None:
            return thinking.goes_on(node)
        self._take_in(told)
        return True

    def _calls(self, node: Node, tools: ToolCalls) -> bool:
        """Begin the calls of tools that a step ends with; return whether there are any.

        The step stays reserved until the result is there, and scored: a reward reads both as one step.
        """
        unwanted = node.id in self.steering.pruned_when_written
        at_limit = self.tree.path_token_count(node.id) >= self._config.max_path_tokens
        request = None if unwanted or at_limit else tools.find(node)
        if request is None:
            return False
        if self.stop_reason is not None:
            # It has no score, so that a run which goes on with the tree can call.
            self._emit(node_added(node, None))
            self._ends.settle(node.id)
            return True
        result = tools.begin(request)
        self._emit(node_added(node, None))
        self._emit(NodesDispatched(parent=node.id, nodes=(result.id,)))
        self._steps.writing.add(result.id)
        return True

    def take_calls(self) -> list[ToolRequest]:
        """Return the calls of tools that are to be run, each once; they count as in flight until `observe`."""
        return [] if self._tools is None else self._tools.take()

    def observe(self, node_id: int, text: str, tokens: tuple[int, ...]) -> None:
        """Record the result of a tool, whose tokens the policy reads; it was not written by the policy."""
        assert self._tools is not None
        self._steps.writing.discard(node_id)
        node = self.tree.complete(node_id, text, tokens, 0.0, FinishReason.STEP, token_count=0)
        self._foreign.add(node)
        pruned = node_id in self.steering.pruned_when_written
        if self.stop_reason is None and not pruned and self._tools.end(node_id):
            self._emit(node_added(node, None))
            return
        self._tools.running.discard(node_id)
        self._take_in(node)

    def observe_nothing(self, node_id: int) -> None:
        """Record that a tool was cancelled before it had a result."""
        assert self._tools is not None
        self._tools.running.discard(node_id)
        self._steps.writing.discard(node_id)
        node = self.tree.complete(node_id, "", (), 0.0, FinishReason.CANCELLED, token_count=0)
        self._take_in(node)

    def score(
        self, values: Mapping[int, float], total: ScoreUsage, parts: Mapping[int, Mapping[str, float]] | None = None
    ) -> None:
        """Record the rewards of the paths that end in the nodes, and the reward model's usage in the run.

        `parts` are the scores of a combined reward's parts by node, None if it has none.
        """
        self.meter.scored(total)
        for node_id, value in values.items():
            self._score(node_id, value, (parts or {}).get(node_id))

    def _score(self, node_id: int, value: float, parts: Mapping[str, float] | None) -> None:
        self._steps.scoring.discard(node_id)
        if self.tree.node(node_id).state is not NodeState.PRUNED:
            node = self.tree.score(node_id, value, parts=parts)
            self._emit(NodeScored(node=node_id, score=value, scores=parts))
            self._ends.finish_if_ended(node, self._path_ends.answer(node))
        self._ends.settle(node_id)

    def too_long(self, node_id: int) -> None:
        """Prune a node whose path is too long for the reward model."""
        self._steps.scoring.discard(node_id)
        if self.tree.node(node_id).state is not NodeState.PRUNED:
            self._ends.prune(node_id, PruneReason.PATH_LENGTH)
        self._ends.settle(node_id)

    # Steering, and nodes of a saved tree

    def take_adopted(self) -> list[AdoptedNode]:
        """Return the nodes that the policy did not write in this run, parents first, each once."""
        return self._foreign.take()

    def prune_subtree(self, node_id: int) -> None:
        """Prune a subtree; steps in flight are pruned when they are written.

        Raises:
            UsageError: if nothing in it could be pruned.
        """
        for each in self.steering.prunable(node_id):
            self._ends.prune(each, PruneReason.USER)

    def edit(self, node_id: int, text: str) -> int:
        """Add a sibling of a node that holds `text`, ask for a step after it, and return its id.

        Raises:
            UsageError: if the node cannot be edited.
        """
        node = self.steering.rewrite(node_id, text)
        self._foreign.add(node)
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
        pending = self.tree.pending()
        self._dispatcher.unwritten = [node.id for node in pending if node.origin is not Origin.TOOL]
        self._call_again([node for node in pending if node.origin is Origin.TOOL])
        self._continued.take_over()
        for node in self.tree:
            if node.parent is not None and node.state is not NodeState.PENDING:
                self._foreign.add(node)
        if self.strategy.uses_reward:
            self._steps.unscored = [
                node.id for node in self.tree.open_nodes() if node.parent is not None and node.score is None
            ]
        self.results.read_again()
        if any(node.answer is not None for node in self.tree.finished_nodes()):
            self.meter.note_finished()

    def _call_again(self, waiting: list[Node]) -> None:
        """Call the tools of a saved tree again whose results are missing, and let texts go on that were cut there.

        Raises:
            UsageError: if tools were called in the tree and there are none now.
        """
        if self._tools is None:
            if waiting:
                raise UsageError("the saved tree waits for results of tools", "give the tools that it was made with")
            return
        for node in waiting:
            self._tools.again(node)
        self._tools.take_over()
        self._steps.writing.update(self._tools.running)

    # The end

    def stop(self, reason: StopReason) -> None:
        """End the search after the steps in flight; the first reason stays."""
        if self.stop_reason is None:
            self._planner.stop_reason = reason

    def consider_stopping(self) -> None:
        """Ask the stop rule, if a path has finished since it was last asked."""
        if self._config.stop is None or self.stop_reason is not None or not self._votes.changed:
            return
        self._votes.changed = False
        stop = self._config.stop(Situation(self.tree, self.vote(), self._planner.most_paths))
        # Where the winner is not known to work, it is asked again when that is known.
        if stop is not None and self._votes.certain():
            self.stopped_by = stop
            self.stop(StopReason.EARLY_STOP)

    def close(self) -> None:
        """Prune the unfinished paths, so that the tree says why each path ended."""
        self._planner.settle_rescue()
        completed = self.stop_reason in (None, StopReason.COMPLETED)
        budget = self.stop_reason is not None and self.stop_reason.is_budget
        reason = PruneReason.BUDGET if budget else PruneReason.ALLOCATION if completed else PruneReason.STOPPED
        for leaf in self.tree.open_leaves():
            if leaf.parent is not None:
                self._ends.prune(leaf.id, reason)

    def revote(self) -> None:
        """Count again after two answers turned out to be equal."""
        self._votes.recount()

    def candidates(self) -> list[Candidate]:
        """Return the finished paths, in path order; those without an answer do not vote."""
        return self._votes.candidates()

    def vote(self) -> Vote:
        """Return the vote over the paths that have finished so far."""
        return self._votes.vote()

    def solution(self, problem: Problem, model: Mapping[str, Any]) -> Solution:
        """Return the solution of the search, which has ended; `model` names the policy and the reward."""
        self.meter.stop()
        return self.results.solution(
            problem,
            pinned=self.steering.pinned,
            usage=self.meter.usage(),
            seed=self._config.seed,
            strategy=self.strategy,
            model=model,
            stop_reason=self.stop_reason or StopReason.COMPLETED,
            stop=self.stopped_by,
            thoughts=None if self._thinking is None else self._thinking.thoughts.report(),
            note=GREEDY_NOTE if self._planner.opening.greedy and len(self.tree) > 1 else None,
        )
