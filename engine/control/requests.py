"""Requests to the policy, built from the expansions that a strategy asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil

from ramify.answers.schemas import ANSWER_MARK, grammar_of, read_schema
from ramify.config import RunConfig, stop_pattern
from ramify.sampling_params import ThoughtSteps, TokenSampling, node_seed
from ramify.search.node import TOLD, Node, Origin
from ramify.search.strategy import Expansion, Strategy
from ramify.search.tree import SearchTree

from ..runtime.messages import AnswerGrammar, StepRequest, Turn
from .grants import Grant
from .thoughts import Thoughts

ANSWER_RESERVE = 160
"""Tokens that are kept for an answer by a schema at the end of a path, at most half of the path."""
STEPS_PER_PATH = 8
"""Steps of a path where none has finished yet: solutions of school problems have about as many."""


@dataclass(slots=True)
class Dispatch:
    """Children to be written together, and the reservation that they share."""

    requests: list[StepRequest]
    grant: Grant


@dataclass(slots=True)
class RequestBuilder:
    """Builds the requests of one run. It reads the tree, and changes it only to add pending nodes.

    `input_tokens` foresees the tokens that the policy reads for a step (see ForeseesInput), None if only the prompt.
    `calls_tools` says that steps may call tools; the rescue of a path may not. `thoughts` are those of a policy that
    thinks, None for others.
    """

    tree: SearchTree
    strategy: Strategy
    config: RunConfig
    input_tokens: Callable[[str, Sequence[Turn]], int] | None = None
    calls_tools: bool = False
    thoughts: Thoughts | None = None

    def max_tokens(self, expansion: Expansion) -> int:
        """Return the most tokens that a child may have."""
        left = max(1, self.config.max_path_tokens - self.tree.path_token_count(expansion.node))
        thought = self._thought(expansion.node, expansion.about)
        if thought is not None:
            return min(thought[1], left)
        return left if expansion.to_the_end else min(self.config.max_step_tokens, left)

    def _thought(self, node: int, about: int | None) -> tuple[ThoughtSteps, int] | None:
        """Return where a step after a node ends in a thought and its most tokens, None outside of thoughts."""
        return None if self.thoughts is None or about is not None else self.thoughts.steps(node)

    def inputs(self, expansions: Sequence[Expansion]) -> list[int]:
        """Return the tokens that the policy is expected to read for each of these children, empty if none."""
        if self.input_tokens is None and not self.calls_tools:
            return []
        return [self._input(each) for each in expansions]

    def _input(self, expansion: Expansion) -> int:
        """Return the number of input tokens of a child: its instruction, and a tool's result before it."""
        node = self.tree.node(expansion.node)
        result = len(node.tokens) if node.origin in TOLD and not self.tree.child_count(node.id) else 0
        if self.input_tokens is None:
            return result
        turns = () if node.origin in TOLD else self._turns(expansion.about, expansion.origin)
        return result + self.input_tokens(self.tree.path_text(expansion.node), turns)

    def expected_tokens(self, expansions: Sequence[Expansion]) -> int:
        """Return the tokens that each rest of a path is expected to take, 1 if single steps are asked for."""
        ends = [each.node for each in expansions if each.to_the_end for _ in range(each.children)]
        return expected_rest(self.tree, ends) if ends else 1

    def add(self, expansion: Expansion, *, rescue: bool) -> Node:
        """Add one pending child; `rescue` if it finishes the best path of a run whose budget is used up."""
        rest = Origin.RESCUE if rescue else Origin.REST
        origin = expansion.origin or (rest if expansion.to_the_end else Origin.MODEL)
        return self.tree.add_pending(expansion.node, origin=origin, about=expansion.about)

    def expansion(self, node: Node) -> Expansion:
        """Return the expansion that made a pending node of a saved tree."""
        assert node.parent is not None
        temperature = 0.0 if node.origin is Origin.GREEDY else self.strategy.sampling_temperature
        if node.about is not None:
            return Expansion(node.parent, 1, temperature, True, node.about, node.origin)
        return Expansion(node.parent, 1, temperature, to_the_end=node.origin is Origin.REST)

    def request(self, node: Node, expansion: Expansion, max_tokens: int) -> StepRequest:
        """Return the request for a pending node of at most `max_tokens` tokens."""
        after_told = self.tree.node(expansion.node).origin in TOLD
        thought = self._thought(expansion.node, node.about)
        if thought is not None and self.thoughts is not None:
            self.thoughts.stepped.add(node.id)
        calls = self.calls_tools and node.origin is not Origin.RESCUE
        prefix = self.tree.path_text(expansion.node)
        return StepRequest(
            parent=expansion.node,
            child=node.id,
            path=node.path,
            seed=node_seed(self.config.seed, node.path),
            prefix=prefix,
            max_tokens=max_tokens,
            min_tokens=self.config.min_step_tokens,
            sampling=self._sampling(expansion.temperature),
            to_the_end=expansion.to_the_end,
            turns=() if after_told else self._turns(node.about, node.origin),
            keep=self.strategy.converses or calls,
            calls_tools=calls,
            calculator=self.config.calculator,
            thought=None if thought is None else thought[0],
            stop=stop_pattern(self.config.stop_text, "" if node.about is not None else prefix),
            answer=self._answer(expansion, max_tokens),
        )

    def _answer(self, expansion: Expansion, max_tokens: int) -> AnswerGrammar | None:
        """Return the form of the path's answer; near the path's limit, or that of its rest, the answer has to begin."""
        if self.config.answer_schema is None or expansion.origin is Origin.CRITIQUE:
            return None
        path = self.config.max_path_tokens
        left = max_tokens if expansion.to_the_end else path - self.tree.path_token_count(expansion.node)
        reserve = min(ANSWER_RESERVE, path // 2)
        written = self.tree.written_text(expansion.node) if expansion.about is None else ""
        _, mark, begun = written.rpartition(ANSWER_MARK)
        schema = read_schema(self.config.answer_schema).text
        return AnswerGrammar(
            grammar=grammar_of(schema),
            schema=schema,
            mark=ANSWER_MARK,
            after=max(0, left - reserve),
            reserve=reserve,
            written=begun if mark else None,
        )

    def _turns(self, about: int | None, origin: Origin | None) -> tuple[Turn, ...]:
        """Return the conversation that a critique or a revision of a text goes on from, oldest text first."""
        turns = list[Turn]()
        while about is not None:
            assert origin is not None
            instruction, node = self.strategy.instruction(origin), self.tree.node(about)
            turns.append(Turn(node=node.id, text=node.text, tokens=node.tokens, instruction=instruction))
            about, origin = node.about, node.origin
        return tuple(reversed(turns))

    def _sampling(self, temperature: float | None) -> TokenSampling:
        sampling = self.config.sampling.resolved()
        return sampling if temperature is None else replace(sampling, temperature=temperature)


def expected_rest(tree: SearchTree, node_ids: Iterable[int]) -> int:
    """Return the mean number of tokens that paths from these nodes to their ends are expected to take.

    Finished paths tell how long paths are; without any, the steps so far do. 0 where nothing is known yet.
    """
    here = [tree.path_token_count(node) for node in node_ids]
    if not here or not tree.written_count:
        return 0
    step = tree.generated_tokens / tree.written_count
    whole = tree.finished_tokens / tree.finished_count if tree.finished_count else STEPS_PER_PATH * step
    return ceil(sum(max(step, whole - each) for each in here) / len(here))
