"""Defaults of models that were not trained for ramify: sampling and width, and what a user gives in their stead."""

from __future__ import annotations

from typing import Any

import pytest

from ramify import Engine, Rebase, SamplingParams
from ramify.engine.loading import default_sampling
from ramify.engine.policy.defaults import intended_use, recommended_sampling, suitable_width
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


@pytest.mark.parametrize(
    ("parameters", "threads", "width"),
    [(1_030_000, 1, 16), (135_000_000, 2, 16), (494_000_000, 2, 8), (1_540_000_000, 2, 4), (7_000_000_000, 2, 4),
     (7_000_000_000, 32, 8), (494_000_000, 16, 16)],
)  # fmt: skip
def test_large_models_get_fewer_paths_on_few_processors(parameters: int, threads: int, width: int) -> None:
    assert suitable_width(parameters, threads) == width


async def test_a_width_that_suits_the_model_takes_the_place_of_the_default_alone() -> None:
    class Large(ScriptedModel):
        width = 4

    async def width_of(**options: Any) -> Any:
        async with Engine(
            model=Large(lambda question, path: "The answer is 4."), reward=lambda q, steps: 0.5
        ) as engine:
            return (await engine.solve("q", **options)).strategy["width"]

    assert await width_of() == await width_of(strategy="beam") == 4
    assert await width_of(strategy=Rebase(width=16)) == 16 and await width_of(strategy="widening") == 64
