"""Thoughts of one run's paths: their steps, their limit, their continuation, and early ends by probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp
from typing import Any

from ramify.answers.reading import AnswerReader
from ramify.answers.thoughts import ThoughtMarks
from ramify.config import RunConfig
from ramify.sampling_params import ThoughtSteps
from ramify.search.node import FinishReason, Node, NodeState, Origin
from ramify.search.tree import SearchTree

from ..policy.protocol import EndsThoughts, PolicySession
from ..runtime.messages import StepResult

REPLY_SHARE = 1 / 4
"""Share of a path's tokens that is kept for the reply."""
LEAST_SLACK, MOST_SLACK = 8, 64
"""Tokens, at least and at most, in which a thought at its limit may come to the end of its sentence."""
PROBE_TOKENS = 32
"""Longest answer of a probe."""
PROBE_CONFIDENCE = 0.8
"""Geometric mean of the probabilities of a probe's tokens from which on its answer counts."""
WAIT = "Wait"
CUE = "The answer is"

_WRITTEN = (FinishReason.STEP, FinishReason.LENGTH)


@dataclass(frozen=True, slots=True)
class Probe:
    """A step in a thought whose answer is asked for beside its path: node, text that is told, longest answer."""

    node: int
    told: str
    max_tokens: int = PROBE_TOKENS


