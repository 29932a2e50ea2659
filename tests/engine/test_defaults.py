"""Defaults of models that were not trained for ramify: their sampling, and what a user gives in its stead."""

from __future__ import annotations

import pytest

from ramify import Engine, SamplingParams
from ramify.engine.loading import default_sampling
from ramify.engine.policy.defaults import intended_use, recommended_sampling
from ramify.engine.runtime.messages import StepRequest
from ramify.sampling_params import UNFILTERED, USUAL_SAMPLING, TokenSampling
from ramify.search.strategies.sampling import MajorityVote
from ramify.testing import ScriptedModel


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({}, TokenSampling(temperature=0.7, top_p=0.95)),
        ({"ramify.prompt_preset": "plain"}, UNFILTERED),
        ({"general.sampling.temp": 0.6000000238418579}, TokenSampling(temperature=0.6)),
        ({"general.sampling.top_k": 20, "general.sampling.top_p": 0.8}, TokenSampling(top_k=20, top_p=0.8)),
        ({"general.sampling.min_p": 0.05}, TokenSampling(min_p=0.05)),
        (
            {"general.sampling.temp": -1.0, "general.sampling.top_p": "x", "general.sampling.min_p": True},
            USUAL_SAMPLING,
        ),
        ({"general.sampling.temp": float("nan"), "general.sampling.top_k": -3}, USUAL_SAMPLING),
    ],
)
def test_a_model_is_sampled_as_its_file_recommends(metadata: dict[str, object], expected: TokenSampling) -> None:
    assert recommended_sampling(metadata) == expected


def test_what_a_user_gives_wins_field_by_field() -> None:
    default = TokenSampling(temperature=0.6, top_k=20, top_p=0.8)
    assert SamplingParams(temperature=1.0, top_k=0).resolved(default) == TokenSampling(temperature=1.0, top_p=0.8)
    assert SamplingParams().resolved(default) == default
    assert str(default) == "temperature 0.6, top-k 20, top-p 0.8"


def test_models_by_name_and_address() -> None:
    assert default_sampling("demo-m") == UNFILTERED
    assert default_sampling("openai:http://localhost:1/v1#some") == USUAL_SAMPLING
    assert default_sampling(ScriptedModel({})) == UNFILTERED


class Recommending(ScriptedModel):
    """A scripted policy with a sampling of its own."""

    sampling = TokenSampling(temperature=0.4, top_k=7)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, TokenSampling(temperature=0.4, top_k=7)),
        (SamplingParams(top_p=0.5), TokenSampling(temperature=0.4, top_k=7, top_p=0.5)),
    ],
)
async def test_the_steps_of_a_run_are_drawn_with_it(
    given: SamplingParams | None, expected: TokenSampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[TokenSampling]()
    built = StepRequest.__init__

    def note(self: StepRequest, *positional: object, **fields: object) -> None:
        built(self, *positional, **fields)  # pyright: ignore[reportArgumentType]
        asked.append(self.sampling)

    monkeypatch.setattr(StepRequest, "__init__", note)
    async with Engine(model=Recommending(lambda question, path: "The answer is 1."), reward=None) as engine:
        await engine.solve("q", strategy=MajorityVote(width=2), sampling=given)
    assert set(asked) == {expected}


@pytest.mark.parametrize(
    ("metadata", "template", "expected"),
    [
        ({}, None, ("gsm8k", "base template", "line", "another question", USUAL_SAMPLING)),
        ({}, "x", ("math", "chat template", "blank-line", "the model's own end", USUAL_SAMPLING)),
        (
            {"ramify.prompt_preset": "plain", "ramify.step_format": "line"},
            "x",
            ("plain", "chat template", "line", "the first answer, or the model's own end", UNFILTERED),
        ),
    ],
)
def test_what_is_used_of_a_model(
    metadata: dict[str, object], template: str | None, expected: tuple[str, str, str, str, TokenSampling]
) -> None:
    use = intended_use(metadata, template)
    assert (use.preset, use.prompt, use.step_format, use.sampling) == (*expected[:3], expected[4])
    assert use.path_end.endswith(expected[3])
