"""Forms in which families of models write calls of tools, and the calls that a text ends with."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any, cast

from ramify.errors import MalformedText
from ramify.json_text import read_json_at

PYTHON = "python"
"""Name of the tool that a fenced block of code calls."""


class CallForm(StrEnum):
    """Form of calls in a model's text."""

    HERMES = auto()
    """`<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen), also with the tags of Qwen or GLM in the
    place of JSON."""
    LLAMA = auto()
    """`{"name": …, "parameters": {…}}` as the whole text, perhaps after `<|python_tag|>` (Llama 3.1)."""
    MISTRAL = auto()
    """`[TOOL_CALLS][{"name": …, "arguments": {…}}, …]`, or `[TOOL_CALLS]name[ARGS]{…}`."""
    SEED = auto()
    """`<seed:tool_call><function=…><parameter=…>…</parameter></function></seed:tool_call>` (Seed-OSS)."""
    NEMOTRON = auto()
    """`<TOOLCALL>[{"name": …, "arguments": {…}}, …]</TOOLCALL>` (Nemotron)."""
    GRANITE = auto()
    """`<|tool_call|>[{"name": …, "arguments": {…}}, …]` to the end of the text (Granite 3)."""
    COHERE = auto()
    """`<|START_ACTION|>[{"tool_name": …, "parameters": {…}}, …]<|END_ACTION|>` (Command R7B and A)."""
    CODE = auto()
    """A fenced block of Python, which is run (tool-integrated reasoning)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool that a model has written."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def key(self) -> str:
        """A text that equal calls have in common."""
        return json.dumps([self.name, self.arguments], sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Malformed:
    """A text that begins a call and holds none; `reason` is the text that the model is told."""

    reason: str


Calls = tuple[Call, ...] | Malformed | None
"""The calls at the end of a text; None if it calls nothing."""

_TAGS: Mapping[CallForm, tuple[str, str]] = {
    CallForm.HERMES: ("<tool_call>", "</tool_call>"),
    CallForm.SEED: ("<seed:tool_call>", "</seed:tool_call>"),
    CallForm.NEMOTRON: ("<TOOLCALL>", "</TOOLCALL>"),
    CallForm.GRANITE: ("<|tool_call|>", ""),
    CallForm.COHERE: ("<|START_ACTION|>", "<|END_ACTION|>"),
}
"""Tags around calls; "" for the end of the text. The first form whose tag stands in a template is the model's."""
_MISTRAL_OPEN = "[TOOL_CALLS]"
_PYTHON_TAG = "<|python_tag|>"
CONTROL_MARKS = (
    _MISTRAL_OPEN, "[ARGS]", "[CALL_ID]", _PYTHON_TAG, *(mark for marks in _TAGS.values() for mark in marks if mark)
)  # fmt: skip
"""Marks of calls that are tokens of their own in some vocabularies, where control tokens have no text otherwise."""
_CODE_OPEN = re.compile(r"^```(?:python|py|python3|tool_code)[ \t]*\n", re.MULTILINE)
_CODE = re.compile(r"^```(?:python|py|python3|tool_code)[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_JSON_FENCE = "```json\n"
_NAME_ARGUMENTS, _NAME_PARAMETERS = {"name", "arguments"}, {"name", "parameters"}
_FENCE_HEAD = re.compile(r"(?:json|tool_call|tool)?[ \t]*\n", re.IGNORECASE)
_FUNCTION = re.compile(r"<function=([^>\s]+)>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
_KEYED = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_NAMED_ARGUMENTS = re.compile(r"\s*([A-Za-z_][\w-]*)\s*(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")


def form_of(chat_template: str | None) -> CallForm | None:
    """Return the form of calls that a chat template shows its model, None if it knows no tools."""
    if not chat_template or "tools" not in chat_template:
        return None
    for form, (tag, _) in _TAGS.items():
        if tag in chat_template:
            return form
    if _MISTRAL_OPEN in chat_template or "[AVAILABLE_TOOLS]" in chat_template:
        return CallForm.MISTRAL
    if "ipython" in chat_template and '"parameters"' in chat_template:
        return CallForm.LLAMA
    return None


@dataclass(frozen=True, slots=True)
class CallReader:
    """Reads the calls of one run's tools from texts in one form.

    `names` are those of the tools. With `fenced` a block of Python is a call of the tool `python` too.
    """

    form: CallForm
    names: frozenset[str]

    @property
    def fenced(self) -> bool:
        """True if a fenced block of Python is a call: python is the only tool."""
        return self.form is CallForm.CODE or self.names == frozenset({PYTHON})

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        """Texts between which no step ends, and after the second of which one does; "" for the end of the text."""
        own = {
            **{form: (tags,) for form, tags in _TAGS.items()},
            CallForm.MISTRAL: ((_MISTRAL_OPEN, ""),),
            CallForm.LLAMA: ((_PYTHON_TAG, ""), ('{"name":', ""), ('{"type": "function"', "")),
            CallForm.CODE: (),
        }[self.form]
        if self.names - {PYTHON} or self.form is not CallForm.CODE:
            own = (*own, (_JSON_FENCE, "\n```"))
        return (*own, ("```python\n", "\n```"), ("```py\n", "\n```")) if self.fenced else own

    def read(self, text: str) -> Calls:
        """Return the calls that a step's text ends with."""
        found = self._in_form(text)
        if found is None and self.fenced:
            found = _fenced_code(text)
        return self._bare(text) if found is None else found

    def _in_form(self, text: str) -> Calls:
        match self.form:
            case CallForm.MISTRAL:
                return _mistral(text)
            case CallForm.LLAMA:
                return _llama(text)
            case CallForm.CODE:
                return None
            case _:
                return _tagged(text, *_TAGS[self.form])

    def _bare(self, text: str) -> Calls:
        """Return the calls of a text that ends with a fence of their JSON, or is nothing else: models forget tags.

        Of other JSON, an object with a name and arguments and no more is a call too: models invent tools.
        """
        listed = _listed(_json(_last_fence(text) or text))
        objects = [cast("Mapping[str, object]", each) for each in listed if isinstance(each, Mapping)]
        calls = [(_call(each), set(each)) for each in objects]
        found = tuple(
            call
            for call, keys in calls
            if isinstance(call, Call) and (call.name in self.names or keys in (_NAME_ARGUMENTS, _NAME_PARAMETERS))
        )
        return found if found and len(found) == len(listed) else None


def split_call(text: str) -> tuple[str, Calls]:
    """Return the text before the call that a text ends with, and the calls, in any form.

    For texts that are known to end with a call, where the form of the model is not; (text, None) if none is found.
    """
    opening = [*(tag for tag, _ in _TAGS.values()), _MISTRAL_OPEN, _PYTHON_TAG]
    starts = [text.find(mark) for mark in opening if mark in text]
    if not starts:
        fences = [match.start() for match in re.finditer(r"^```", text, re.MULTILINE)]
        starts = fences[-2:-1] if len(fences) % 2 == 0 else fences[-1:]
    start = min(starts, default=len(text) - len(text.lstrip()))
    call = text[start:]
    inside = _last_fence(call)
    tags = next((tags for tags in _TAGS.values() if tags[0] in call), None)
    found = None if tags is None else _tagged(call, *tags)
    found = found or _mistral(call) or _fenced_code(call) or _llama(call if inside is None else inside)
    if found is None and inside is not None:
        found = _all(_call(each) for each in _listed(_json(inside)))
    return (text, None) if found is None else (text[:start], found)


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _last_fence(text: str) -> str | None:
    """Return the content of the fence of JSON that a text ends with, None if it ends with none."""
    body, closed, rest = text.rpartition("```")
    before, opened, inner = body.rpartition("```")
    head = _FENCE_HEAD.match(inner)
    if not closed or not opened or rest.strip() or head is None or before.count("```") % 2:
        return None
    return inner[head.end() :]


def _tagged(text: str, opened: str, closed: str) -> Calls:
    """Return the calls between tags: in each pair one, or a list of them."""
    start = text.find(opened)
    if start < 0:
        return None
    parts = text[start:].split(opened)[1:]
    bodies = [part.partition(closed)[0].strip() if closed else part.strip() for part in parts]
    return _all(call for body in bodies for call in _tagged_calls(body))


def _tagged_calls(body: str) -> Iterator[Call | Malformed]:
    if function := _FUNCTION.search(body):
        parameters = _PARAMETER.findall(function[2])
        yield Call(function[1], {name: _value(value) for name, value in parameters})
    elif keyed := _KEYED.findall(body):
        yield Call(body.partition("<arg_key>")[0].strip(), {name.strip(): _value(value) for name, value in keyed})
    else:
        yield from map(_call, _listed(_json(body)))


def _value(text: str) -> Any:
    value = _json(text)
    return text if value is None and text.strip() != "null" else value


def _mistral(text: str) -> Calls:
    start = text.find(_MISTRAL_OPEN)
    if start < 0:
        return None
    found = list[Call | Malformed]()
    for part in text[start:].split(_MISTRAL_OPEN)[1:]:
        named = _NAMED_ARGUMENTS.match(part)
        if named:
            arguments = _json(part[named.end() :].strip())
            found.append(_call({"name": named[1], "arguments": arguments}))
            continue
        listed = _json(part.strip())
        if not isinstance(listed, list):
            found.append(_call(listed))
            continue
        found += [_call(each) for each in cast("list[object]", listed)]
    return _all(found)


def _llama(text: str) -> Calls:
    body = text.strip().removeprefix(_PYTHON_TAG).strip()
    if not body.startswith("{") or not re.search(r'"(?:name|function)"', body):
        return None
    found = list[Call | Malformed]()
    while body.startswith("{"):
        try:
            value, end = read_json_at(body)
        except MalformedText:
            found.append(_call(None))
            break
        found.append(_call(value))
        body = body[end:].lstrip("; \n")
    return _all(found)


def _fenced_code(text: str) -> Calls:
    blocks = _CODE.findall(text)
    opened = len(_CODE_OPEN.findall(text))
    if not opened:
        return None
    if opened > len(blocks):
        return Malformed("the block of code is not closed")
    return (Call(PYTHON, {"code": blocks[-1]}),)


def _all(found: Iterator[Call | Malformed] | list[Call | Malformed]) -> Calls:
    calls = list[Call]()
    for each in found:
        if isinstance(each, Malformed):
            return each
        calls.append(each)
    return tuple(calls) or Malformed("the call is empty")


def _call(value: object) -> Call | Malformed:
    if not isinstance(value, Mapping):
        return Malformed("the call is not a JSON object with a name and arguments")
    fields = cast("Mapping[str, Any]", value)
    name: object = fields.get("name") or fields.get("tool_name") or fields.get("function")
    if isinstance(name, Mapping):
        return _call(cast("Mapping[str, Any]", name))
    arguments: object = fields.get("arguments", fields.get("parameters"))
    if isinstance(arguments, str):
        arguments = _json(arguments)
    if not isinstance(name, str) or not name:
        return Malformed("the call has no name")
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        return Malformed(f"the arguments of {name} are not a JSON object")
    return Call(name, dict(cast("Mapping[str, Any]", arguments)))


def _json(text: str) -> object:
    """Return the value of a JSON text, None if it is none."""
    text = text.strip()
    try:
        value, end = read_json_at(text)
    except MalformedText:
        return None
    return value if end == len(text) else None


def unknown_tool(name: str, names: Collection[str]) -> str:
    """Return the text that tells a model that the tool it has called does not exist."""
    return f"error: there is no tool {name[:80]!r}; there are {', '.join(sorted(names))}"


def observed(text: str) -> str:
    """Return the result of a tool as it stands in the text of a path: in a fence of its own."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"\n{fence}output\n{text}\n{fence}\n"
