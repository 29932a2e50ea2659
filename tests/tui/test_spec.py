"""Specifications of runs: budgets as text, the command line and the Python program that do the same, saved options."""

from __future__ import annotations

import io
import shlex
from pathlib import Path

import click
import pytest

from ramify.cli import main
from ramify.cli.options import SearchPlan, search_options
from ramify.config import SETTINGS, EngineConfig, RunConfig
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.sampling_params import SamplingParams
from ramify.settings import FLAG, NUMBER, TEXT, Setting
from ramify.tui.state.spec import DEFAULTS, RunSpec, budget_name, parse_budget, python_code, short_model


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("deep", {"max_generated_tokens": 32768, "max_seconds": 600.0}),
        ("4k", {"max_generated_tokens": 4000}),
        ("20ktokens, 30sec", {"max_generated_tokens": 20000, "max_seconds": 30.0}),
        ("1T flops; 2 min", {"max_flops": 1e12, "max_seconds": 120.0}),
        ("50 steps", {"max_nodes": 50}),
        ("4k tokens, 500ms", {"max_generated_tokens": 4000, "max_seconds": 0.5}),
        ("2m", {"max_generated_tokens": 2_000_000}),
        ("1 kWh", {"max_joules": 3.6e6}),
        ("2 MJ", {"max_joules": 2e6}),
    ],
)
def test_budgets_are_read_from_text(text, limits):
    assert {name: value for name, value in parse_budget(text).items() if value is not None} == limits


