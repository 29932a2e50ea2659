"""Options of the commands that search, made from the declared settings, and the plan that they add up to."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ramify.search.budget import Budget

from ..config import DEFAULT_BUDGET, SETTINGS, STRATEGY_KEYS, EngineConfig, RunConfig
from ..errors import UsageError
from ..sampling_params import SamplingParams
from ..settings import FLAG, NUMBER, Setting, declared
from .option_types import Assignment, SettingType

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from ramify.engine.ensembles.fallback import Fallback
    from ramify.engine.planning.profile import Profile
    from ramify.search.stopping import StopRule
    from ramify.search.strategy import Strategy

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

NO_REWARD = "none"
DEFAULTED = "defaulted"
"""Key of the options under which the keys stand that are left out if the strategy does not have them."""


def setting_option(declared: Setting | str, **changed: Any) -> Callable[[Decorated], Decorated]:
    """Return the option of a setting, given as itself or by the key of a search's one; `changed` are fields of it."""
    setting = replace(SETTINGS[declared] if isinstance(declared, str) else declared, **changed)
    default = setting.unset or ("" if setting.default is None else str(setting.default))
    notes = [f"default: {default}" if default else "", setting.bounds]
    brackets = "; ".join(note for note in notes if note)
    # The second name of a switch puts it off, where it is on by default or by the user's settings.
    flags = [f"{each}/--no-{each[2:]}" if setting.kind is FLAG else each for each in setting.flags]
    return click.option(
        *flags,
        setting.key,
        type=click.BOOL if setting.kind is FLAG else SettingType(setting),
        default=setting.default,
        is_flag=setting.kind is FLAG,
        metavar=setting.metavar or None,
        help=setting.help + (f"  [{brackets}]" if brackets else ""),
    )


