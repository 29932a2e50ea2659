"""Conversation of a problem: system message, worked examples and turns, ended by the user's turn to be answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from .errors import ArgumentError, MalformedText, UsageError
from .files import user_path
from .json_text import json_lines, read_json

Role = Literal["system", "user", "assistant"]
_ROLES: dict[str, Role] = {**{each: each for each in get_args(Role)}, "developer": "system"}
_FORM = 'write messages as [{"role": "user", "content": "..."}]'


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `content` is its text."""

    role: Role
    content: str

    def to_dict(self) -> dict[str, str]:
        """Return the message in the form of the chat API."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: a question, and the reply that the model is to imitate."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Messages that a policy reads before it replies.

    `turns` are messages of the user and the assistant; the last is the user's. `system` is the system message, None
    for that of the prompt preset and "" for none. `examples` come before the turns.
    """

    turns: tuple[Message, ...]
    system: str | None = None
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, question: str | Conversation) -> Conversation:
        """Return the conversation that one question makes; a conversation as it is."""
        return question if isinstance(question, Conversation) else cls(turns=(Message("user", question),))

    @property
    def question(self) -> str:
        """The user's message that is to be answered."""
        return self.turns[-1].content

    def messages(self, system: str | None) -> list[Message]:
        """Return all messages without white space around them, examples as turns; `system` stands in for none."""
        told = system if self.system is None else self.system
        shown = [
            message
            for each in self.examples
            for message in (Message("user", each.question), Message("assistant", each.answer))
        ]
        spoken = [Message(each.role, each.content.strip()) for each in (*shown, *self.turns)]
        return [Message("system", told), *spoken] if told else spoken

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "system": self.system,
            "examples": [{"question": each.question, "answer": each.answer} for each in self.examples],
            "turns": [each.to_dict() for each in self.turns],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conversation:
        """Rebuild a conversation from `to_dict()`."""
        turns = tuple(Message(**each) for each in data["turns"])
        return cls(turns=turns, system=data["system"], examples=tuple(Example(**each) for each in data["examples"]))

    def transcript(self) -> str:
        """Return the turns as one text, for rewards that read a question; one turn alone is its text."""
        if len(self.turns) == 1:
            return self.question
        return "\n\n".join(f"{each.role.capitalize()}: {each.content.strip()}" for each in self.turns)


def read_messages(messages: object) -> tuple[Message, ...]:
    """Return messages given as `Message` or in the form of the chat API, contents also as lists of text parts.

    A system message ("developer" means the same) may stand at the start alone, and the last message is the user's.

    Raises:
        ArgumentError: if they are no such messages, one is empty, or the assistant has the last word.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        raise ArgumentError(f"the messages are {_named(messages)}, not a list", _FORM)
    found = tuple(_message(place, each) for place, each in enumerate(cast("Sequence[object]", messages), start=1))
    if not any(each.role == "user" for each in found):
        raise ArgumentError("the messages hold none of the user", _FORM)
    for place, each in enumerate(found, start=1):
        if each.role == "system" and place > 1:
            raise ArgumentError(f"message {place} is a system message", "put it first, and only one")
        if each.role == "user" and not each.content.strip():
            raise ArgumentError(f"message {place} is empty", "pass some text")
    if found[-1].role != "user":
        raise ArgumentError(
            f"the messages end with one of the {found[-1].role}", "end with the user's message that is to be answered"
        )
    return found


def read_examples(examples: object) -> tuple[Example, ...]:
    """Return worked examples given as `Example`, as pairs of texts, or as mappings with `question` and `answer`.

    Raises:
        ArgumentError: if they are no such examples, or one is empty.
    """
    if not isinstance(examples, Iterable) or isinstance(examples, str | bytes | Mapping):
        raise ArgumentError(
            f"the examples are {_named(cast('object', examples))}, not a list", "write pairs (question, answer)"
        )
    return tuple(_example(place, each) for place, each in enumerate(cast("Iterable[object]", examples), start=1))


def messages_from_file(name: str) -> list[Any]:
    """Return the messages of a JSON file: a list of them, or an object that holds it as "messages".

    The messages themselves are not checked.

    Raises:
        UsageError: if the file cannot be read or holds no such list.
    """
    try:
        value: Any = read_json(_read(name))
    except MalformedText as error:
        raise UsageError(f"{name} cannot be read: {error.message}", "correct the file") from error
    found: Any = cast("dict[str, Any]", value).get("messages") if isinstance(value, dict) else value
    if not isinstance(found, list):
        raise UsageError(f"{name} holds no list of messages", _FORM)
    return cast("list[Any]", found)


def examples_from_file(name: str) -> tuple[Example, ...]:
    """Return the worked examples of a file: JSON lines, each an object with `question` and `answer`, or such a pair.

    Raises:
        UsageError: if the file cannot be read, or a line is no example.
    """
    found = list[Example]()
    for number, line in json_lines(_read(name)):
        try:
            found += read_examples([read_json(line)])
        except (MalformedText, ArgumentError) as error:
            reason = error.message.removeprefix("example 1 ")
            raise UsageError(f"line {number} of {name} is no example: {reason}", error.next_step) from error
    if not found:
        raise UsageError(f"{name} holds no examples", 'write lines such as {"question": "...", "answer": "..."}')
    return tuple(found)


def _read(name: str) -> str:
    try:
        return user_path(name).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{name} is not UTF-8 text", "save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be read ({error.strerror})", "check the path") from error
    except ValueError as error:
        raise UsageError(f"{name!r} cannot be the path of a file", "check the path") from error


def _message(place: int, value: object) -> Message:
    if isinstance(value, Message):
        return value
    if not isinstance(value, Mapping):
        raise ArgumentError(f"message {place} is {_named(value)}, not an object with role and content", _FORM)
    fields = cast("Mapping[str, Any]", value)
    role = fields.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise ArgumentError(f"message {place} has the role {role!r}", f"use one of {', '.join(_ROLES)}")
    return Message(_ROLES[role], _content(place, fields.get("content")))


def _content(place: int, value: object) -> str:
    if isinstance(value, str):
        return _whole(value, f"message {place}")
    parts = cast("list[Any]", value) if isinstance(value, list) else None
    if not parts or not all(
        isinstance(each, dict) and isinstance(cast("dict[str, Any]", each).get("text"), str) for each in parts
    ):
        raise ArgumentError(f"the content of message {place} is no text", "pass text, or parts of the type text")
    return _whole("".join(each["text"] for each in parts), f"message {place}")


def _example(place: int, value: object) -> Example:
    if isinstance(value, Example):
        return value
    pair: tuple[object, ...] = ()
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, object]", value)
        pair = fields.get("question"), fields.get("answer")
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        pair = tuple(cast("Sequence[object]", value))
    if len(pair) != 2 or not all(isinstance(each, str) and each.strip() for each in pair):
        raise ArgumentError(f"example {place} is no pair of question and answer, both text", "write both, not empty")
    question, answer = (_whole(str(each), f"example {place}") for each in pair)
    return Example(question, answer)


def _whole(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ArgumentError(f"{where} holds half a character", "save it as UTF-8") from None
    return text


def _named(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"
