"""Objects of a wrong kind where a user passes things in: one sentence each, and the engine lives on."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import ramify
from ramify import Engine, Problem, SamplingParams
from ramify.engine.policy.prompts.prompt_files import PRESETS
from ramify.errors import ArgumentError
from ramify.testing import ScriptedModel

MESSAGES = [{"role": "user", "content": "How many?"}]


def model() -> ScriptedModel:
    return ScriptedModel(lambda question, path: "The answer is 7.")


@pytest.mark.parametrize("problem", [MESSAGES, MESSAGES[0], None, 3, b"How many?", Problem])
async def test_a_problem_is_a_text_or_a_problem(problem: Any):
    async with Engine(model(), None) as engine:
        with pytest.raises(ArgumentError, match=r"the problem is (the class|an object of type)"):
            await engine.solve(problem)
        with pytest.raises(ArgumentError, match=r"the problem is (the class|an object of type)"):
            [each async for each in engine.solve_many([problem])]
        assert (await engine.solve("How many?")).answer == "7"


@pytest.mark.parametrize("fields", [{"question": None}, {"question": ["x"]}, {"question": "x", "answer": 7}])
def test_the_texts_of_a_problem_are_texts(fields: dict[str, Any]):
    with pytest.raises(ArgumentError, match=r"is an object of type .*; pass its text"):
        Problem(id="a", **fields)


@pytest.mark.parametrize("problems", ["How many?", b"x", Problem("a", "How many?"), {"question": "x"}, None, 3])
async def test_one_problem_is_not_many(problems: Any):
    async with Engine(model(), None) as engine:
        with pytest.raises(ArgumentError, match=r"`problems` is an object of type .*; use solve for one of them"):
            engine.solve_many(problems)
        assert (await engine.solve("How many?")).answer == "7"


async def test_a_source_of_problems_that_fails_is_told_to_its_reader():
    def source() -> Iterator[str]:
        yield "How many?"
        raise OSError("the file is gone")

    async with Engine(model(), None) as engine:
        with pytest.raises(OSError, match="the file is gone"):
            [each async for each in engine.solve_many(source())]
        assert (await engine.solve("How many?")).answer == "7"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 100}, "the budget is an object of type int; pass a Budget such as"),
        ({"budget": {"seconds": 3}}, "the budget is an object of type dict"),
        ({"sampling": {"temperature": 0}}, "the sampling is an object of type dict"),
        ({"sampling": SamplingParams(top_k="3")}, "top_k is an object of type str; pass a number"),  # pyright: ignore
        ({"strategy": 3}, "the strategy is an object of type int"),
        ({"strategy": ramify.Rebase}, "the strategy is the class Rebase; pass a name or a Strategy such as"),
        ({"seed": "x"}, "seed is an object of type str; pass a number"),
        ({"max_step_tokens": "5"}, "max_step_tokens is an object of type str; pass a number"),
        ({"stop": 3}, "the stop rule is an object of type int"),
        ({"cut": "late"}, "the path rule is an object of type str"),
        ({"tree": {}}, "the tree is an object of type dict"),
    ],
)
async def test_options_of_a_run_have_their_kinds(options: dict[str, Any], message: str):
    async with Engine(model(), None) as engine:
        with pytest.raises(ArgumentError, match=message):
            await engine.solve("How many?", **options)
        assert (await engine.solve("How many?")).answer == "7"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, "the model is an object of type NoneType; pass a name"),
        ({"model": 3}, "the model is an object of type int"),
        ({"model": SimpleNamespace()}, "the model is an object of type SimpleNamespace"),
        ({"model": ScriptedModel}, "the model is the class ScriptedModel"),
        ({"config": {"threads": 2}}, "config is an object of type dict; pass an EngineConfig"),
        ({"threads": "2"}, "threads is an object of type str; pass a number"),
        ({"prompt_preset": PRESETS["math"]}, "prompt_preset is an object of type PromptPreset; pass a text"),
        ({"step_format": 3}, "step_format is an object of type int; pass a text"),
        ({"reward_spec": object()}, "reward_spec is an object of type object; pass a text"),
    ],
)
async def test_settings_of_an_engine_have_their_kinds(options: dict[str, Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        async with Engine(**{"model": model(), "reward": None, **options}):
            pass
