"""The declaration of a reward model's format: what it reads, where its score stands and what the score means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import RewardSpecError

METADATA_KEY = "ramify.reward.spec"
"""GGUF metadata key under which a model file carries its own spec as JSON."""

QUESTION = "{question}"
STEP = "{step}"


class RewardSpec(BaseModel):
    """How a reward model reads a question and its steps, and how a score is read from it.

    The model reads `prompt_template`, then `step_template` once a step; `first_step_template` replaces it for the
    first step (None: no difference). Templates are plain text with one placeholder; braces mean nothing else. Their
    special tokens are recognised, those in questions and steps never are. BOS, where a model expects it, is written
    out in `prompt_template`.

    `tag`, `good` and `bad` are each one token of the vocabulary, named by its exact text (leading space included).
    The last `tag` of `step_template` marks the step's score: at the tag itself (`read_at="tag"`), or at the token
    before, which predicts it (`"before_tag"`). There the score is P(good) under a softmax over `good` and `bad`, or
    with `activation="sigmoid"` the sigmoid of `good`'s logit alone (`bad` is None then).

    `aggregation` is how scores of several steps make one, as the model was trained. `context_limit` is the longest
    path in tokens that it reads. `strip_steps` removes white space around each step, `newline` (None: unchanged)
    replaces line breaks within. `head` names the kind of reward model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    head: Literal["lm_head"] = "lm_head"
    prompt_template: str
    step_template: str
    first_step_template: str | None = None
    tag: str = Field(min_length=1)
    good: str = Field(min_length=1)
    bad: str | None = None
    read_at: Literal["tag", "before_tag"] = "tag"
    activation: Literal["softmax", "sigmoid"] = "softmax"
    aggregation: Literal["last", "min", "product", "mean"] = "last"
    context_limit: int = Field(gt=0)
    strip_steps: bool = False
    newline: str | None = None

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
            raise ValueError("softmax needs both good and bad, sigmoid reads good alone")
        if self.good == self.bad:
            raise ValueError(f"good and bad are the same token {self.good!r}")
        return self

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
    try:
        return RewardSpec.model_validate_json(text)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'spec'}: {item['msg']}" for item in error.errors(include_url=False)
        )
        raise RewardSpecError(f"the reward spec is not valid ({wrong}); correct these fields") from error


def spec_from_metadata(metadata: Mapping[str, object]) -> RewardSpec | None:
    """Return the spec that a model file carries in its metadata, None if it has none.

    Raises:
        RewardSpecError: if the file has one that is malformed.
    """
    value = metadata.get(METADATA_KEY)
    if value is None:
        return None
    return parse_spec(value if isinstance(value, str) else json.dumps(value))


def _check_placeholder(name: str, template: str, placeholder: str) -> None:
    if template.count(placeholder) != 1:
        raise ValueError(f"{name} must have {placeholder} exactly once")
