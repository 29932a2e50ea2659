"""Search settings of a request, from its body, its headers, its preset and the server, and the run that they make."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ramify.answers.kinds import AnswerKind
from ramify.answers.schemas import read_schema
from ramify.config import DEFAULT_BUDGET, DEFAULT_RUN, OWN_SETTINGS, SETTINGS, STRATEGY_KEYS, RunConfig
from ramify.engine.engine import Engine
from ramify.engine.planning.strategy_choice import AUTO, choose_strategy, default_strategy
from ramify.errors import RamifyError, SearchError, UsageError
from ramify.sampling_params import SamplingParams
from ramify.search.budget import UNITS, Budget
from ramify.search.registry import strategy_option_names
from ramify.search.stopping import make_stop_rule
from ramify.search.strategy import Strategy
from ramify.settings import declared
from ramify.text import did_you_mean

from .api_errors import api_error, bad_request
from .config import Caller, Preset, ServerConfig
from .messages import BudgetLimits, ChatRequest, read_body

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEADER = "x-ramify-budget-"
"""Beginning of the headers that limit a search, such as X-Ramify-Budget-Seconds."""
SEARCH_KEYS = {
    each.key
    for holder in (OWN_SETTINGS, declared(Budget), declared(SamplingParams), declared(RunConfig))
    for each in holder
    if each.option and each.key != "model"
}
"""Keys of the settings that may differ between two runs of one engine; the others are those of the loaded models."""
OPERATOR_KEYS = {
    "tools", "max_tool_calls", "max_run_tool_calls", "tool_seconds", "answer_schema", "remember", "count_reused",
}  # fmt: skip
"""Keys that are the operator's alone: tools run commands and import modules on the machine of the server, a schema may
name a file there (requests have it as `response_format`), and the store holds the questions of others."""
REQUEST_KEYS = {
    "reward", "strategy", "width", "tree_temperature", *(each.key for each in declared(Budget)),
    "temperature", "top_k", "top_p", "min_p", "seed", "max_step_tokens", "min_step_tokens", "max_path_tokens",
    "answer", "calculator", "stop", "stop_text", "reward_thoughts",
    "max_thinking_tokens", "thinking_extend", "thinking_step_tokens", "thinking_probes",
    "repeat_penalty", "frequency_penalty", "presence_penalty",
}  # fmt: skip
"""Keys that a request may set. They are named one by one, as a setting that is added later may not be harmless."""
_LIMITS = {each.key: each.attribute for each in declared(Budget)}
_NESTED = ("budget", "strategy_options")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The run that a request asks for: its strategy, and the other arguments of `Engine.run`."""

    strategy: Strategy
    options: dict[str, Any]

    @property
    def budget(self) -> Budget:
        """Limits of the run."""
        return self.options["budget"]


def read_settings(values: Mapping[str, Any], place: str, keys: Collection[str]) -> dict[str, Any]:
    """Return search settings by key from values as a JSON or TOML text has them; `place` is told in errors.

    Raises:
        UsageError: if a key is none of `keys`, or a value is wrong.
    """
    found = dict[str, Any]()
    for key, value in values.items():
        if key not in keys:
            if key in SETTINGS:
                raise UsageError(f"{place}: {key} is not for requests", "set it where the server is started")
            known = sorted((*keys, *_NESTED))
            hint = did_you_mean(key, known, "see docs/reference/options.md")
            raise UsageError(f"{place}: there is no setting {key!r}", hint)
        if value is None:
            continue
        if not isinstance(value, bool | int | float | str):
            raise UsageError(f"{place}: {key} has to be one value", "write a number, a text, true or false")
        try:
            # From text, so that a value is read as it would be on the command line.
            found[key] = SETTINGS[key].parse(_written(value))
        except UsageError as error:
            raise UsageError(f"{place}: {key}: {error.message}", error.next_step) from None
    return found