@pytest.mark.parametrize("text", ["", "lots", "0 tokens", "-5", "5 parsecs", "nan", "3 msec", "500mJ"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UsageError, match="is no budget"):
        parse_budget(text)


@pytest.mark.parametrize("text", ["fast", "balanced", "deep", "4000 tokens, 30 s", "50 nodes"])
def test_a_budget_reads_as_it_was_written(text):
    assert budget_name(RunSpec().with_options(**parse_budget(text))) == text


def test_the_command_line_says_what_differs_from_the_defaults():
    spec = RunSpec("what's 1+1?").with_options(strategy="beam", width=8, seed=3, strategy_extras={"children": 2})
    assert spec.command_line() == ("ramify solve --strategy beam --width 8 --seed 3 -o children=2 'what'\"'\"'s 1+1?'")


def test_the_command_line_is_understood_by_the_command(monkeypatch):
    seen = list[object]()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("ramify.cli.solve._search", lambda *given: seen.extend(given) or (None, True))
    extras = {"merge_duplicates": True, "depth_widths": (8, 4)}
    asked = RunSpec("1+1?").with_options(width=8, strategy="rebase", max_seconds=30.0, strategy_extras=extras)
    assert main(shlex.split(asked.command_line())[1:]) == 130
    assert seen[0] == SearchPlan.from_options(asked.complete())
    assert "1+1?" in [each.question for each in seen if isinstance(each, Problem)]


@pytest.mark.parametrize("question", ["-5 + 3 = ?", "--help", "What is -5 + 3?"])
def test_the_command_line_turns_switches_off_and_takes_any_question(monkeypatch, question):
    seen = list[object]()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("ramify.cli.solve._search", lambda *given: seen.extend(given) or (None, True))
    switch = next(key for key, setting in SETTINGS.items() if setting.kind is FLAG and setting.default)
    asked = RunSpec(question).with_options(width=8, **{switch: False})
    assert f"--no-{switch.replace('_', '-')}" in asked.command_line()
    assert main(shlex.split(asked.command_line())[1:]) == 130
    assert seen[0] == SearchPlan.from_options(asked.complete())
    assert question in [each.question for each in seen if isinstance(each, Problem)]


def test_the_options_and_defaults_are_those_of_the_command_line():
    @search_options
    def command() -> None: ...

    options = {each.name: each for each in command.__click_params__}
    assert set(options) == set(DEFAULTS)
    context = click.Context(click.Command("ramify"))
    given = {name: each.get_default(context) for name, each in options.items() if not each.multiple}
    plain = {name: value if isinstance(value, str | int | float) else None for name, value in given.items()}
    assert plain == {name: value for name, value in DEFAULTS.items() if name in plain}


def code_of(asked: RunSpec, *, has_reward: bool = True, width: int | None = None) -> str:
    plan = SearchPlan.from_options(asked.complete())
    return python_code(asked, plan, plan.strategy(has_reward=has_reward, width=width))


def test_the_python_code_runs_and_says_the_same():
    asked = RunSpec("1+1?").with_options(strategy="beam", width=8, temperature=0.5, **parse_budget("4k, 30 s"))
    code = code_of(asked)
    compile(code, "code", "exec")
    assert "strategy=ramify.BeamSearch(width=8)" in code
    assert "budget=ramify.Budget(generated_tokens=4000, seconds=30.0)" in code
    assert "sampling=ramify.SamplingParams(temperature=0.5)" in code


class Recorder:
    """In place of an engine; keeps what it was made and asked with."""

    def __init__(self, **settings: object) -> None:
        self.settings = settings

    async def __aenter__(self) -> Recorder:
        return self

    async def __aexit__(self, *error: object) -> None: ...

    async def solve(self, question: str, **options: object) -> Recorder:
        seen[:] = [self.settings, options]
        self.answer = question
        return self


seen = list[dict[str, object]]()
VALUES = {
    "answer": "number",
    "calculator": True,
    "stop": "lead",
    "strategy": "rebase",
    "width": 16,
    "isolation": "thread",
    "system_prompt": "",
    "prompt_preset": "gsm8k",
    "step_format": "lines",
    "reward": "self-certainty",
    "answer_schema": '{"type": "integer"}',
    "prices": "prices.toml",
}
COMPANIONS: dict[str, dict[str, object]] = {
    "tree_temperature": {"strategy": "rebase"},
    "remember": {"store": "searches"},
    "max_joules": {"watts": 65.0},
    "max_cost": {"prices": "prices.toml"},
}
"""Settings that others need."""
NOT_IN_CODE = {"profile"}
"""Its strategy is in the code."""


def value_for(setting: Setting) -> object:
    if setting.key in VALUES:
        return VALUES[setting.key]
    if setting.choices:
        return next(each for each in setting.choices if each != setting.default)
    if setting.kind is FLAG:
        return not setting.default
    if setting.kind is TEXT:
        return "given"
    low = setting.low or 0
    return (0.5 if setting.high is not None and setting.high <= 1 else low + 3.0) if setting.kind is NUMBER else low + 3


@pytest.mark.parametrize("key", [key for key in SETTINGS if key not in NOT_IN_CODE])
def test_every_setting_is_in_the_python_code(key, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("prices.toml").write_text("machine_hour = 1.0\n")
    options = {key: value_for(SETTINGS[key]), **COMPANIONS.get(key, {})}
    asked = RunSpec("1+1?").with_options(**options)
    plan = SearchPlan.from_options(asked.complete())
    monkeypatch.setattr("ramify.Engine", Recorder)
    exec(compile(code_of(asked), "code", "exec"), {})
    made, run = seen
    strategy = plan.strategy(has_reward=True)
    assert EngineConfig(**{name: value for name, value in made.items() if name not in ("model", "reward")}) == (
        EngineConfig(**plan.engine_options)
    )
    assert (made["model"], made["reward"], run["strategy"]) == (plan.model, plan.reward, strategy)
    sampling = run.pop("sampling", SamplingParams())
    assert sampling == plan.run_options["sampling"]
    given = {name: value for name, value in run.items() if name not in ("strategy", "stop")}
    wanted = {name: value for name, value in plan.run_options.items() if name not in ("sampling", "stop")}
    assert RunConfig(**given) == RunConfig(**wanted)
    assert run.get("stop") == asked.options.get("stop")


def test_the_python_code_has_the_width_that_was_set_and_that_which_the_engine_chose():
    assert "Rebase(width=16)" in code_of(RunSpec("q", {"width": 16}))
    assert "Rebase(width=4)" in code_of(RunSpec("q"), width=4)
    assert "MajorityVote(width=8)" in code_of(RunSpec("q", {"width": 8, "reward": "none"}), has_reward=False)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("demo-m", "demo-m"),
        ("/some where/qwen2.5-coder-0.5b.gguf", "qwen2.5-coder-0.5b"),
        ("models/head:x.gguf", "head:x"),
        ("mean-logprob:/a/b/judge.gguf", "mean-logprob:judge"),
        ("0.7*mean-logprob:/a/x.gguf + 0.3*arithmetic", "0.7*mean-logprob:x + 0.3*arithmetic"),
        ("openai:http://127.0.0.1:8000/v1#qwen", "qwen"),
        ("hf:owner/repo/FILE.gguf", "hf:FILE"),
        ("default", "default"),
    ],
)
def test_models_are_shown_without_their_folders(name, short):
    assert short_model(name) == short


