"""Specification of a run: the question, and options by the names that the command line and saved runs use."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Protocol, cast

from ramify.config import SETTINGS, STRATEGY_KEYS, EngineConfig, RunConfig
from ramify.errors import UsageError
from ramify.files import CONFIG_VARIABLE
from ramify.sampling_params import SamplingParams
from ramify.search.budget import Budget
from ramify.settings import TEXT_OR_FILE, Setting, declared
from ramify.text import ENERGIES, SCALES, TIMES, is_millijoules, split_quantity

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ramify.conversation import Conversation
    from ramify.problem import Problem
    from ramify.search.strategy import Strategy
    from ramify.solution import Solution

NOTHING_GIVEN: Mapping[str, str] = {}
NOTHING, AS_BEFORE = "none", "as before"
"""In the place of the name of a file: none, and the texts of the saved run."""
DEFAULTS: Mapping[str, Any] = {
    **{key: setting.default for key, setting in SETTINGS.items()},
    "strategy_extras": {},
}
"""Every option with its default, None where the library decides."""
LIMITS = tuple(each.key for each in declared(Budget))
_RUN = tuple(each.attribute for each in declared(RunConfig) if each.key not in ("seed", "stop"))
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {"max_generated_tokens": 2048, "max_seconds": 20.0},
    "balanced": {"max_generated_tokens": 8192, "max_seconds": 120.0},
    "deep": {"max_generated_tokens": 32768, "max_seconds": 600.0},
}
"""Budgets by name."""


class Plan(Protocol):
    """Checked settings of a run, made from options without a model; the command line's SearchPlan is one."""

    @property
    def model(self) -> str:
        """The policy's name or path."""
        ...

    @property
    def reward(self) -> str | None:
        """The reward model's name or path, None for none, "default" for the one that goes with the policy."""
        ...

    @property
    def engine_options(self) -> dict[str, Any]:
        """Settings of the engine."""
        ...

    @property
    def run_options(self) -> dict[str, Any]:
        """Settings of the run."""
        ...

    def strategy(self, *, has_reward: bool, width: int | None = None, temperature: float | None = None) -> Strategy:
        """Return the strategy."""
        ...


