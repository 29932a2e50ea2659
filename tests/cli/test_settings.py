"""Settings are declared once: what reads the declarations, and what the one parser makes of texts."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any

import click
import pytest

from ramify.cli.config import known_settings
from ramify.cli.options import SearchPlan, search_options
from ramify.config import SEARCH_SETTINGS, SETTINGS, EngineConfig, RunConfig
from ramify.engine.engine import Engine
from ramify.engine.runtime.llama.config import ModelConfig
from ramify.errors import UsageError
from ramify.model_settings import ModelSettings
from ramify.sampling_params import SamplingParams
from ramify.search.budget import UNITS, Budget
from ramify.settings import COUNT, INTEGER, NUMBER, Setting, declared, identity_of, verify

HOLDERS = (EngineConfig, RunConfig, SamplingParams, Budget)


def given(**options: Any) -> dict[str, Any]:
    """Return the options that the command line makes of its defaults and of `options`."""

    @click.command()
    @search_options
    def command(**options: Any) -> None: ...

    words = [word for key, value in options.items() for word in (SETTINGS[key].flags[0], str(value))]
    return command.make_context("ramify", words).params


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_declaration_has_the_default_of_its_field_or_leaves_it_to_the_field(holder):
    defaults = {each.name: each.default for each in fields(holder)}
    for each in declared(holder):
        assert each.default in (defaults[each.attribute], None)
        assert defaults[each.attribute] is not MISSING
        assert each.help or not each.option


def test_every_field_of_a_configuration_is_declared_unless_it_is_no_plain_value():
    missing = {
        (holder.__name__, each.name)
        for holder in HOLDERS
        for each in fields(holder)
        if each.name not in {setting.attribute for setting in declared(holder)}
    }
    assert missing == {("RunConfig", "budget"), ("RunConfig", "sampling"), ("RunConfig", "cut")}


def test_each_setting_has_one_key_and_one_option():
    assert len({each.key for each in SEARCH_SETTINGS}) == len(SEARCH_SETTINGS)
    flags = [flag for each in SEARCH_SETTINGS for flag in each.flags]
    assert len(set(flags)) == len(flags)
    assert {*SETTINGS} <= {*known_settings()}
    assert {*given()} == {*SETTINGS, "strategy_extras"}


def test_the_settings_of_a_model_are_those_of_the_engine():
    config = EngineConfig(threads=3, kv_type="q8_0", gpu_layers=0, max_lanes=7, pools=2, tensor_split="1,2")
    model = ModelConfig.of(config, "x.gguf", threads=1)
    for each in fields(ModelSettings):
        assert getattr(model, each.name) == (1 if each.name == "threads" else getattr(config, each.name))
    assert (model.path, model.kv_types, model.gpu_shares) == ("x.gguf", ("q8_0", "q8_0"), (1.0, 2.0))


def test_a_run_takes_the_settings_of_its_configuration_with_the_same_defaults():
    parameters = inspect.signature(Engine.run).parameters
    for each in fields(RunConfig):
        assert each.name in parameters
        if each.default is not MISSING:
            assert parameters[each.name].default == each.default


def test_the_default_options_are_the_default_configurations():
    plan = SearchPlan.from_options(given())
    assert EngineConfig(**plan.engine_options) == EngineConfig()
    assert RunConfig(**plan.run_options) == RunConfig()


def test_each_option_reaches_its_configuration(tmp_path):
    numbers = {"threads": 3, "pools": 2, "context_tokens": 512, "gpu_layers": 4, "main_gpu": 1, "workers": 2}
    words = {"kv_type": "q8_0", "isolation": "thread", "flash_attention": "on", "step_format": "line"}
    plan = SearchPlan.from_options(given(**numbers, **words))
    assert EngineConfig(**plan.engine_options) == EngineConfig(**numbers, **words)
    limits = {"generated_tokens": 10, "total_tokens": 20, "flops": 1e9, "seconds": 5.0, "nodes": 7, "joules": 9.0}
    prices = tmp_path / "prices.toml"
    prices.write_text("machine_hour = 1\n", "utf-8")
    limits["cost"] = 0.5
    drawing = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.1}
    lengths = {"seed": 4, "max_step_tokens": 5, "max_path_tokens": 6}
    plan = SearchPlan.from_options(
        given(
            **{f"max_{name}": value for name, value in limits.items()},
            **drawing,
            **lengths,
            prices=str(prices),
            watts=9.0,
        )
    )
    expected = RunConfig(budget=Budget(**limits), sampling=SamplingParams(**drawing), **lengths)
    assert RunConfig(**plan.run_options) == expected
    assert [*UNITS] == [*limits]


@pytest.mark.parametrize("key", [key for key, each in SETTINGS.items() if each.low is not None])
def test_texts_out_of_range_are_refused(key):
    setting = SETTINGS[key]
    assert setting.low is not None
    wrong = [setting.low - 1, *([] if setting.high is None else [setting.high + 1])]
    wrong += [setting.low] if setting.low_excluded else []
    for number in wrong:
        with pytest.raises(UsageError):
            setting.parse(f"{number}")
    assert setting.parse(f"{setting.high or setting.low + 1}") == (setting.high or setting.low + 1)


def test_values_that_a_program_gives_are_checked_by_the_same_declaration():
    setting = Setting(key="lanes", kind=INTEGER, low=1, high=9)
    with pytest.raises(UsageError, match=r"^lanes is 12; use a number from 1 to 9$"):
        setting.verify(12)
    with pytest.raises(UsageError, match=r"^12 is not in the range; use a number from 1 to 9$"):
        setting.parse("12")
    with pytest.raises(UsageError, match=r"^place is 'x'; use here or there$"):
        Setting(key="place", choices=("here", "there")).verify("x")
    setting.verify(None)
    verify(RunConfig())


@pytest.mark.parametrize(
    ("kind", "text"), [(INTEGER, "1.5"), (NUMBER, "nan"), (NUMBER, "x"), (COUNT, "0"), (COUNT, "")]
)
def test_texts_of_another_kind_are_refused(kind, text):
    with pytest.raises(UsageError):
        Setting(key="x", kind=kind).parse(text)


def test_a_younger_setting_counts_for_the_identity_of_an_item_when_it_is_changed():
    plain = identity_of(EngineConfig())
    assert plain == {"reward_spec": None, "prompt_preset": None, "step_format": None}
    assert identity_of(EngineConfig(kv_type="q8_0")) == plain | {"kv_type": "q8_0"}
    assert identity_of(EngineConfig(threads=3, workers=2, pools=1, profile="x")) == plain