def test_a_width_is_left_out_where_the_strategy_has_none():
    assert RunSpec("q").with_options(strategy="greedy", width=8).complete()["width"] is None
    assert RunSpec("q").with_options(width=8).complete()["width"] == 8


def test_saved_options_come_back():
    asked = RunSpec("q").with_options(strategy="mcts", width=8, stop="lead", temperature=0.7)
    assert RunSpec.from_saved("q", asked.saved()) == asked
    assert RunSpec.from_saved("q", {**asked.saved(), "of_the_future": 1}) == asked


def test_a_switch_is_given_alone_in_both_languages():
    asked = RunSpec("1+1?", {"calculator": True, "strategy": "greedy"})
    assert asked.command_line() == "ramify solve --calculator --strategy greedy '1+1?'"
    assert "calculator=True," in code_of(asked, has_reward=False)
    plain = RunSpec("1+1?", {"strategy": "greedy"})
    assert "calculator" not in code_of(plain, has_reward=False)


@pytest.mark.parametrize("text", ["500ms", "3s", "1h", "2min", "1kJ", "5 Wh"])
def test_a_time_or_an_energy_is_that_of_the_command_line(text):
    key = "max_joules" if text.lower().endswith(("j", "wh")) else "max_seconds"
    assert parse_budget(text)[key] == SETTINGS[key].parse(text)


def test_the_command_line_holds_for_a_user_with_settings():
    spec = RunSpec("q").with_options(max_generated_tokens=4000)
    assert spec.command_line() == "ramify solve --max-generated-tokens 4000 q"
    told = spec.command_line(dict.fromkeys(("model", "seed", "calculator"), "mine.toml:1"))
    assert told == "ramify solve --max-generated-tokens 4000 --model demo-m --seed 0 --no-calculator q"
    assert spec.command_line({"max_seconds": "mine.toml:2"}).startswith("RAMIFY_CONFIG=/dev/null ramify solve")
    by_both = {"max_seconds": "env RAMIFY_MAX_SECONDS", "width": "mine.toml:3"}
    assert spec.command_line(by_both).startswith("env -u RAMIFY_MAX_SECONDS RAMIFY_CONFIG=/dev/null ramify solve")
    assert spec.command_line({"max_generated_tokens": "mine.toml:1"}) == spec.command_line()


def test_a_tree_temperature_is_left_out_where_the_strategy_has_none():
    asked = RunSpec("q").with_options(strategy="mcts", tree_temperature=0.2)
    plan = SearchPlan.from_options(asked.complete())
    assert plan.strategy(has_reward=True).name == "mcts"
    SearchPlan.from_options(RunSpec("q").with_options(strategy="auto", tree_temperature=0.2).complete())
    assert "defaulted" not in asked.saved()
