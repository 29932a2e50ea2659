"""Chat templates of model files, rendered in a Jinja sandbox under limits, once for each shape of a conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from ramify.errors import ModelLoadError
from ramify.json_text import read_json
from ramify.limited_process import LimitedProcess

from .template_program import LONGEST_TEXT, is_harmless, reply

TEMPLATE_LIMIT_S = 2.0
"""Seconds in which a template must have been compiled and rendered."""
TEMPLATE_MEMORY_BYTES = 256 << 20
"""Address space of the child process that renders templates."""
LONGEST_TEMPLATE = 1_000_000
_LONGEST_TOKEN = 200
_REPAIR = "use a GGUF file with a working template"

_templates = LimitedProcess(
    Path(__file__).with_name("template_program.py"),
    memory_bytes=TEMPLATE_MEMORY_BYTES,
    purpose="chat templates that are not plain cannot be rendered",
)


class TemplateRefused(Exception):
    """Raised when a template itself rejects the messages, for instance a system message that it does not know."""


def render_chat(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    bos: str = "",
    eos: str = "",
    now: datetime | None = None,
    reply: bool = True,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the text of `messages` up to where the model's reply starts; without `reply`, up to their own end.

    `now` is the time that templates with a date show, None for the present, as of the day's first rendering. A template
    that could take long is rendered in a child process, which may take 2 seconds and 256 MB; the text may have
    1,000,000 characters. The same messages are rendered once. `tools` are the schemas of tools that the reply may call.

    Raises:
        TemplateRefused: if the template calls `raise_exception`.
        ModelLoadError: if the template is not valid or fails, also at a limit.
    """
    moment = now or _moment(date.today())
    outcome, text = _rendered(template, json.dumps(messages), json.dumps(tools), bos, eos, moment, reply)
    match outcome:
        case "text":
            return text
        case "refused":
            raise TemplateRefused(text)
        case "invalid":
            raise ModelLoadError(f"the model's chat template is not valid ({text})", _REPAIR)
        case _:
            raise ModelLoadError(f"the model's chat template {text}", _REPAIR)


@lru_cache(maxsize=1)
def _moment(today: date) -> datetime:
    """Return a time of this day that stays the same."""
    del today
    return datetime.now()


@lru_cache(maxsize=64)
def _rendered(
    template: str,
    messages: str,
    tools: str,
    bos: str,
    eos: str,
    now: datetime,
    for_reply: bool,
) -> tuple[str, str]:
    """Return an outcome of `template_program`, and the text or the error.

    Raises:
        ModelLoadError: if it was not rendered within the limits.
    """
    if len(template) > LONGEST_TEMPLATE:
        return "failed", f"has {len(template)} characters, more than {LONGEST_TEMPLATE}"
    request = {
        "template": template,
        "messages": read_json(messages, lenient=True),
        "tools": read_json(tools, lenient=True),
        "reply": for_reply,
        "bos": bos,
        "eos": eos,
        "now": now.isoformat(),
    }
    if _harmless(template) and len(bos) + len(eos) <= _LONGEST_TOKEN:
        outcome, text = reply(request)
    else:
        result = _templates.ask(request, time_limit_s=TEMPLATE_LIMIT_S)
        if result is None:
            megabytes = TEMPLATE_MEMORY_BYTES >> 20
            # Raised and not returned, so that it is not kept: the machine may only have been busy.
            limits = f"{TEMPLATE_LIMIT_S:g} s or {megabytes} MB"
            raise ModelLoadError(f"the model's chat template takes more than {limits} to render", _REPAIR)
        outcome, text = cast("list[str]", result)
    if outcome == "long":
        return "failed", f"makes more than {LONGEST_TEXT} characters of a short conversation"
    return outcome, f"fails ({text})" if outcome == "failed" else text


_harmless = lru_cache(maxsize=16)(is_harmless)