@dataclass(frozen=True, slots=True)
class RunSpec:
    """A question and the options that are not at their defaults; `gold` is the right answer if it is known.

    `messages` and `examples` are names of files, as the command line takes them, "" for none. `conversation` is that of
    a saved run whose last turn the question takes the place of, None for none; files come before it.
    """

    question: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    gold: str | None = None
    messages: str = ""
    examples: str = ""
    conversation: Conversation | None = None

    @property
    def asks(self) -> bool:
        """True if there is a question, or a file that may hold one."""
        return bool(self.question.strip() or self.messages)

    def problem(self) -> Problem:
        """Return the problem, with the messages and examples before the question.

        Raises:
            UsageError: if a file cannot be read, holds something else, or its messages do not end with the user's.
        """
        from ramify.conversation import Message, examples_from_file, messages_from_file
        from ramify.problem import Problem

        kept, question = self.conversation, self.question
        examples = examples_from_file(self.examples) if self.examples else () if kept is None else kept.examples
        if self.messages:
            asked = [Message("user", question)] if question.strip() else []
            return Problem(messages=[*messages_from_file(self.messages), *asked], examples=examples)
        system, before = (None, ()) if kept is None else (kept.system, kept.turns[:-1])
        if not before:
            return Problem(question=question, system=system, examples=examples)
        return Problem(messages=[*before, Message("user", question)], system=system, examples=examples)

    def with_told(self, messages: str, examples: str) -> RunSpec:
        """Return a spec with other files; each is the name of one, NOTHING, or AS_BEFORE for that of the saved run."""
        kept = self.conversation
        if kept is not None:
            if messages != AS_BEFORE:
                kept = replace(kept, turns=kept.turns[-1:], system=None)
            if examples != AS_BEFORE:
                kept = replace(kept, examples=())
            kept = kept if len(kept.turns) > 1 or kept.examples or kept.system is not None else None
        names = ["" if each in (NOTHING, AS_BEFORE) else each for each in (messages, examples)]
        return replace(self, messages=names[0], examples=names[1], conversation=kept)

    @property
    def told(self) -> tuple[str, str]:
        """Arguments of `with_told` that make the same spec."""
        kept = self.conversation
        before = kept is not None and (len(kept.turns) > 1 or kept.system is not None)
        messages = self.messages or (AS_BEFORE if before else NOTHING)
        return messages, self.examples or (AS_BEFORE if kept is not None and kept.examples else NOTHING)

    def get(self, name: str) -> Any:
        """Return an option, its default if it was not set."""
        return self.options.get(name, DEFAULTS[name])

    def with_options(self, **changed: Any) -> RunSpec:
        """Return a spec with other options; None goes back to the default."""
        merged = {**self.options, **changed}
        kept = {name: value for name, value in merged.items() if value is not None and value != DEFAULTS.get(name)}
        return replace(self, options=kept)

    def fitted(self) -> RunSpec:
        """Return a spec without the options that its strategy does not have, after another one was chosen."""
        from ramify.search.registry import strategy_names, strategy_option_names

        name = self.get("strategy")
        if name not in strategy_names():
            return self
        known = strategy_option_names(name)
        extras = {key: value for key, value in self.get("strategy_extras").items() if key in known}
        unfit = {key: None for key in STRATEGY_KEYS if key != "width" and SETTINGS[key].attribute not in known}
        return self.with_options(**unfit, strategy_extras=extras)

    def with_question(self, question: str, gold: str | None = None) -> RunSpec:
        """Return a spec with another question."""
        return replace(self, question=question, gold=gold)

    def complete(self) -> dict[str, Any]:
        """Return every option, as a plan is made from them."""
        width = self.get("width")
        options = {**DEFAULTS, **self.options}
        if width is not None and not has_width(self.get("strategy")):
            options["width"] = None
        # A tree temperature stays in the form when another strategy is chosen there.
        kept = ("tree_temperature",)
        return options | {"strategy_extras": tuple(dict(self.get("strategy_extras")).items()), "defaulted": kept}

    def saved(self) -> dict[str, Any]:
        """Return the options as the run history keeps them, in plain JSON types."""
        options = {name: value for name, value in self.complete().items() if value is not None and name in DEFAULTS}
        return options | {"strategy_extras": dict(options["strategy_extras"])}

    @classmethod
    def of(cls, solution: Solution, options: Mapping[str, Any], gold: str | None = None) -> RunSpec:
        """Return the spec of a saved run from its solution and its options."""
        spec = cls.from_saved(solution.question, options)
        return replace(spec, conversation=solution.conversation, gold=gold)

    @classmethod
    def from_saved(cls, question: str, options: Mapping[str, Any]) -> RunSpec:
        """Return the spec of a saved run; options that this version does not know are left out."""
        known = {name: value for name, value in options.items() if name in DEFAULTS}
        return cls(question).with_options(**known)

    def command_line(self, given: Mapping[str, str] = NOTHING_GIVEN) -> str:
        """Return the shell command that does the same for a user whose settings are `given`, each with its source.

        Raises:
            UsageError: if the messages or examples are those of a saved run, which are in no file.
        """
        if self.conversation is not None:
            raise UsageError("the messages of this run are in no file", "copy the Python code, which holds them")
        words = ["ramify", "solve"]
        words += ["--messages", self.messages] if self.messages else []
        words += ["--examples", self.examples] if self.examples else []
        for name, value in self.options.items():
            if name == "strategy_extras":
                words += [word for each, given in dict(value).items() for word in ("-o", f"{each}={_text(given)}")]
            elif name in DEFAULTS:
                words += _option_words(SETTINGS[name], value)
        at_default = [name for name in given if name in DEFAULTS and name not in self.options]
        for name in at_default:
            if DEFAULTS[name] is not None:
                words += _option_words(SETTINGS[name], DEFAULTS[name])
        if self.question.startswith("-"):
            words.append("--")
        command = shlex.join([*words, self.question] if self.question else words)
        # No option stands for "none given".
        unwritten = [name for name in at_default if DEFAULTS[name] is None]
        variables = [f"-u RAMIFY_{name.upper()}" for name in unwritten if given[name].startswith("env ")]
        file = [f"{CONFIG_VARIABLE}=/dev/null"] if len(variables) < len(unwritten) else []
        return " ".join([*(["env", *variables] if variables else []), *file, command])

    def title(self) -> str:
        """Return strategy and width in a few characters."""
        name = self.get("strategy") or "default strategy"
        width = self.get("width")
        return f"{name} x{width}" if width is not None and has_width(name) else name


