"""Tool: a function with a name, a description and a schema of its parameters; the decorator that makes one."""

from __future__ import annotations

import contextvars
import inspect
import json
import re
import typing
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from threading import Thread
from typing import Any, overload

import anyio
import anyio.lowlevel

from ramify.errors import UsageError
from ramify.event_loop import run_in_event_loop

LONGEST_DESCRIPTION = 4000
"""Characters of a description that a model is shown."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class ToolError(Exception):
    """Raised by a tool whose call failed; the model reads the message."""


@dataclass(frozen=True, eq=False)
class Tool:
    """A tool that a model may call.

    `parameters` is the JSON schema of an object, which the model is shown. `call` takes the arguments of a call, which
    may be anything that JSON can hold, and returns the text that the model reads. `function` is the Python function
    that the tool was made of, None for other tools; the tool is callable as the function is.

    Raises:
        UsageError: if the name, or that of a parameter, is none that models can write.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    call: Callable[[Mapping[str, Any]], Awaitable[str]]
    function: Callable[..., Any] | None = field(default=None)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is no name of a tool", "use up to 64 letters, digits, _ and -, a letter first"
            )
        properties: object = self.parameters.get("properties", {})
        if not isinstance(properties, Mapping):
            raise UsageError(f"the schema of the tool {self.name} has no properties", "give the schema of an object")
        for name in typing.cast("Mapping[object, object]", properties):
            if not _PARAMETER.fullmatch(str(name)):
                raise UsageError(
                    f"the tool {self.name} has a parameter {str(name)[:80]!r}", "use up to 64 letters, digits and _"
                )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function that the tool was made of.

        Raises:
            UsageError: if it is no Python function.
        """
        if self.function is None:
            raise UsageError(f"the tool {self.name} is no Python function", "call it through a run")
        return self.function(*args, **kwargs)

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The tool in the form that chat templates take in `tools`."""
        function = {
            "name": self.name,
            "description": self.description[:LONGEST_DESCRIPTION],
            "parameters": dict(self.parameters),
        }
        return {"type": "function", "function": function}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, description: str | None = None
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function, plain or async; use it as `@tool` or `@tool(name=..., description=...)`.

    The schema comes from the signature, whose annotations pydantic checks at each call. `name` None means the
    function's, `description` None its docstring. A plain function runs in a thread, which cannot be ended: a function
    that has to end in time should be async.

    Raises:
        UsageError: if the signature cannot be a schema, or the name is none that models can write.
    """

    def made(given: Callable[..., Any]) -> Tool:
        return _tool_of(given, name, description)

    return made if function is None else made(function)


def _tool_of(function: Callable[..., Any], name: str | None, description: str | None) -> Tool:
    from pydantic import ValidationError

    named = name or getattr(function, "__name__", type(function).__name__)
    model = _arguments_model(function, named)
    is_async = inspect.iscoroutinefunction(function)

    async def call(arguments: Mapping[str, Any]) -> str:
        try:
            checked = model.model_validate(dict(arguments))
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in error.errors())
            raise ToolError("wrong arguments; " + "; ".join(problems)) from None
        values = {key: getattr(checked, key) for key in model.model_fields}
        return written(await function(**values) if is_async else await in_thread(function, values))

    schema = model.model_json_schema()
    schema.pop("title", None)
    for each in schema.get("properties", {}).values():
        each.pop("title", None)
    return Tool(named, description or inspect.cleandoc(function.__doc__ or named), schema, call, function)


def _arguments_model(function: Callable[..., Any], name: str) -> Any:
    from pydantic import ConfigDict, PydanticUserError, create_model

    fields = dict[str, Any]()
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        signature = inspect.signature(function)
    except (TypeError, ValueError, NameError) as error:
        raise UsageError(f"the signature of the tool {name} cannot be read ({error})", "annotate it plainly") from error
    for key, each in signature.parameters.items():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise UsageError(f"the tool {name} takes {each}", "give it named parameters only")
        default = ... if each.default is each.empty else each.default
        fields[key] = (hints.get(key, Any), default)
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields)
        model.model_json_schema()
    except (PydanticUserError, NameError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the parameters of the tool {name} have no schema ({reason})", "use plain types") from error
    return model


def written(value: object) -> str:
    """Return a tool's result as text: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


async def in_thread(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Run a function in a thread of its own and return its result.

    A caller that is cancelled does not wait for it, and neither does the end of the program.
    """
    done, outcome = anyio.Event(), list[tuple[Any, BaseException | None]]()
    token, context = anyio.lowlevel.current_token(), contextvars.copy_context()

    def work() -> None:
        try:
            outcome.append((context.run(function, **arguments), None))
        except BaseException as error:
            outcome.append((None, error))
        with suppress(Exception):
            # The event loop may have ended meanwhile.
            run_in_event_loop(token, done.set)

    Thread(target=work, name=f"tool {getattr(function, '__name__', '')}", daemon=True).start()
    await done.wait()
    value, error = outcome[0]
    if error is not None:
        raise error
    return value
