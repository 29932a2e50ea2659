"""Configuration of an engine: how its models are loaded and prompted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .model_settings import ModelSettings
from .settings import INTEGER, POWER, TEXT_OR_FILE, declared, setting

IsolationWord = Literal["process", "thread"]
"""Place of native code: a worker process of its own, or a thread of this process."""
DraftWord = Literal["off", "lookup"]
"""Source of drafts of the next tokens: none, or the texts of the run."""
ThinkingWord = Literal["auto", "on", "off"]
"""Thoughts of a model before its reply; "auto" leaves them to its chat template."""
_CHECKED = ("isolation", "thinking", "draft")
"""Settings that are checked at once; the others are checked when the models are loaded with them."""


def check_prices(path: str) -> None:
    """Check a file of prices.

    Raises:
        UsageError: if it cannot be read, or holds no prices.
    """
    # Prices need pydantic, whose import takes long.
    from .prices import read_prices

    read_prices(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(ModelSettings):
    """Configuration of an engine: how its models are loaded and prompted.

    Beside the settings of ModelSettings: `isolation` is the place of native code, a worker process of its own or a
    thread of this process. `workers` load the models once each, and a run goes to the least busy one; with GPUs, each
    worker takes one in turn. `prompt_preset` and `step_format` None mean those of the model file, else those that suit
    its kind (see `ramify.engine.policy.prompts`), and `system_prompt` None the preset's message, "" none. `thinking`
    switches the thoughts of a model that thinks. `draft` "lookup" drafts the policy's next tokens from the run's texts.
    `reward_spec` is the format of the reward model: a built-in name, or the path of a TOML or JSON file; None means
    that of the file. `profile` is the path of a file that `ramify calibrate` made, for the strategy "auto"; None means
    the bundled one. `prices` is the path of a file of prices (`ramify.prices`), by which runs have a cost, None for
    none. `watts` is the power that the machine draws while runs are open, for an estimate of their energy; None
    measures it where it can be measured. `store` is a folder in which steps and readings are kept for later searches,
    which take them from there; None for none.

    Raises:
        UsageError: if `isolation` is no such place; the other settings are checked when an engine is entered.
    """

    isolation: IsolationWord = setting(
        "process",
        choices=get_args(IsolationWord),
        help="Where native code runs.",
        explanation="place of native code: `process` (a worker of its own, the default) or `thread`",
        identity="never",
    )
    workers: int = setting(
        1,
        INTEGER,
        low=1,
        high=16,
        help="Processes that load the models.",
        explanation="processes that load the models, 1 by default, each on a GPU of its own in turn",
        identity="never",
    )
    reward_spec: str | None = setting(
        None,
        group="search",
        metavar="NAME|FILE",
        help="Format of the reward model.",
        unset="as its file says",
        explanation="the format of the reward model, a built-in name or a file; by default the one that the file names",
        identity="always",
    )
    profile: str | None = setting(
        None,
        group="search",
        metavar="FILE",
        help="Measurements for --strategy auto.",
        unset="the bundled ones",
        explanation="the file of `ramify calibrate` by which `--strategy auto` chooses",
        identity="never",
    )
    store: str | None = setting(
        None,
        group="search",
        metavar="DIR",
        help="Folder of steps and scores that searches take from each other.",
        unset="none",
        explanation="folder that keeps the steps of searches and the readings of rewards; later searches take them "
        "from there instead of computing them again ([store](../howto/store.md)); none by default, not for servers",
        identity="never",
    )
    prompt_preset: str | None = setting(
        None,
        group="sampling",
        metavar="NAME|FILE",
        help="How the question is put: plain, gsm8k, math, program, text, or a prompt file.",
        unset="as the model says",
        explanation='`plain` (the question alone), `gsm8k` (an answer after "The answer is", with worked examples for '
        "models without a chat template), `math` (an answer in `\\boxed{}`), `program` (calculations as "
        "programs that the tool `python` runs), `text` (the question alone, steps are paragraphs), or a prompt file "
        "([prompts](../howto/prompts.md)); by default as the file says, else `program` where `python` is the only tool "
        "and the model does not think, `math` for models with a chat template and `gsm8k` for others, and `text` where "
        "the answer is a text or code ([answers](../howto/answers.md)). For servers also `chat:NAME` "
        "([remote](../howto/remote.md))",
        identity="always",
    )
    system_prompt: str | None = setting(
        None,
        TEXT_OR_FILE,
        group="sampling",
        alias="system",
        metavar="TEXT|@FILE",
        help="System message, instead of the preset's.",
        unset="the preset's",
        explanation="the system message, instead of that of the preset; `@FILE` reads it from a "
        "file, and an empty text leaves it out. Models without a chat template get it before the question",
    )
    step_format: str | None = setting(
        None,
        group="sampling",
        metavar="NAME",
        help="What ends a step: line, blank-line, step-k or regex:PATTERN.",
        unset="as the model says",
        explanation='what ends a step: `line`, `blank-line`, `step-k` (the next "Step 2:"), `regex:PATTERN` (0.1 s a '
        "search at most); by default the one that the file names, else that of the preset",
        identity="always",
    )

    thinking: ThinkingWord = setting(
        "auto",
        choices=get_args(ThinkingWord),
        group="sampling",
        help="Whether a model that thinks does.",
        explanation="`on` or `off` switches the thoughts of a model that thinks before it replies, `auto` leaves them "
        "to its chat template ([prompts](../howto/prompts.md)); answers are read from the reply alone",
    )
    draft: DraftWord = setting(
        "off",
        choices=get_args(DraftWord),
        help="Evaluate likely next tokens ahead, from the run's own texts.",
        explanation="`lookup` evaluates the next tokens of up to four paths ahead where the prompt or another path "
        "of the run continued in the same way; the answers stay the same. `off` by default: it pays where texts are "
        "copied and, by estimate, on GPUs, and stops by itself where it does not "
        "([speed](../results/speed.md#drafts)). Not for servers",
    )
    prices: str | None = setting(
        None,
        check=check_prices,
        metavar="FILE",
        help="Prices of tokens, time and energy, a TOML file.",
        unset="none",
        explanation="TOML file of prices of tokens, machine hours and energy, from which the cost in the usage and "
        "`--max-cost` are computed ([compute](../howto/compute.md#money)); none by default",
        identity="never",
    )
    watts: float | None = setting(
        None,
        POWER,
        low=0,
        low_excluded=True,
        metavar="WATTS",
        help="Power of the machine, to estimate energy instead of measuring it.",
        unset="measured where possible",
        explanation="power that the machine draws while searches run, such as `65`: the energy is then this times the "
        "seconds, marked as an estimate; by default it is measured where that is possible "
        "([compute](../howto/compute.md#energy))",
        identity="never",
    )

    def __post_init__(self) -> None:
        for each in declared(type(self)):
            if each.key in _CHECKED:
                each.verify(getattr(self, each.attribute))