def _option_words(setting: Setting, value: Any) -> list[str]:
    """Return the words of an option of the command line."""
    flag = setting.flags[0]
    if value is True:
        return [flag]
    if value is False:
        return [f"--no-{flag[2:]}"]
    text = _number(value)
    return [flag, f"@{text}" if setting.kind is TEXT_OR_FILE and text.startswith("@") else text]


def short_model(name: str) -> str:
    """Return the name of a policy or reward without the folders of its files and their ending.

    Of a model of a server it is the name that the server knows.
    """
    if name.startswith("openai:") and "#" in name:
        return name.rpartition("#")[2]
    if not re.search("[:*+(,]", name):
        return PurePath(name).name.removesuffix(".gguf")
    return re.sub(r"\.gguf\b", "", re.sub(r"[^\s:*+(),]*/(?=[^/])", "", name))


def has_width(strategy: str | None) -> bool:
    """Tell whether a strategy has a width; None stands for the default strategies, which do."""
    from ramify.search.registry import strategy_names, strategy_option_names

    return strategy is None or (strategy in strategy_names() and "width" in strategy_option_names(strategy))


def budget_name(spec: RunSpec) -> str:
    """Return the budget of a spec: the name of a preset, or its limits in a form that `parse_budget` reads."""
    limits = {name: spec.get(name) for name in LIMITS if spec.get(name) is not None}
    if not limits:
        return "balanced"
    named = (name for name, preset in PRESETS.items() if preset == limits)
    return next(named, ", ".join(f"{_number(limits[name])} {_UNITS[name]}" for name in limits))


def parse_budget(text: str) -> dict[str, Any]:
    """Return limits, None where there is none, from a preset's name or text such as `4k tokens, 30 s`.

    Raises:
        UsageError: if it is neither.
    """
    blank: dict[str, Any] = dict.fromkeys(LIMITS)
    if text.strip().lower() in PRESETS:
        return {**blank, **PRESETS[text.strip().lower()]}
    found = dict[str, Any]()
    for part in text.replace(";", ",").split(","):
        name, value = _limit(part.strip())
        found[name] = value
    return {**blank, **found}


def python_code(spec: RunSpec, plan: Plan, strategy: Strategy) -> str:
    """Return a Python program that does the same; `strategy` is the one with which the run searches."""
    run = plan.run_options
    lines = [f"{_asked(spec.problem())},", f"strategy=ramify.{_strategy_call(strategy, spec)},"]
    if "budget" in run:
        limits = {name: value for name, value in run["budget"].to_dict().items() if value is not None}
        lines.append(f"budget=ramify.Budget({_arguments(limits)}),")
    if spec.get("stop") is not None:
        lines.append(f"stop={spec.get('stop')!r},")
    sampling = _changed(SamplingParams, run["sampling"])
    if sampling:
        lines.append(f"sampling=ramify.SamplingParams({_arguments(sampling)}),")
    given = _changed(RunConfig, RunConfig(**{name: run[name] for name in _RUN if name in run}))
    lines += [f"{name}={value!r}," for name, value in given.items()]
    lines.append(f"seed={spec.get('seed')},")
    engine = _changed(EngineConfig, EngineConfig(**plan.engine_options))
    models = ", ".join([f"model={plan.model!r}", f"reward={plan.reward!r}", *filter(None, [_arguments(engine)])])
    body = "\n            ".join(lines)
    return (
        "import asyncio\n\nimport ramify\n\n\n"
        "async def main() -> None:\n"
        f"    async with ramify.Engine({models}) as engine:\n"
        f"        solution = await engine.solve(\n            {body}\n        )\n"
        "        print(solution.answer)\n\n\n"
        "asyncio.run(main())\n"
    )