_EXTRAS = click.option(
    "--strategy-option",
    "-o",
    "strategy_extras",
    type=Assignment(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Any other option of the strategy, such as children=4; may be repeated.",
)
FALLBACK_SETTINGS = (
    Setting(
        key="fallback",
        metavar="MODEL",
        help="Model to ask where --model is not sure: name, path or openai:URL#MODEL.",
    ),
    Setting(
        key="fallback_confidence",
        kind=NUMBER,
        low=0,
        high=1,
        low_excluded=True,
        help="How sure --model has to be of its answer.",
        unset="0.95",
    ),
)
"""Settings of a second model for the questions on which the first is not sure; no defaults of the user's own."""

RISK = Setting(
    key="risk",
    kind=NUMBER,
    low=0,
    high=1,
    low_excluded=True,
    metavar="SHARE",
    help="Give no answer that is not sure: of those given at most this share is wrong, as calibrated.",
)
"""Setting of the risk of answers; no default of the user's own."""

_NOT_OF_PATHS = (
    "seed",
    "stop",
    "stop_text",
    "answer",
    "answer_schema",
    "calculator",
    "reward_thoughts",
    "count_reused",
    "remember",
)
SAMPLING_KEYS = tuple(
    each.key
    for each in (*declared(SamplingParams), *declared(RunConfig))
    if each.option and each.key not in _NOT_OF_PATHS and "tool" not in each.key and "thinking" not in each.key
)
"""Settings of the sampling of paths, and the limits of steps and paths."""
METERING_KEYS = ("prices", "watts")
"""Settings by which searches have a cost and an energy."""
LOADING_KEYS = tuple(
    each.key
    for each in declared(EngineConfig)
    if each.option and each.group != "search" and each.key not in METERING_KEYS
)
"""Settings with which models are loaded and prompted."""


def path_options(command: Decorated) -> Decorated:
    """Add the options of a command that writes paths and is no search: prompt, sampling, limits of paths, machine.

    The command takes them as keyword arguments for `path_settings`.
    """
    command = loading_options(command)
    for key in reversed(SAMPLING_KEYS):
        command = setting_option(key)(command)
    return command


def loading_options(command: Decorated, *, without: Collection[str] = ()) -> Decorated:
    """Add the options with which a model is loaded and prompted, except some.

    The command takes them as keyword arguments for `loading_settings`.
    """
    for key in reversed(LOADING_KEYS):
        command = command if key in without else setting_option(key)(command)
    return command


def loading_settings(options: dict[str, Any], **more: Any) -> EngineConfig:
    """Return the configuration of an engine that `options` give; `more` are further fields of it.

    Raises:
        UsageError: if a setting is out of range.
    """
    return EngineConfig(**{key: options[key] for key in LOADING_KEYS if options.get(key) is not None}, **more)


def engine_settings(options: dict[str, Any]) -> EngineConfig:
    """Return the configuration of the engine that the options of a search give.

    Raises:
        UsageError: if a setting is out of range.
    """
    return EngineConfig(**_given(EngineConfig, options))


def path_settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the sampling and the limits that `options` of `path_options` give, by their names in `Engine.run`.

    Raises:
        UsageError: if a setting is out of range.
    """
    sampling = SamplingParams(**_given(SamplingParams, options))
    limits = [key for key in SAMPLING_KEYS if key not in {each.key for each in declared(SamplingParams)}]
    given = {key: options[key] for key in limits if options[key] is not None}
    RunConfig(sampling=sampling, **given)  # Checks that they go together.
    return {"sampling": sampling, **given}


def search_options(command: Decorated) -> Decorated:
    """Add the options of a search; the command takes them as keyword arguments for `SearchPlan.from_options`."""
    for key in reversed(SETTINGS):
        command = setting_option(key)(command)
        if key == "width":
            command = _EXTRAS(command)
    return command


def fallback_options(command: Decorated) -> Decorated:
    """Add the options of a second model; the command takes them as keyword arguments for `fallback_from`."""
    for setting in reversed(FALLBACK_SETTINGS):
        command = setting_option(setting)(command)
    return command


def risk_option(command: Decorated) -> Decorated:
    """Add the option of a risk; the command takes it for `SearchPlan.from_options`."""
    return setting_option(RISK)(command)


def fallback_from(options: dict[str, Any]) -> Fallback | None:
    """Return the second model that the options name, None for none.

    Raises:
        UsageError: if there is a confidence without a model, or no model of that name.
        ModelLoadError: if the model is no file that is there.
    """
    model, confidence = options["fallback"], options["fallback_confidence"]
    if model is None:
        if confidence is not None:
            raise UsageError("--fallback-confidence is given and there is no model to fall back on", "add --fallback")
        return None
    from ramify.engine.ensembles.fallback import Fallback
    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote, parse_address

    if is_remote(model):
        parse_address(model)
    else:
        resolve_model(model)
    return Fallback(model=model) if confidence is None else Fallback(model=model, confidence=confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """Models, strategy and settings of a search, made of the options.

    `strategy_name` None leaves the choice to `strategy`. `strategy_options`, `engine_options` and `run_options` hold
    the given options alone; the library has defaults for the others. `defaulted` are keys of options that are left out
    if the strategy does not have them, because they are the user's defaults.
    """

    model: str
    reward: str | None
    strategy_name: str | None
    strategy_options: dict[str, Any]
    profile: str | None
    engine_options: dict[str, Any]
    run_options: dict[str, Any]
    defaulted: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> SearchPlan:
        """Return the plan of the options, checked as far as that goes without a model.

        Raises:
            UsageError: if options contradict each other.
            SearchError: if the strategy does not exist or refuses an option.
        """
        engine = _given(EngineConfig, options)
        run = _given(RunConfig, options)
        budget = _given(Budget, options)
        plan = cls(
            model=options["model"],
            reward=None if options["reward"] == NO_REWARD else options["reward"],
            strategy_name=options["strategy"],
            strategy_options={
                **dict(options["strategy_extras"]),
                **{SETTINGS[key].attribute: options[key] for key in STRATEGY_KEYS if options[key] is not None},
            },
            profile=engine.pop("profile", None),
            engine_options=engine,
            run_options={
                **run,
                "sampling": SamplingParams(**_given(SamplingParams, options)),
                **({"stop": _rule(run["stop"])} if "stop" in run else {}),
                **({"budget": Budget(**budget)} if budget else {}),
                **({"risk": options["risk"]} if options.get("risk") is not None else {}),
            },
            defaulted=options.get(DEFAULTED, ()),
        )
        if run.get("remember") and engine.get("store") is None:
            raise UsageError("--remember takes examples from a store and there is none", "add --store")
        plan.check_risk()
        if plan.strategy_name is not None or plan.reward is None:
            plan.strategy(has_reward=plan.reward is not None)
        plan.check_prompt()
        plan.check_metering()
        return plan

    def check_prompt(self) -> None:
        """Check that a prompt preset of the user's choice goes with the tools.

        Raises:
            UsageError: if it needs other tools, or there is no such preset.
        """
        name: str | None = self.engine_options.get("prompt_preset")
        if name is None:
            return
        from ramify.engine.policy.prompts.prompt_files import find_preset
        from ramify.tools.loading import split_names

        find_preset(name.removeprefix("chat:")).check_tools(split_names(self.run_options.get("tools") or ""))

    def check_risk(self) -> None:
        """Check that answers can be given at a risk, as far as that goes without a model.

        Raises:
            UsageError: if nothing was calibrated, or settings do not go with a risk.
        """
        if "risk" not in self.run_options:
            return
        from ramify.engine.planning.profile import load_profile
        from ramify.engine.planning.strategy_choice import AUTO

        # The configuration says which settings do not go together.
        RunConfig(**{name: self.run_options[name] for name in ("risk", "stop") if name in self.run_options})
        if self.strategy_name == AUTO:
            raise UsageError("the strategy auto has no calibrated risk", "name one that was calibrated")
        if self.profile is not None and not any(each.posteriors for each in load_profile(Path(self.profile)).points):
            raise UsageError(
                f"{self.profile} was measured without posteriors", "measure it again with `ramify calibrate`"
            )

    def check_metering(self) -> None:
        """Check that limits of energy and cost can be held, as far as that goes without a model.

        Raises:
            UsageError: if one cannot, or the file of prices cannot be read.
        """
        budget: Budget = self.run_options.get("budget", DEFAULT_BUDGET)
        if budget.joules is None and budget.cost is None and "prices" not in self.engine_options:
            return
        from ramify.engine.loading import asks_server
        from ramify.engine.metering.plan import check_before_loading
        from ramify.engine.policy.remote.address import is_remote

        config = EngineConfig(**self.engine_options)
        check_before_loading(config, budget, self.model, remote=is_remote(self.model) or asks_server(self.reward))

    def strategy(self, *, has_reward: bool, width: int | None = None, temperature: float | None = None) -> Strategy:
        """Return the strategy, chosen by whether there is a reward model if none was named.

        `width` is the number of paths, and `temperature` that of REBASE, where none was given; None for the strategy's
        own.

        Raises:
            UsageError: if it needs a reward model and there is none, or does not have an option that was given.
            SearchError: if there is no strategy of that name.
        """
        from ramify.engine.planning.strategy_choice import choose_strategy

        options = self._fitting_options(has_reward=has_reward)
        return choose_strategy(
            self.strategy_name,
            has_reward=has_reward,
            budget=self.run_options.get("budget", DEFAULT_BUDGET),
            profile=lambda: self._profile(has_reward=has_reward),
            options=options,
            remedy="name one with --reward, or use --strategy majority",
            width=width,
            temperature=temperature,
        )

    def _fitting_options(self, *, has_reward: bool) -> dict[str, Any]:
        """Return the strategy's options without the user's defaults that it does not have.

        Raises:
            UsageError: if it does not have one that was given for this search.
        """
        from ramify.engine.planning.strategy_choice import AUTO, default_strategy
        from ramify.search.registry import strategy_option_names

        name = self.strategy_name or default_strategy(has_reward=has_reward)
        if name == AUTO:
            if set(self.strategy_options) - {SETTINGS[key].attribute for key in self.defaulted}:
                raise UsageError("--strategy auto chooses all options itself", "leave --width and the others out")
            return {}
        known, fitting = strategy_option_names(name), dict(self.strategy_options)
        for key in STRATEGY_KEYS:
            option, flag = SETTINGS[key].attribute, SETTINGS[key].flags[0]
            if option not in fitting or option in known:
                continue
            if key not in self.defaulted:
                raise UsageError(f"the strategy {name} has no {flag}", f"leave {flag} out or choose another --strategy")
            del fitting[option]
        return fitting

    def _profile(self, *, has_reward: bool) -> Profile:
        from ramify.engine.loading import chosen_reward
        from ramify.engine.planning.profile import profile_for

        reward = chosen_reward(self.model, self.reward)
        return profile_for(self.model, reward if has_reward else None, self.profile)


def reward_note(model: str, reward: str | None, *, has_reward: bool, votes: bool = True) -> str | None:
    """Return the line about a reward that the user did not choose: none at all, or the one published for the file.

    `reward` is the one asked for, None for none, and `has_reward` says whether there is one; texts do not vote. None
    where nothing has to be said.
    """
    from ramify.engine.loading import BUNDLED_POLICY
    from ramify.engine.rewards.naming import DEFAULT_REWARD_NAME

    if reward is None:
        return None
    if has_reward:
        published = reward == DEFAULT_REWARD_NAME and not model.startswith(BUNDLED_POLICY)
        return f"paths are scored by the head published for {model}; --reward none leaves it out" if published else None
    decides = "the majority of the paths decides" if votes else "the text that is most like the others is the answer"
    return f"{decides}, because no reward was given and none goes with {model}; name one with --reward"


def _given(holder: type[DataclassInstance], options: dict[str, Any]) -> dict[str, Any]:
    """Return the given options among the settings of a dataclass, by its fields."""
    asked = ((each.attribute, options[each.key]) for each in declared(holder) if each.option)
    return {attribute: value for attribute, value in asked if value is not None}


def _rule(rules: str) -> StopRule:
    from ramify.search.stopping import make_stop_rule

    return make_stop_rule(rules)
