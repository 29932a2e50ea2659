"""Solution: the result of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ramify.answers.kinds import AnswerKind
from ramify.answers.reading import AnswerReading
from ramify.answers.schemas import parsed
from ramify.search.stopping import Stop, StopReason
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate

from .conversation import Conversation
from .errors import ArgumentError
from .usage import Usage

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Answer, candidates and usage of a run.

    `answer` is None if no path finished with a readable answer. `text` is the full path behind the answer: the best
    scored one among those that agree; "" without an answer. `score` is that path's aggregated reward, None without a
    reward model. `stop_reason` says why the run ended; if a rule ended it early, `stop` says which and why. `tree` is
    None when the solution was read back without one. `strategy` and `model` describe the configuration in plain JSON
    types. `conversation` holds the turns before the question, None if it stood alone. `reading` tells the kind of the
    answer and how it was chosen, None for models with an answer format of their own, such as the bundled ones. `note`
    says where the search departed from its strategy, None if it did not. `thoughts` counts the ends of thoughts, and
    the cost and savings of probes; None if no setting concerned thoughts. `risk` says whether the answer is sure at the
    risk that was asked for, with the posterior and its threshold, None if none was; an answer that is not sure is left
    out, and stands there as `withheld`. `value` is the value of a JSON answer, or an instance of the pydantic model
    that its schema was made of; None for other answers.
    """

    question: str
    answer: str | None
    text: str
    score: float | None
    stop_reason: StopReason
    usage: Usage
    candidates: tuple[Candidate, ...]
    seed: int
    strategy: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    stop: Stop | None = None
    problem_id: str | None = None
    conversation: Conversation | None = None
    reading: AnswerReading | None = None
    note: str | None = None
    thoughts: Mapping[str, Any] | None = None
    risk: Mapping[str, Any] | None = None
    tree: SearchTree | None = field(default=None, repr=False, compare=False)
    value: Any = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_json = self.reading is not None and self.reading.kind is AnswerKind.JSON
        if self.value is None and self.answer is not None and is_json:
            object.__setattr__(self, "value", parsed(self.answer))

    @property
    def not_sure(self) -> bool:
        """True if the answer was left out because it is not sure at the risk that was asked for."""
        return self.answer is None and self.risk is not None and self.risk["status"] != "sure"

    @property
    def winner(self) -> int | None:
        """The node at which the path behind the answer ends; None without an answer, or if no candidate has it."""
        if self.answer is None:
            return None
        paths = (each for each in self.candidates if each.text == self.text and each.score == self.score)
        return next((each.node for each in paths), None)

    def vote_counts(self) -> list[int]:
        """Return how many paths gave each answer, the largest number first; paths without a vote are left out.

        A program that fails on every input has an answer and no vote.
        """
        sizes = Counter(each.votes for each in self.candidates if each.answer is not None and each.votes)
        return sorted((size for size, members in sizes.items() for _ in range(members // size)), reverse=True)

    def to_dict(self, *, tree: bool = False) -> dict[str, Any]:
        """Return plain JSON types, the tree only if asked for."""
        data: dict[str, Any] = {
            "version": SCHEMA_VERSION,
            "problem_id": self.problem_id,
            "question": self.question,
            "answer": self.answer,
            "text": self.text,
            "score": self.score,
            "stop_reason": str(self.stop_reason),
            "stop": None if self.stop is None else asdict(self.stop),
            "usage": self.usage.to_dict(),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "seed": self.seed,
            "strategy": dict(self.strategy),
            "model": dict(self.model),
        }
        if self.conversation is not None:
            data["conversation"] = self.conversation.to_dict()
        if self.reading is not None:
            data["reading"] = self.reading.to_dict()
        if self.note is not None:
            data["note"] = self.note
        if self.thoughts is not None:
            data["thoughts"] = dict(self.thoughts)
        if self.risk is not None:
            data["risk"] = dict(self.risk)
        if tree:
            data["tree"] = None if self.tree is None else self.tree.to_dict()
        return data

    def to_html(self, *others: Solution, titles: Sequence[str] = ()) -> str:
        """Return the run as one HTML page with its tree, votes and usage, which works offline.

        The first of `others` stands beside it, further ones can be chosen on the page. `titles` are the names of the
        runs in this order; for one without a name its question stands.
        """
        from ramify.viewer import page

        named = (*titles, *(None for _ in range(len(titles), len(others) + 1)))
        return page([each.view_data(title) for each, title in zip((self, *others), named, strict=True)])

    def view_data(self, title: str | None = None, **facts: str | None) -> dict[str, Any]:
        """Return the data of this run for the viewer (see `ramify.viewer`); `facts` are `run_id` and `created`."""
        from ramify.viewer import run_data

        return run_data(self.to_dict(tree=True), winner=self.winner, title=title, **facts)

    def _repr_html_(self) -> str:
        from ramify.viewer import notebook_view

        return notebook_view([self.view_data()], 0 if self.tree is None else len(self.tree))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Solution:
        """Rebuild a solution from `to_dict()`.

        Raises:
            ArgumentError: if the data was written by a newer version.
        """
        if data["version"] > SCHEMA_VERSION:
            raise ArgumentError(
                f"solution version {data['version']} is newer than this ramify reads ({SCHEMA_VERSION})"
            )
        tree, reading, told = data.get("tree"), data.get("reading"), data.get("conversation")
        return cls(
            problem_id=data["problem_id"],
            question=data["question"],
            answer=data["answer"],
            text=data["text"],
            score=data["score"],
            stop_reason=StopReason(data["stop_reason"]),
            stop=None if data.get("stop") is None else Stop(**data["stop"]),
            usage=Usage.from_dict(data["usage"]),
            candidates=tuple(Candidate(**candidate) for candidate in data["candidates"]),
            seed=data["seed"],
            strategy=data["strategy"],
            model=data["model"],
            conversation=None if told is None else Conversation.from_dict(told),
            reading=None if reading is None else AnswerReading.from_dict(reading),
            note=data.get("note"),
            thoughts=data.get("thoughts"),
            risk=data.get("risk"),
            tree=None if tree is None else SearchTree.from_dict(tree),
        )