@dataclass(slots=True)
class Thoughts:
    """Decides about the thoughts on one run's paths. It reads the tree.

    `room` is the most tokens that a path may have by the model's context. `kept_open` are nodes at whose ends the model
    would have closed its thought, and `stepped` those that were asked for with steps of thoughts. `held` are written
    steps that wait for their probes, by node.
    """

    tree: SearchTree
    marks: ThoughtMarks
    config: RunConfig
    answers: AnswerReader
    same: Callable[[str, str], bool]
    room: int | None = None
    kept_open: set[int] = field(default_factory=set[int])
    stepped: set[int] = field(default_factory=set[int])
    held: dict[int, StepResult] = field(default_factory=dict[int, StepResult])
    _probed: dict[int, str | None] = field(default_factory=dict[int, "str | None"])
    _probes: list[Probe] = field(default_factory=list[Probe])
    _tokens: dict[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    _ended_early: list[int] = field(default_factory=list[int])
    _ended_at_limit: int = 0
    _ended: list[int] = field(default_factory=list[int])
    _probe_count: int = 0
    _probe_tokens: int = 0

    def prepare(self, session: PolicySession, context_tokens: int | None) -> None:
        """Take the tokens of the texts that are put into paths, and the room that the context leaves to them."""
        if context_tokens is not None:
            self.room = max(1, context_tokens - session.prompt_tokens)
        if isinstance(session, EndsThoughts):
            self._tokens = {
                text: session.told_tokens(text) for text in (self.marks.end_after(""), self.marks.end_after("x"), WAIT)
            }

    def end_of(self, node_id: int) -> str:
        """Return the text that closes the thought in which a path ends."""
        return self.marks.end_after(self.tree.path_text(node_id))

    # Requests

    def steps(self, node_id: int) -> tuple[ThoughtSteps, int] | None:
        """Return where a step after a node ends within a thought, and its most tokens; None if it is in none.

        At the start of a text whose thought the prompt does not open, it may be or not.
        """
        text = self.tree.path_text(node_id)
        thinking = self.marks.is_thinking(text)
        if not thinking and text.strip():
            return None
        left = max(1, self.limit - self._spent(node_id))
        least = self.config.thinking_step_tokens
        steps = ThoughtSteps(
            open=self.marks.open,
            close=self.marks.close,
            opened=thinking,
            least=least,
            sentence_from=left,
            keeps_on=self._extensions(node_id) < self.config.thinking_extend,
        )
        return steps, min(2 * least, left + self.slack)

    @property
    def limit(self) -> int:
        """Tokens of a thought from which on it ends with its sentence."""
        most = self.config.max_path_tokens if self.room is None else min(self.config.max_path_tokens, self.room)
        reply = max(1, int(most * (1 - REPLY_SHARE)) - _slack(most))
        asked = self.config.max_thinking_tokens
        return reply if asked is None else min(asked, reply)

    @property
    def slack(self) -> int:
        """Tokens beyond the limit in which the sentence may end."""
        return _slack(self.limit)

    def _spent(self, node_id: int) -> int:
        """Return the generated tokens of the thought that a path ends in."""
        count = 0
        for node in reversed(self.tree.path_nodes(node_id)):
            if self.marks.close in node.text:
                break
            count += node.token_count
        return count

    def _extensions(self, node_id: int) -> int:
        return sum(node.origin is Origin.FORCED and node.text == WAIT for node in self.tree.path_nodes(node_id))

    # Written steps

    def wants_probe(self, result: StepResult) -> bool:
        """Tell whether a written step has to wait for a probe."""
        if not self.config.thinking_probes or result.finish_reason not in _WRITTEN or result.kept_open:
            return False
        node = self.tree.node(result.child)
        assert node.parent is not None
        text = self.tree.path_text(node.parent) + result.text
        return self.marks.is_thinking(text) and self._spent(node.parent) + result.generated_tokens < self.limit

    def hold(self, result: StepResult) -> None:
        """Ask for a probe after a written step, which waits for it."""
        self.held[result.child] = result
        self._probes.append(Probe(result.child, f"{self.marks.end_after(result.text)}{CUE}"))

    def take_probes(self) -> list[Probe]:
        """Return the probes that are to be written, each once."""
        probes, self._probes = self._probes, []
        return probes

    def probed(self, node_id: int, result: StepResult | None) -> StepResult:
        """Take the answer of a probe, None if it was not written; return the step that waited for it."""
        held = self.held.pop(node_id)
        self._probe_count += 1
        answer = None
        if result is not None:
            self._probe_tokens += result.generated_tokens
            likely = exp((result.logprob or 0.0) / max(1, result.generated_tokens)) >= PROBE_CONFIDENCE
            whole = result.finish_reason in (FinishReason.STEP, FinishReason.EOS)
            if likely and whole:
                answer = self.answers.read(f"{self.marks.open}{self.marks.end_after('')}{CUE}{result.text}")
        self._probed[node_id] = answer
        return held

    def note(self, result: StepResult) -> None:
        """Note a written step whose thought was kept open."""
        if result.kept_open:
            self.kept_open.add(result.child)

    def text_after(self, node: Node) -> str | None:
        """Return the text put into the path after a written step, None for none."""
        if node.origin in (Origin.CRITIQUE, Origin.RESCUE, Origin.FORCED) or node.finish_reason not in _WRITTEN:
            return None
        if node.id in self.kept_open:
            return WAIT
        if not self.marks.is_thinking(self.tree.path_text(node.id)):
            if self._ends_thought(node):
                self._ended.append(self._own_tokens(node))
            return None
        if self._spent(node.id) >= self.limit:
            self._ended_at_limit += 1
            return self.end_of(node.id)
        if self._agreed(node):
            self._ended_early.append(self._spent(node.id))
            return self.end_of(node.id)
        return None

    def _ends_thought(self, node: Node) -> bool:
        """Tell whether a step holds the mark that closes an open thought; a mark in the reply closes none."""
        assert node.parent is not None
        before, mark, _ = node.text.partition(self.marks.close)
        return bool(mark) and self.marks.is_thinking(self.tree.path_text(node.parent) + before)

    def _own_tokens(self, node: Node) -> int:
        assert node.parent is not None
        return self._spent(node.parent) + node.token_count

    def _agreed(self, node: Node) -> bool:
        """Tell whether the last probes on a path agree on one answer."""
        wanted = self.config.thinking_probes
        if not wanted:
            return False
        probed = [each.id for each in self.tree.path_nodes(node.id) if each.id in self._probed]
        answers = [self._probed[each] for each in probed[-wanted:]]
        known = [answer for answer in answers if answer is not None]
        return len(known) == wanted and all(self.same(answer, known[-1]) for answer in known)

    def is_step(self, node: Node) -> bool:
        """Tell whether a written step ended as a thought's steps do, so that its text goes on if it was asked for."""
        if node.origin is Origin.FORCED:
            return True
        return node.id in self.stepped and node.finish_reason in _WRITTEN

    def tokens(self, text: str) -> tuple[int, ...]:
        """Return the tokens of a text that is put into paths; empty if the policy tokenises it itself."""
        return self._tokens.get(text, ())

    def needs_end(self, node_id: int) -> bool:
        """Tell whether a path has to be told the end of its thought before its reply."""
        text = self.tree.path_text(node_id)
        return self.tree.node(node_id).state is NodeState.OPEN and self.marks.is_thinking(text)

    def report(self) -> dict[str, Any] | None:
        """Return the figures of the run's thoughts in plain JSON types, None if no setting concerns thoughts.

        `saved_tokens` compares thoughts that probes ended with those that the model ended in the run, or with the limit
        where it ended none; None if neither is known.
        """
        config = self.config
        if config.max_thinking_tokens is None and not config.thinking_extend and not config.thinking_probes:
            return None
        usual: float | None = sum(self._ended) / len(self._ended) if self._ended else config.max_thinking_tokens
        saved = None if usual is None else round(sum(max(0.0, usual - each) for each in self._ended_early))
        return {
            "ended_by_model": len(self._ended),
            "ended_at_limit": self._ended_at_limit,
            "ended_by_probes": len(self._ended_early),
            "probes": self._probe_count,
            "probe_tokens": self._probe_tokens,
            "saved_tokens": saved,
        }


def probe_id(node_id: int) -> int:
    """Return the id under which a probe after a node has its reservation: no node of a search has it."""
    return -1 - node_id


def _slack(tokens: int) -> int:
    return min(MOST_SLACK, max(LEAST_SLACK, tokens // 8))
