"""Specifications of reward formats: read at a tag, written by a verifier, or a ratio of two models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ramify.errors import RewardSpecError

QUESTION = "{question}"
STEP = "{step}"

Text = Annotated[str, Field(min_length=1)]
Index = Annotated[int, Field(ge=0)]


class _Spec(BaseModel):
    """Base of the kinds of specs: no fields but the known ones, none of which changes, and errors of ramify."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    if not TYPE_CHECKING:

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise invalid_spec(error) from error


def invalid_spec(error: ValidationError) -> RewardSpecError:
    """Return the error that names each wrong field of a spec."""
    wrong = list[str]()
    for item in error.errors(include_url=False):
        inner = item.get("ctx", {}).get("error")
        if isinstance(inner, RewardSpecError):
            # Validation of a file's text calls the constructor, which has named the fields already.
            return inner
        wrong.append(f"{'.'.join(map(str, item['loc'])) or 'spec'}: {item['msg']}")
    return RewardSpecError(f"the reward spec is not valid ({'; '.join(wrong)}); correct these fields")


class RewardSpec(_Spec):
    """Format in which a reward model reads a question and its steps, and the reading of a score from it.

    The model reads `prompt_template`, then `step_template` once a step; `first_step_template` replaces it for the
    first step (None: no difference). `inner_step_template`, for models that judge whole answers, replaces both for
    all steps but the last, so that only one score stands in a path (None: each step has its own).

    Templates are plain text with one placeholder; braces mean nothing else. Their special tokens are recognised,
    those in questions and steps never are. BOS, where a model expects it, is written out in `prompt_template`.
    `joined` names the parts that are tokenised as one text: "nothing" (each piece of a template and each step by
    itself), "prompt" (the prompt as one, the pieces of steps by themselves) or "all" (everything between two special
    tokens). Vocabularies that put a space before a text are always read as "all".

    The last `tag` of `step_template`, one token of the vocabulary, marks the step's score: at the tag itself
    (`read_at="tag"`), or at the token before, which predicts it (`"before_tag"`).

    `head` "lm_head" reads there the logits of `good` and `bad`: each one token, named by its exact text (leading
    space included) or by its id. "mlp" reads the final hidden state and runs the head in `head_file` (beside the
    model file) on it; `good` and `bad` are then rows of its output. "rank" reads the file's own classifier (RANK
    pooling of llama.cpp), of whose labels `good` and `bad` are two; it gives one score a path.

    `activation` "softmax" is P(good) of the two, "sigmoid" that of `good` alone (`bad` is None then), "sigmoid_mean"
    that of the mean of both; "identity" takes `good` alone as it is. Before it the logit is calibrated to `scale`
    times it plus `offset`.

    `step_separator` cuts the text of a node into the steps that the model was trained on; None takes the steps as the
    policy ends them. `aggregation` makes one score of those of several steps, as the model was trained. `context_limit`
    is the longest path in tokens that it reads. `strip_steps` removes white space around each step, `newline` (None:
    unchanged) replaces line breaks within.
    """

    name: Text
    head: Literal["lm_head", "mlp", "rank"] = "lm_head"
    head_file: Text | None = None
    prompt_template: str
    step_template: str
    first_step_template: str | None = None
    inner_step_template: str | None = None
    step_separator: Text | None = None
    tag: Text
    good: Text | Index
    bad: Text | Index | None = None
    read_at: Literal["tag", "before_tag"] = "tag"
    activation: Literal["softmax", "sigmoid", "sigmoid_mean", "identity"] = "softmax"
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
        if self.inner_step_template is not None:
            _check_placeholder("inner_step_template", self.inner_step_template, STEP)
        if (self.bad is None) != (self.activation in ("sigmoid", "identity")):
            raise ValueError("softmax needs both good and bad (so does sigmoid_mean), sigmoid reads good alone")
        if self.good == self.bad:
            raise ValueError(f"good and bad are the same token {self.good!r}")
        self._check_head()
        return self

    def _check_head(self) -> None:
        if (self.head == "mlp") != (self.head_file is not None):
            raise ValueError("head_file is the file of an mlp head, and only such a head has one")
        if self.head != "lm_head" and (isinstance(self.good, str) or isinstance(self.bad, str)):
            raise ValueError(f"with the head {self.head}, good and bad are rows of its output, such as 1 and 0")
        if self.head == "rank" and (self.inner_step_template is None or self.read_at != "tag"):
            raise ValueError("the head rank reads at the end of a path, and needs an inner_step_template for that")

    def normalise(self, step: str) -> str:
        """Return the step's text as the reward model reads it."""
        if self.strip_steps:
            step = step.strip()
        return step if self.newline is None else self.newline.join(step.splitlines())


def _check_placeholder(name: str, template: str, placeholder: str) -> None:
    if template.count(placeholder) != 1:
        raise ValueError(f"{name} must have {placeholder} exactly once")


SOLUTION = "{solution}"
NUMBER = "{number}"


class VerifierSpec(_Spec):
    """Prompt of a generative verifier, and the place of its verdict.

    The chat model gets `instruction`, with the question and the steps so far, as the user's message; its reply is
    begun with `opening`. Each step is written as `step_label`, with its number, and its text without a label of its
    own, one step a line. A chain of verification ends at the first of `stops`, at the label of a step that is not
    there, or after `max_tokens`; the score is P(`yes`) against P(`no`) (one token each) after `decision`, at
    `decision_temperature`, averaged over `chains` chains sampled at `temperature`.
    """

    name: Text
    head: Literal["generative"] = "generative"
    instruction: str
    opening: str = ""
    step_label: str = f"Step {NUMBER}: "
    decision: Text
    yes: Text
    no: Text
    stops: tuple[Text, ...] = ()
    chains: int = Field(default=1, ge=1, le=64)
    temperature: float = Field(default=0.7, ge=0, allow_inf_nan=False)
    decision_temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_tokens: int = Field(default=2048, ge=1)
    context_limit: int = Field(gt=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        for placeholder in (QUESTION, SOLUTION):
            if self.instruction.count(placeholder) != 1:
                raise ValueError(f"instruction must have {placeholder} exactly once")
        if self.yes == self.no:
            raise ValueError(f"yes and no are the same token {self.yes!r}")
        return self


class ImplicitSpec(_Spec):
    """A reward that two language models hold between them, as `beta` times the logarithm of their ratio.

    The score is the sigmoid of the sum over the generated tokens. `reference` names the second model as `--model`
    does. `preset` is the prompt preset of both, None for those of their files.
    """

    name: Text
    head: Literal["implicit"]
    reference: Text
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    preset: str | None = None
