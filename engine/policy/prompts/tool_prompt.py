"""Tools in prompts: their schemas as a chat template shows them, and their results as it puts them after a call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ramify.errors import UsageError
from ramify.reward.protocol import Tokenizer
from ramify.reward.tokens import Segment, SegmentEncoder
from ramify.tools.forms import PYTHON, CallForm, form_of, observed
from ramify.tools.tool import Tool

from .chat_template import TemplateRefused, render_chat
from .prompt import SpecialTokens, cut_at_marks, mark_of

CODE_PROMPT = (
    "You can run Python: write a block that begins with ```python and ends with ```, and use print. Its output follows "
    "in a block ```output, and then you go on."
)
"""System message for models without a form of calls, which run blocks of code."""
_PLAIN = re.compile(r"[\w \-.,;:()'/=+*%?!\"\\]*")
_CALLED, _CALL_ID = "called", "callid123"


@dataclass(frozen=True, slots=True)
class ToolPrompt:
    """Tools in the prompt of one model.

    `schemas` are the chat template's `tools`, with marks in the place of texts that might be taken for its own, and
    `contents` those texts by their marks.
    """

    form: CallForm
    tools: tuple[Tool, ...]
    schemas: tuple[dict[str, Any], ...] = ()
    contents: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(
        cls, tools: Sequence[Tool], chat_template: str | None, model: str, *, writes_code: bool = True
    ) -> ToolPrompt:
        """Return the tools as a model with this chat template is told of them.

        With `writes_code`, python alone is called by blocks of code whatever the template: small models that are shown
        a schema invent names of functions, or pay no heed to it.

        Raises:
            UsageError: if the template knows no tools, unless python is the only one: then blocks of code are run.
        """
        form = form_of(chat_template)
        if [each.name for each in tools] == [PYTHON] and (writes_code or form is None):
            return cls(CallForm.CODE, tuple(tools))
        if form is None:
            raise UsageError(
                f"the chat template of {model} knows no tools" if chat_template else f"{model} has no chat template",
                "use another model, or the tool python alone, which runs the blocks of code that any model writes",
            )
        contents = dict[str, str]()
        schemas = tuple(cast("dict[str, Any]", _marked(each.schema, contents)) for each in tools)
        return cls(form, tuple(tools), schemas, contents)

    @property
    def system(self) -> str:
        """Text of the system message about the tools beside the template's own words, "" for none."""
        return CODE_PROMPT if self.form is CallForm.CODE else ""

    def result_tokens(
        self,
        results: Sequence[str],
        said: tuple[int, ...],
        chat_template: str | None,
        special: SpecialTokens,
        tokenizer: Tokenizer,
    ) -> tuple[int, ...]:
        """Return the tokens from the end of a step with calls to where the model goes on.

        `said` are the step's own tokens: an end token that both have is not repeated.
        """
        if chat_template is None or self.form is CallForm.CODE:
            return tuple(tokenizer.encode(observed("\n".join(results)), special=False))
        segments = result_segments(results, chat_template, special)
        tokens = tuple(SegmentEncoder(tokenizer).encode(segments))
        return tokens[1:] if said and tokens[:1] == said[-1:] else tokens


def _marked(value: Any, contents: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _marked(each, contents) for key, each in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_marked(each, contents) for each in cast("Sequence[Any]", value)]
    if not isinstance(value, str) or _PLAIN.fullmatch(value):
        return value
    mark = mark_of("Schema", len(contents))
    contents[mark] = json.dumps(value, ensure_ascii=False)[1:-1]
    return mark


def result_segments(results: Sequence[str], chat_template: str, special: SpecialTokens) -> list[Segment]:
    """Return the pieces of the prompt between a call and the rest of the reply.

    Templates take a result as a message of a role of its own. One that refuses it after a plain text gets the call as
    it wants it; one that refuses even that gets the results as the user's next message.
    """
    marks = [mark_of("Result", place) for place in range(len(results))]
    call_mark = mark_of("Call", 0)
    contents = dict(zip(marks, results, strict=True))
    asked = {"role": "user", "content": "question"}
    told = [{"role": "tool", "name": _CALLED, "content": mark, "tool_call_id": _CALL_ID} for mark in marks]
    function = {"name": _CALLED, "arguments": {"mark": call_mark}}
    calls = [{"id": _CALL_ID, "type": "function", "function": function}]
    replied = "\n".join(f"<tool_response>\n{mark}\n</tool_response>" for mark in marks)
    spoken = {"role": "assistant", "content": call_mark}
    for ends_itself, messages in (
        (True, [asked, spoken, *told]),
        (False, [asked, {"role": "assistant", "content": "", "tool_calls": calls}, *told]),
        (True, [asked, spoken, {"role": "user", "content": replied}]),
    ):
        try:
            rendered = render_chat(chat_template, messages, bos=special.bos, eos=special.eos)
        except TemplateRefused:
            continue
        _, found, after = rendered.rpartition(call_mark)
        if not ends_itself:
            # The template's text of a call goes on to its end token; the model has written that itself.
            end = after.find(special.eos) if special.eos else -1
            after = after[end:] if end >= 0 else ""
        if found and all(mark in after for mark in marks):
            return list(_with_results(after, contents))
    raise UsageError("the model's chat template takes no results of tools", "use another model")


def _with_results(after: str, contents: Mapping[str, str]) -> Iterator[Segment]:
    """Yield the pieces with the results in their places; between quotes of JSON they are escaped."""
    for mark, text in contents.items():
        if f'"{mark}"' in after:
            contents = {**contents, mark: json.dumps(text, ensure_ascii=False)[1:-1]}
    yield from cut_at_marks(after, contents)