def _written(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def read_preset(name: str, table: Any, place: str) -> Preset:
    """Return a preset from its table.

    Raises:
        UsageError: if it is no table of search settings, or its name cannot stand in a model's name.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{place}: {name} has to be a table", f"write [presets.{name}] and below it width = 16")
    if not name or "@" in name or not name.isprintable():
        raise UsageError(f"{place}: {name!r} is no name of a preset", "use letters and digits")
    return Preset(name=name, values=read_settings(cast("dict[str, Any]", table), place, SEARCH_KEYS))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Settings in a request: settings by key without limits, limits by field, options of the strategy."""

    values: dict[str, Any]
    limits: dict[str, Any]
    strategy_options: dict[str, Any]


def plan_run(
    request: ChatRequest,
    headers: Mapping[str, str],
    *,
    engine: Engine,
    config: ServerConfig,
    preset: Preset | None,
    caller: Caller,
) -> RunPlan:
    """Return the run that a request asks for.

    Fields of the API and of `ramify` come first, then headers, the preset, and the server's defaults. Limits of the
    request replace those of the preset, and these the server's; limits that the caller has apply in any case.

    Raises:
        ApiError: if a setting is wrong, or the request asks for more than the caller may have.
    """
    try:
        asked = _asked(request, headers)
        given = dict(config.defaults) | (dict(preset.values) if preset is not None else {})
        limits = asked.limits or _limits(preset.values if preset else {}) or _limits(config.defaults)
        budget = limited(Budget(**limits) if limits else DEFAULT_BUDGET, caller, asked=asked.limits)
        strategy = _strategy(engine, asked, given, config, budget)
        values = _fitted(given, asked.values)
        run = _held(RunConfig, values)
        if isinstance(run.get("stop"), str):
            run["stop"] = make_stop_rule(run["stop"])
        sampling = SamplingParams(**_held(SamplingParams, values))
        RunConfig(budget=budget, sampling=sampling, **run)  # Checks that they go together.
    except RamifyError as error:
        raise api_error(error, "ramify") from None
    return RunPlan(strategy=strategy, options={**run, "budget": budget, "sampling": sampling, "strategy": strategy})


def limited(budget: Budget, caller: Caller, *, asked: Mapping[str, Any]) -> Budget:
    """Return a budget within the limits of the caller; `asked` are the limits that the caller named itself.

    Raises:
        ApiError: if it named one above its own, or took one away that it has.
    """
    found = budget.to_dict()
    for name, most in caller.budget.to_dict().items():
        if most is None:
            continue
        if name in asked and (found[name] is None or found[name] > most):
            raise bad_request(f"the limit {name} of {caller.name} is {most}", f"ramify.budget.{name}", "budget_limit")
        if found[name] is None or found[name] > most:
            found[name] = most
    return Budget(**found)


def read_budget(value: Any) -> dict[str, Any]:
    """Return limits by name from their JSON value; null stands for no limit.

    Raises:
        ApiError: if it is no such object.
    """
    limits = read_body(BudgetLimits, value)
    return {name: getattr(limits, name) for name in limits.model_fields_set}


def _asked(request: ChatRequest, headers: Mapping[str, str]) -> _Asked:
    fields = dict(request.ramify or {})
    budget, options = fields.pop("budget", None), fields.pop("strategy_options", None)
    values = read_settings(fields, "ramify", REQUEST_KEYS)
    if values.get("answer") == AnswerKind.PROGRAM:
        # It runs a model's code on the machine of the server.
        raise UsageError("ramify: the answer program is not for requests", "set it where the server is started")
    limits = {_LIMITS[key]: values.pop(key) for key in tuple(values) if key in _LIMITS}
    if budget is not None:
        nested = read_budget(budget)
        if twice := limits.keys() & nested.keys():
            raise bad_request(f"ramify: the limit {min(twice)} is given twice", f"ramify.budget.{min(twice)}")
        limits |= nested
    if options is not None and not isinstance(options, dict):
        raise bad_request("ramify.strategy_options: write an object of names and values", "ramify.strategy_options")
    values |= _of_the_api(request, values)
    return _Asked(
        values,
        {name: value for name, value in (_header_limits(headers) | limits).items() if value is not None},
        dict(cast("dict[str, Any]", options or {})),
    )


def _of_the_api(request: ChatRequest, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that fields of the API give; each may be given only once."""
    longest = request.max_completion_tokens if request.max_tokens is None else request.max_tokens
    found: dict[str, Any] = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "min_p": request.min_p,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "repeat_penalty": request.repeat_penalty,
        "seed": request.seed,
        "stop_text": _stop_text(request.stop),
        "answer_schema": _answer_schema(request),
        "max_path_tokens": longest,
    }
    found = {key: value for key, value in found.items() if value is not None}
    for key in found:
        if key in values:
            raise bad_request(f"{key} is given twice, as a field of its own and in ramify", f"ramify.{key}")
    return found


def _fitted(given: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a request over those that are `given` by its preset and the server.

    Limits of steps and thoughts that the request leaves to them are lowered to what its own limits have room for.
    """
    values = {**given, **asked}

    def lower(key: str, most: int) -> None:
        value = values.get(key)
        own = getattr(DEFAULT_RUN, key) if value is None else value
        if key not in asked and own is not None and own > most:
            # A thought of no token is no limit; the path leaves it no more.
            values[key] = most or None

    path: int | None = asked.get("max_path_tokens")
    if path is not None:
        lower("max_step_tokens", path)
        lower("max_thinking_tokens", path - 1)
    if path is not None or "max_step_tokens" in asked:
        lower("min_step_tokens", values.get("max_step_tokens") or DEFAULT_RUN.max_step_tokens)
    return values


def _answer_schema(request: ChatRequest) -> str | None:
    """Return the schema that `response_format` asks for, None for plain text.

    Raises:
        ApiError: if no grammar can hold answers to it.
    """
    if request.schema_of_answer is None:
        return None
    try:
        return read_schema(request.schema_of_answer).text
    except UsageError as error:
        raise bad_request(f"response_format: {error}", "response_format.json_schema.schema") from None


def _stop_text(stop: str | list[str] | None) -> str | None:
    """Return the setting `stop_text` for the field `stop` of the API; no texts are none.

    Raises:
        ApiError: if a text is empty.
    """
    texts = [stop] if isinstance(stop, str) else stop or []
    if not all(texts):
        raise bad_request("stop: a text is empty", "stop")
    return json.dumps(texts) if texts else None


def _header_limits(headers: Mapping[str, str]) -> dict[str, Any]:
    found = dict[str, Any]()
    by_name = {attribute: SETTINGS[key] for key, attribute in _LIMITS.items()}
    for name, text in headers.items():
        if not name.lower().startswith(HEADER):
            continue
        limit = name.lower()[len(HEADER) :].replace("-", "_")
        if limit not in by_name:
            raise UsageError(f"the header {name}: there is no limit {limit!r}", f"use one of {', '.join(UNITS)}")
        try:
            found[limit] = by_name[limit].parse(text)
        except UsageError as error:
            raise UsageError(f"the header {name}: {error.message}", error.next_step) from None
    return found


def _limits(values: Mapping[str, Any]) -> dict[str, Any]:
    return {_LIMITS[key]: value for key, value in values.items() if key in _LIMITS}


def _held(holder: type[DataclassInstance], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a dataclass among values by key, by its fields."""
    settings = (each for each in declared(holder) if each.option)
    return {each.attribute: values[each.key] for each in settings if values.get(each.key) is not None}


def _strategy(
    engine: Engine, asked: _Asked, given: Mapping[str, Any], config: ServerConfig, budget: Budget
) -> Strategy:
    values = dict(given) | asked.values
    has_reward = _uses_reward(engine, values.get("reward"))
    name: str | None = values.get("strategy")
    named = name or default_strategy(has_reward=has_reward)
    options = dict[str, Any]()
    if named != AUTO:
        known = strategy_option_names(named)
        # The server's options are those of its own strategy; a request for another one leaves them out.
        options = {key: value for key, value in config.strategy_options.items() if key in known}
        for key in STRATEGY_KEYS:
            option = SETTINGS[key].attribute
            if option in known and values.get(key) is not None:
                options[option] = values[key]
            elif option not in known and asked.values.get(key) is not None:
                raise UsageError(f"the strategy {named} has no {key}", f"leave {key} out or choose another strategy")
        options |= asked.strategy_options
    elif asked.strategy_options:
        raise UsageError("the strategy auto chooses all options itself", "leave strategy_options out")
    try:
        return choose_strategy(
            name,
            has_reward=has_reward,
            budget=budget,
            profile=engine.profile,
            options=options,
            remedy="use majority, or ask for a server with one",
            width=engine.default_width,
            temperature=engine.default_temperature,
        )
    except TypeError as error:
        # An option of another kind than the strategy computes with.
        raise SearchError(f"an option of the strategy {named} is of the wrong kind: {error}") from None


def _uses_reward(engine: Engine, wanted: str | None) -> bool:
    """Return whether a request has the loaded reward: unless it asks for none, or the server has none.

    Raises:
        UsageError: if it asks for another one.
    """
    loaded = None if engine.reward is None else engine.reward.name
    if wanted in (None, "default", loaded):
        return loaded is not None
    if wanted == "none":
        return False
    raise UsageError(f"the reward {wanted!r} is not loaded", f"use none{'' if loaded is None else f' or {loaded}'}")
