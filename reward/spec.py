"""The declaration of a reward model's format: what it reads, where its score stands and what the score means."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import RewardSpecError

METADATA_KEY = "ramify.reward.spec"
"""GGUF metadata key under which a model file carries its own spec as JSON."""

QUESTION = "{question}"
STEP = "{step}"

Text = Annotated[str, Field(min_length=1)]
Index = Annotated[int, Field(ge=0)]


class RewardSpec(BaseModel):
    """How a reward model reads a question and its steps, and how a score is read from it.

    The model reads `prompt_template`, then `step_template` once a step; `first_step_template` replaces it for the
    first step (None: no difference). Templates are plain text with one placeholder; braces mean nothing else. Their
    special tokens are recognised, those in questions and steps never are. BOS, where a model expects it, is written
    out in `prompt_template`. `joined` says what is tokenised as one text: "nothing" (each piece of a template and
    each step by itself), "prompt" (the prompt as one, the pieces of steps by themselves) or "all" (everything between
    two special tokens). Vocabularies that put a space before a text are always read as "all".

    The last `tag` of `step_template`, one token of the vocabulary, marks the step's score: at the tag itself
    (`read_at="tag"`), or at the token before, which predicts it (`"before_tag"`).

    `head` "lm_head" reads there the logits of `good` and `bad`: each one token, named by its exact text (leading
    space included) or by its id. "mlp" reads the final hidden state and runs the head in `head_file` (beside the
    model file) on it; `good` and `bad` are then rows of its output. `activation` "softmax" is P(good) of the two,
    "sigmoid" that of `good` alone (`bad` is None then), "sigmoid_mean" that of the mean of both. Before it the logit
    is calibrated to `scale` times it plus `offset`.

    `step_separator` cuts the text of a node into the steps that the model was trained on; None takes the steps as the
    policy ends them. `aggregation` is how scores of several steps make one, as the model was trained. `context_limit`
    is the longest path in tokens that it reads. `strip_steps` removes white space around each step, `newline` (None:
    unchanged) replaces line breaks within.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    head: Literal["lm_head", "mlp"] = "lm_head"
    head_file: Text | None = None
    prompt_template: str
    step_template: str
    first_step_template: str | None = None
    step_separator: Text | None = None
    tag: Text
    good: Text | Index
    bad: Text | Index | None = None
    read_at: Literal["tag", "before_tag"] = "tag"
    activation: Literal["softmax", "sigmoid", "sigmoid_mean"] = "softmax"
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    offset: float = Field(default=0.0, allow_inf_nan=False)
    aggregation: Literal["last", "min", "product", "mean"] = "last"
    context_limit: int = Field(gt=0)
    strip_steps: bool = False
    newline: str | None = None
    joined: Literal["nothing", "prompt", "all"] = "nothing"

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_placeholder("prompt_template", self.prompt_template, QUESTION)
        for name, template in (
            ("step_template", self.step_template),
            ("first_step_template", self.first_step_template),
        ):
            if template is not None:
                _check_placeholder(name, template, STEP)
                if self.tag not in template.split(STEP)[1]:
                    raise ValueError(f"{name} does not have the tag {self.tag!r} after {STEP}")
        if (self.bad is None) != (self.activation == "sigmoid"):
            raise ValueError("softmax and sigmoid_mean need both good and bad, sigmoid reads good alone")
        if self.good == self.bad:
            raise ValueError(f"good and bad are the same token {self.good!r}")
        self._check_head()
        return self

    def _check_head(self) -> None:
        if (self.head == "mlp") != (self.head_file is not None):
            raise ValueError("head_file is the file of an mlp head, and only such a head has one")
        if self.head == "mlp" and (isinstance(self.good, str) or isinstance(self.bad, str)):
            raise ValueError("with an mlp head, good and bad are rows of its output, such as 1 and 0")

    def normalise(self, step: str) -> str:
        """Return the step's text as the reward model reads it."""
        if self.strip_steps:
            step = step.strip()
        return step if self.newline is None else self.newline.join(step.splitlines())


def parse_spec(text: str | bytes) -> RewardSpec:
    """Return the spec that JSON `text` declares.

    Raises:
        RewardSpecError: naming each wrong field.
    """
    return _validated(lambda: RewardSpec.model_validate_json(text))


def parse_toml_spec(text: str) -> RewardSpec:
    """Return the spec that TOML `text` declares, its fields at the top level.

    Raises:
        RewardSpecError: if it is not TOML, or naming each wrong field.
    """
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RewardSpecError(f"the reward spec is not valid TOML ({error}); correct this place") from error
    return _validated(lambda: RewardSpec.model_validate(fields))


def spec_from_metadata(metadata: Mapping[str, object]) -> RewardSpec | None:
    """Return the spec that a model file carries in its metadata, None if it has none.

    Raises:
        RewardSpecError: if the file has one that is malformed.
    """
    value = metadata.get(METADATA_KEY)
    if value is None:
        return None
    return parse_spec(value if isinstance(value, str) else json.dumps(value))


def _validated(parse: Callable[[], RewardSpec]) -> RewardSpec:
    try:
        return parse()
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'spec'}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise RewardSpecError(f"the reward spec is not valid ({wrong}); correct these fields") from error


def _check_placeholder(name: str, template: str, placeholder: str) -> None:
    if template.count(placeholder) != 1:
        raise ValueError(f"{name} must have {placeholder} exactly once")
