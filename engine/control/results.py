"""Results of one search: the answers of its paths, their vote, and the solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ramify.answers.reading import AnswerReader, AnswerReading
from ramify.problem import Problem
from ramify.search.node import FinishReason
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import Stop, StopReason
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import Vote, decide_by_text
from ramify.solution import Solution
from ramify.usage import Usage

from .path_ends import PathEnds, furthest_text
from .votes import VoteCounter, voted_fields


@dataclass(slots=True)
class Results:
    """Answers and votes of one search. `path_ends` changes where the finished paths have to be read in another way."""

    tree: SearchTree
    path_ends: PathEnds
    votes: VoteCounter

    @property
    def answers(self) -> AnswerReader:
        """The reader of answers, which `conclude` may change."""
        return self.path_ends.answers

    def conclude(self) -> None:
        """Read the finished paths in another way if none of them has an answer and the kind of answers allows it."""
        finished = self.tree.finished_nodes()
        if self.path_ends.ends_at_answer or any(node.answer is not None for node in finished):
            return
        texts = {node.id: self.tree.written_text(node.id) for node in finished}
        answers = self.answers.settled(list(texts.values()))
        if answers is not None:
            self.path_ends = replace(self.path_ends, answers=answers)
            self.votes.kind = answers.kind
            self.read_again()
            self.votes.recount()

    def read_again(self) -> None:
        """Read the answers of the paths that ended by themselves, where paths do not end with their answers."""
        for node in () if self.path_ends.ends_at_answer else self.tree.finished_nodes():
            if node.finish_reason is FinishReason.EOS:
                self.tree.read_again(node.id, self.answers.read(self.tree.written_text(node.id)))

    def reading(self, vote: Vote) -> AnswerReading | None:
        """Return how the answer of a vote was read, None if paths end with the model's own format."""
        return None if self.path_ends.ends_at_answer else self.answers.reading(vote.chosen_by)

    def solution(
        self,
        problem: Problem,
        *,
        pinned: int | None,
        usage: Usage,
        seed: int,
        strategy: Strategy,
        model: Mapping[str, Any],
        stop_reason: StopReason,
        stop: Stop | None,
        thoughts: dict[str, Any] | None,
        note: str | None,
    ) -> Solution:
        """Return the solution of the search, which has ended; `model` names the policy and the reward.

        If no path has finished with an answer, those decide that have one in their text so far.
        """
        vote = self.votes.vote()
        found = voted_fields(self.votes.candidates(), vote, pinned=pinned)
        if found["answer"] is None and (cut := self.path_ends.cut_paths()):
            vote = decide_by_text(cut, self.votes.strategy.vote, self.answers.kind)
            found = voted_fields(cut, vote)
        if found["answer"] is None and not found["text"]:
            found["text"] = furthest_text(self.tree)
        return Solution(
            **found,
            problem_id=problem.id,
            question=problem.question,
            conversation=None if problem.is_plain else problem.conversation,
            stop_reason=stop_reason,
            stop=stop,
            usage=usage,
            seed=seed,
            strategy=strategy_to_dict(strategy),
            model=model,
            reading=self.reading(vote),
            thoughts=thoughts,
            note=note,
            tree=self.tree,
        )