def _asked(problem: Problem) -> str:
    """Return the expression that makes the problem."""
    if problem.is_plain:
        return repr(problem.question)
    told = problem.conversation
    parts = {
        "messages": [each.to_dict() for each in told.turns],
        "system": told.system,
        "examples": [(each.question, each.answer) for each in told.examples],
    }
    return f"ramify.Problem({_arguments({name: value for name, value in parts.items() if value not in (None, [])})})"


def _changed(holder: type[DataclassInstance], settings: object) -> dict[str, Any]:
    """Return the declared settings of a configuration that are not at their defaults, by their fields."""
    usual = holder()
    names = [each.attribute for each in declared(holder)]
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(usual, name)}


def _strategy_call(strategy: Strategy, spec: RunSpec) -> str:
    """Return the expression that makes a strategy: its width, and options set by the user or not the default."""
    from ramify.search.registry import make_strategy, strategy_to_dict

    usual = strategy_to_dict(make_strategy(strategy.name))
    given = {name: value for name, value in strategy_to_dict(strategy).items() if name != "name"}
    asked = {"width", *dict(spec.get("strategy_extras"))}
    changed = {name: value for name, value in given.items() if name in asked or usual[name] != value}
    return f"{type(strategy).__name__}({_arguments(changed)})"


def _text(value: Any) -> str:
    return ",".join(map(str, cast("Any", value))) if isinstance(value, list | tuple) else str(value)


def _arguments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


_UNITS = {
    "max_generated_tokens": "tokens",
    "max_total_tokens": "total tokens",
    "max_flops": "flops",
    "max_seconds": "s",
    "max_nodes": "nodes",
    "max_joules": "J",
    "max_cost": "in cost",
}
_WORDS = {
    "": ("max_generated_tokens", 1.0),
    "token": ("max_generated_tokens", 1.0),
    "tokens": ("max_generated_tokens", 1.0),
    "total": ("max_total_tokens", 1.0),
    "total tokens": ("max_total_tokens", 1.0),
    "flop": ("max_flops", 1.0),
    "flops": ("max_flops", 1.0),
    "sec": ("max_seconds", 1.0),
    "seconds": ("max_seconds", 1.0),
    "minutes": ("max_seconds", TIMES["min"]),
    # Without more, "m" is a million.
    **{unit: ("max_seconds", factor) for unit, factor in TIMES.items() if unit not in ("", "m")},
    "nodes": ("max_nodes", 1.0),
    "steps": ("max_nodes", 1.0),
    **{unit: ("max_joules", factor) for unit, factor in ENERGIES.items() if unit},
    "in cost": ("max_cost", 1.0),
}
_SCALED = ("max_generated_tokens", "max_total_tokens", "max_flops", "max_nodes")
"""Limits whose words may follow a decimal prefix."""


def _limit(part: str) -> tuple[str, float | int]:
    number, unit = split_quantity(part) or (math.nan, part)
    if unit not in _WORDS and unit[:1] in SCALES and _WORDS.get(unit[1:].strip(), ("",))[0] in _SCALED:
        number, unit = number * SCALES[unit[:1]], unit[1:].strip()
    if unit not in _WORDS or math.isnan(number) or is_millijoules(part):
        raise UsageError(f"{part!r} is no budget", "write fast, balanced, deep, or such as 4k tokens, 30 s")
    name, factor = _WORDS[unit]
    value = number * factor
    if not 0 < value < 1e18:
        raise UsageError(f"{part!r} is no budget", "give a number above 0")
    return name, value if name in ("max_flops", "max_seconds", "max_joules", "max_cost") else int(value)


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() and value < 1e15 else str(value)
