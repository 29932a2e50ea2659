"""Problem: a question with an optional gold answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from ramify.answers.checkers import DEFAULT_CHECK, Check
from ramify.answers.grader import Grader

from .conversation import Conversation, Example, Message, read_examples, read_messages
from .errors import ArgumentError, check_kind


@dataclass(frozen=True, slots=True)
class Problem:
    """One question to solve, alone or at the end of a conversation.

    Pass `question`, or `messages` in the form of the chat API ({"role": "user", "content": "..."}): a system message
    perhaps, turns of user and assistant, and at the end the user's, which is then the question. `system` is the system
    message where the messages hold none; None means that of the prompt preset, "" none. `examples` are pairs of a
    question and its reply, shown before the conversation. None of these reaches a checker; a reward reads the turns.

    `id` names the problem in results and seeds nothing. `answer` is the gold answer; None means it is unknown,
    so nothing is graded. `solution` is a worked solution if one is known. `metadata` holds all further
    fields of the source (`steps` for bundled problems); it never reaches the model. `check` decides if an answer is
    right: the name of a checker (math, exact, regex, numeric, numeric:0.01) or a function of (answer, gold answer);
    see `ramify.answers.checkers.make_checker`.

    Raises:
        ArgumentError: if the question or the answer is no text, or the messages or examples are none; also if the
            messages end with one of the assistant.
    """

    id: str = ""
    question: str = ""
    answer: str | None = None
    solution: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    check: Check = DEFAULT_CHECK
    messages: Sequence[Message | Mapping[str, Any]] = ()
    system: str | None = None
    examples: Sequence[Example | Sequence[str] | Mapping[str, str]] = ()

    def __post_init__(self) -> None:
        check_kind("the question", self.question, str, "its text")
        check_kind("the answer of the problem", self.answer, (str, NoneType), "its text, or None if it is not known")
        check_kind("the system message", self.system, (str, NoneType), "its text, or None for the preset's")
        object.__setattr__(self, "examples", read_examples(self.examples))
        if not isinstance(self.messages, Sequence) or self.messages:  # pyright: ignore[reportUnnecessaryIsInstance]
            self._take_messages()

    def _take_messages(self) -> None:
        messages = read_messages(self.messages)
        if self.question and self.question != messages[-1].content:
            raise ArgumentError("there is a question beside the messages", "make it the last message")
        if self.system is not None and messages[0].role == "system":
            raise ArgumentError("there is a system message beside that of the messages", "pass one of them")
        object.__setattr__(self, "messages", messages)
        object.__setattr__(self, "question", messages[-1].content)

    @property
    def is_plain(self) -> bool:
        """True if there is the question alone, without further turns, system message and examples."""
        return len(self.messages) <= 1 and self.system is None and not self.examples

    @property
    def conversation(self) -> Conversation:
        """The conversation that ends with the question."""
        turns = read_messages(self.messages) if self.messages else (Message("user", self.question),)
        system = self.system
        if turns[0].role == "system":
            system, turns = turns[0].content, turns[1:]
        return Conversation(turns=turns, system=system, examples=read_examples(self.examples))

    @property
    def transcript(self) -> str:
        """The question, after the earlier turns if there are any, as a reward reads it."""
        return self.question if self.is_plain else self.conversation.transcript()

    @property
    def identity(self) -> str:
        """Text that is the same for equal conversations only; of a question alone it is the question."""
        if self.is_plain:
            return self.question
        return json.dumps(self.conversation.to_dict())

    def grader(self) -> Grader:
        """Return the grader of answers to the problem; to one without a gold answer no answer is right.

        Raises:
            UsageError: if there is no such checker.
        """
        return Grader(self.answer or "", self.check, question=self.question)
