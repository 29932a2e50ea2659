"""Bodies of requests: chat completions, the search settings in them, steering and scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .api_errors import ApiError, bad_request, not_supported

MOST_CHOICES = 128
"""Highest `n`; the API has the same bound."""
LARGEST_SEED = 2**63
MOST_STOPS = 16
"""Highest number of texts in `stop`; the API takes 4."""

RESPONSE_FIELDS = ("refusal", "tool_calls", "function_call", "audio", "annotations")
"""Fields of a message in a response that a request may repeat while they are empty."""
THOUGHT_FIELDS = ("reasoning_content", "reasoning")

Scalar = bool | int | float | str
Tokens = Annotated[int, Field(ge=1, le=1 << 24)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class Body(BaseModel):
    """Base of all bodies: unknown fields are refused, and numbers are not read from texts."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class TextPart(Body):
    """A part of a message that is text."""

    type: Literal["text"]
    text: str


class Message(Body):
    """A turn of a conversation.

    An assistant's turn may be a message of a response as clients send it back: its empty fields and its thoughts count
    for nothing.
    """

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_fields_of_responses(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = cast("Mapping[str, Any]", data)
        thoughts = THOUGHT_FIELDS if given.get("role") == "assistant" else ()
        return {
            name: value
            for name, value in given.items()
            if name not in thoughts and not (name in RESPONSE_FIELDS and (value is None or value == []))
        }

    @property
    def text(self) -> str:
        """The text of all parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class BudgetLimits(Body):
    """Limits of a search, as in `ramify.Budget`; a limit left out is not set."""

    generated_tokens: float | None = None
    total_tokens: float | None = None
    flops: float | None = None
    seconds: float | None = None
    joules: float | None = None
    cost: float | None = None
    nodes: float | None = None


class StreamOptions(Body):
    """Optional contents of a stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(Body):
    """A schema of the answer; `name`, `description` and `strict` change nothing, as the answer always fits."""

    name: str = ""
    description: str | None = None
    strict: bool | None = None
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    """A form of the answer: text, or a JSON value that fits a schema."""

    type: str
    json_schema: JsonSchema | None = None


class ChatRequest(BaseModel):
    """A request for a chat completion; fields that are not declared here are refused by `check_supported`.

    `ramify` holds search settings by key, as in the settings file, and under `budget` and `strategy_options` the limits
    and the further options of the strategy.
    """

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False, frozen=True)

    model: str
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    seed: Annotated[int, Field(ge=-LARGEST_SEED, lt=LARGEST_SEED)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    response_format: ResponseFormat | None = None
    ramify: dict[str, Any] | None = None

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON schema of the answer, None for text."""
        form = self.response_format
        return None if form is None or form.json_schema is None else form.json_schema.schema_


class SteerNode(Body):
    """A node to prune or to pin; `node` None takes the pin away."""

    node: int | None = None


class SteerExpansion(Body):
    """A node to be given more children."""

    node: int
    children: Annotated[int, Field(ge=1, le=1 << 14)] = 1


class ScoreRequest(Body):
    """A question and the steps of one path, or of several paths with the same question."""

    question: str
    steps: list[str] | None = None
    paths: list[list[str]] | None = None
    model: str | None = None


B = TypeVar("B", bound=BaseModel)

WITHOUT_EFFECT = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls",
}  # fmt: skip
"""Fields of the API that change no answer; they are accepted, and do nothing."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
"""Fields of the API that the server cannot honour, and the values at which they ask for nothing."""
NOT_HONOURED = (*NEUTRAL, "reasoning_effort", "prediction", "audio", "web_search_options")


def read_body(kind: type[B], value: Any) -> B:
    """Return a body of a kind from its JSON value.

    Raises:
        ApiError: if it is no such body; the error names the first field that is wrong.
    """
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = _told(error.errors(include_url=False, include_context=False, include_input=False))
        param = ".".join(str(part) for part in first["loc"] if not _is_form(part)) or None
        where = f"{param}: " if param else ""
        raise bad_request(f"{where}{first['msg'][:1].lower()}{first['msg'][1:]}", param) from None


def _told(errors: Sequence[Any]) -> Any:
    """Return the error that a client is told: the first, or for a field of several forms that of the form it has."""
    first = errors[0]
    place = next((place for place, part in enumerate(first["loc"]) if _is_form(part)), None)
    if place is None:
        return first
    field = [each for each in errors if each["loc"][:place] == first["loc"][:place]]
    return max(field, key=lambda each: (each["type"] not in ("string_type", "list_type"), len(each["loc"])))


def _is_form(part: int | str) -> bool:
    """Tell whether a part of a place names one of the forms that a field may have."""
    return part == "str" or str(part).startswith("list[")


def check_supported(request: ChatRequest) -> None:
    """Check that a request asks for nothing that the server would have to leave out.

    Raises:
        ApiError: if it does.
    """
    for name, value in (request.model_extra or {}).items():
        if value is None or name in WITHOUT_EFFECT or value in NEUTRAL.get(name, ()):
            continue
        raise _refused(name)
    form = request.response_format
    if form is not None and form.type not in ("text", "json_schema"):
        raise not_supported("response_format", "response_format: use {type: text} or {type: json_schema}")
    if form is not None and (form.type == "json_schema") != (form.json_schema is not None):
        raise bad_request("response_format: the type json_schema goes with a json_schema", "response_format")
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise bad_request("max_tokens and max_completion_tokens are both given", "max_tokens")


def _refused(name: str) -> ApiError:
    if name in NOT_HONOURED:
        return not_supported(name, f"{name}: this server cannot honour it; leave it out")
    return bad_request(f"unrecognized request argument: {name}", name, "unknown_parameter")
