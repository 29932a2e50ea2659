"""Declarations of rewards that are not read at a tag: verifiers that write, and ratios of two models."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .spec import QUESTION, Text

SOLUTION = "{solution}"
NUMBER = "{number}"


class VerifierSpec(BaseModel):
    """How a generative verifier is asked, and where its verdict stands.

    The chat model gets `instruction`, with the question and the steps so far, as the user's message; its reply is
    begun with `opening`. Each step is written as `step_label`, with its number, and its text without a label of its
    own, one step a line. A chain of verification ends at the first of `stops`, at the label of a step that is not
    there, or after `max_tokens`; the score is P(`yes`) against P(`no`) (one token each) after `decision`, at
    `decision_temperature`, averaged over `chains` chains sampled at `temperature`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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


class ImplicitSpec(BaseModel):
    """A reward that two language models hold between them, as `beta` times the logarithm of their ratio.

    The score is the sigmoid of the sum over the generated tokens. `reference` names the second model as `--model`
    does. `preset` is how both are asked, None for what their files say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    head: Literal["implicit"]
    reference: Text
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    preset: str | None = None
