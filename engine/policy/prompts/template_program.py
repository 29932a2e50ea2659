"""Jinja sandbox in which chat templates are rendered, as Hugging Face `transformers` does; also a child's program.

As the program of a `LimitedProcess`, a request is the object {template, messages, tools, reply, bos, eos, now}, whose
reply is the list of an outcome and a text: "text" with the rendered text, "refused" with the template's own words,
"invalid" or "failed" with the error, "long" if more than `LONGEST_TEXT` characters were made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

LONGEST_TEXT = 1_000_000
"""Characters that a template may make of messages whose contents are short marks."""
LONGEST_PLAIN = 16_384
_DEEPEST_LOOP = 2

_HARMLESS: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.For,
    nodes.Assign,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Add,
    nodes.Sub,
    nodes.Neg,
    nodes.Concat,
    nodes.CondExpr,
    nodes.Test,
    nodes.Filter,
    nodes.Call,
)
_TESTS = frozenset({"defined", "undefined", "none", "string", "mapping", "true", "false", "odd", "even"})


class _Refused(Exception):
    """Raised when a template calls `raise_exception`."""


def reply(request: Mapping[str, Any]) -> tuple[str, str]:
    """Return the outcome of a rendering, and its text."""
    try:
        parts = list[str]()
        length = 0
        for part in compiled(request["template"]).generate(**variables(request)):
            parts.append(part)
            length += len(part)
            if length > LONGEST_TEXT:
                return "long", ""
        return "text", "".join(parts)
    except _Refused as refusal:
        return "refused", str(refusal)[:1000]
    except MemoryError:
        raise
    except Exception as error:
        kind = "invalid" if isinstance(error, TemplateError) and is_invalid(request["template"]) else "failed"
        return kind, (str(error) if kind == "invalid" else f"{type(error).__name__}: {error}")[:1000]


def variables(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of a template."""
    return {
        "messages": [dict(message) for message in request["messages"]],
        "add_generation_prompt": request["reply"],
        **({"tools": request["tools"]} if request.get("tools") else {}),
        "bos_token": request["bos"],
        "eos_token": request["eos"],
        "raise_exception": _refuse,
        "strftime_now": datetime.fromisoformat(request["now"]).strftime,
    }


@lru_cache(maxsize=16)
def compiled(template: str) -> Template:
    """Return a template for rendering.

    Raises:
        TemplateError: if it is not valid.
    """
    return _environment().from_string(template)


def is_invalid(template: str) -> bool:
    """Return whether a template cannot be compiled."""
    try:
        compiled(template)
    except TemplateError:
        return True
    return False


def is_harmless(template: str) -> bool:
    """Return whether a short template can only make a short text in a short time, for any messages.

    It loops over its messages or their texts, at most two loops deep, and builds no value upon another: it calls no
    function but `raise_exception`, has no filters but `trim` and `tojson`, and assigns only parts of the messages, or
    true and false.
    """
    if len(template) > LONGEST_PLAIN:
        return False
    try:
        return _harmless(_environment().parse(template), 0)
    except Exception:
        # The child finds the error.
        return False


def _harmless(node: nodes.Node, loops: int) -> bool:
    if not isinstance(node, _HARMLESS):
        return False
    match node:
        case nodes.For():
            loops += 1
            if (
                loops > _DEEPEST_LOOP
                or node.recursive
                or not _is_part(node.iter)
                or not isinstance(node.target, nodes.Name)
            ):
                return False
        case nodes.Assign():
            is_switch = isinstance(node.node, nodes.Const) and isinstance(node.node.value, bool)
            if not isinstance(node.target, nodes.Name) or not (is_switch or _is_part(node.node)):
                return False
        case nodes.Test():
            if node.name not in _TESTS or node.args or node.kwargs:
                return False
        case nodes.Filter():
            # JSON in JSON doubles its backslashes every time.
            plain = node.name == "trim" or (node.name == "tojson" and node.node is not None and _is_part(node.node))
            if not plain or node.args or node.kwargs:
                return False
        case nodes.Call():
            if not isinstance(node.node, nodes.Name) or node.node.name != "raise_exception":
                return False
        case _:
            pass
    return all(_harmless(child, loops) for child in node.iter_child_nodes())


def _is_part(node: nodes.Node) -> bool:
    """Return whether an expression is a variable, or a part of one."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    return isinstance(node, nodes.Name)


class _Generation(Extension):
    """Passes the contents of `{% generation %}` blocks through; they only mark text for training."""

    tags = {"generation"}  # noqa: RUF012 -- jinja2 declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    to_json: Callable[..., str] = _to_json
    environment.filters["tojson"] = to_json
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return JSON with the arguments that the filter has in `transformers`."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: object) -> NoReturn:
    raise _Refused(str(message))
