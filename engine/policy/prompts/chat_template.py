"""Chat templates of model files, rendered in a Jinja sandbox as Hugging Face `transformers` renders them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ramify.errors import ModelLoadError


class TemplateRefused(Exception):
    """Raised when a template itself rejects the messages, for instance a system message that it does not know."""


def render_chat(
    template: str,
    messages: Sequence[dict[str, str]],
    *,
    bos: str = "",
    eos: str = "",
    now: datetime | None = None,
    reply: bool = True,
) -> str:
    """Return the text of `messages` up to where the model's reply starts; without `reply`, up to their own end.

    `now` is the time that templates with a date show, None for the present.

    Raises:
        TemplateRefused: if the template calls `raise_exception`.
        ModelLoadError: if the template is not valid or fails.
    """
    moment = now or datetime.now()
    try:
        return _compiled(template).render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=reply,
            bos_token=bos,
            eos_token=eos,
            raise_exception=_refuse,
            strftime_now=moment.strftime,
        )
    except TemplateRefused:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"the model's chat template fails ({type(error).__name__}: {error})",
            "use a GGUF file with a working template",
        ) from error


class _Generation(Extension):
    """Passes the contents of `{% generation %}` blocks through; they only mark text for training."""

    tags = {"generation"}  # noqa: RUF012 -- jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    try:
        return _environment().from_string(template)
    except TemplateError as error:
        raise ModelLoadError(
            f"the model's chat template is not valid ({error})", "use a GGUF file with a working template"
        ) from error


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    to_json: Callable[..., str] = _to_json
    environment.filters["tojson"] = to_json
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: object) -> NoReturn:
    raise TemplateRefused(str(message))
