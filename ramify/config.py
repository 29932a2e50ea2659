"""Configuration of an engine and of a run, and the declaration of every setting with which a search is started."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from ramify.search.budget import MOST_PATHS, Budget

from .errors import MalformedText, UsageError
from .json_text import read_json
from .model_settings import ModelSettings
from .sampling_params import SamplingParams
from .settings import (
    COUNT,
    DURATION,
    FLAG,
    GROUPS,
    INTEGER,
    NUMBER,
    POWER,
    TEXT_OR_FILE,
    Setting,
    declared,
    setting,
    verify,
)

if TYPE_CHECKING:
    from ramify.search.path_rules import PathRule
    from ramify.search.stopping import StopRule

DEFAULT_BUDGET = Budget(generated_tokens=8192, seconds=120.0)
"""Ends a run on the bundled models within seconds, and any run within two minutes."""
DEFAULT_MODEL = "demo-m"

IsolationWord = Literal["process", "thread"]
"""Place of native code: a worker process of its own, or a thread of this process."""
DraftWord = Literal["off", "lookup"]
"""What drafts the next tokens: nothing, or the texts of the run."""
ThinkingWord = Literal["auto", "on", "off"]
"""Whether a model thinks before it replies; "auto" leaves that to its chat template."""

AnswerWord = Literal["auto", "box", "number", "choice", "line", "code", "program", "json", "text"]
"""Kind of the answer (see AnswerKind); "auto" leaves it to the prompt, the question and the texts."""


def check_tools(names: str) -> None:
    """Check names of tools, such as "calculator,python", as far as that goes without starting anything.

    Raises:
        UsageError: if a name stands for no tool, or two tools have one name.
    """
    # Declarations of tools need pydantic, whose import takes long.
    from ramify.tools.loading import check_tools as check

    check(names)


def check_answer(form: str) -> None:
    """Check the form of answers.

    Raises:
        UsageError: if there is none of this name, or its pattern is not valid.
    """
    # Rules need the child process of patterns, whose import takes long.
    from ramify.answers.answer_forms import answer_form

    answer_form(form)


def check_prices(path: str) -> None:
    """Check a file of prices.

    Raises:
        UsageError: if it cannot be read, or holds no prices.
    """
    # Prices need pydantic, whose import takes long.
    from .prices import read_prices

    read_prices(path)


def check_schema(given: str) -> None:
    """Check a JSON schema of answers, given as its text or its file.

    Raises:
        UsageError: if it is none, or no grammar can hold answers to it.
    """
    # Grammars need llama.cpp, whose import takes long.
    from ramify.answers.schemas import read_schema

    read_schema(given)


def stop_pattern(text: str | None, before: str = "") -> str:
    """Return the pattern of texts that end a path, given as one text or a JSON list of texts; "" for None.

    It is for the text that follows `before`, which may hold the beginning of such a text.

    Raises:
        UsageError: if a text is empty, or the list is none of texts.
    """
    if text is None:
        return ""
    texts: list[object] = [text]
    if text.lstrip().startswith("["):
        with suppress(MalformedText):
            texts = read_json(text)
    if not texts or not all(isinstance(each, str) and each for each in texts):
        raise UsageError(f"stop_text is {text!r}", 'give a text that is not empty, or a list such as ["A", "B"]')
    parts = list[str]()
    for each in map(str, texts):
        parts += [rf"\A{re.escape(each[end:])}" for end in range(len(each) - 1, 0, -1) if before.endswith(each[:end])]
        parts.append(re.escape(each))
    return "|".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig(ModelSettings):
    """Configuration of an engine: how its models are loaded and prompted.

    Beside the settings of ModelSettings: `isolation` is the place of native code, a worker process of its own or a
    thread of this process. `workers` load the models once each, and a run goes to the least busy one; with GPUs, each
    worker takes one in turn. `prompt_preset` and `step_format` None mean what the model file says, else what suits its
    kind (see `ramify.engine.policy.prompts`), and `system_prompt` None the preset's message, "" none. `thinking`
    switches the thoughts of a model that thinks. `draft` "lookup" drafts
    the policy's next tokens from the run's texts. `reward_spec` is
    the format of the reward model: a built-in name, or the path of a TOML or JSON file; None means what the file says.
    `profile` is the path of a file that `ramify calibrate` made, for the strategy "auto"; None means the bundled one.
    `prices` is the path of a file of prices (`ramify.prices`), by which runs have a cost, None for none. `watts` is the
    power that the machine draws while runs are open, for an estimate of their energy; None measures it where it can
    be measured.
    `store` is a folder in which steps and readings are kept for later searches, which take them from there; None for
    none.

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
        help="How the question is put: plain, gsm8k, math, text, or a prompt file.",
        unset="as the model says",
        explanation='`plain` (the question alone), `gsm8k` (an answer after "The answer is", with worked examples for '
        "models without a chat template), `math` (an answer in `\\boxed{}`), `text` (the question alone, steps are "
        "paragraphs), or a prompt file ([prompts](../howto/prompts.md)); by default as the file says, else `math` for "
        "models with a chat template and `gsm8k` for others, and `text` where the answer is a text or code "
        "([answers](../howto/answers.md)). For servers also `chat:NAME` ([remote](../howto/remote.md))",
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
        explanation="the system message, instead of that of the preset, also as `--system`; `@FILE` reads it from a "
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
        # The other settings are checked when the models are loaded with them.
        SETTINGS["isolation"].verify(self.isolation)
        SETTINGS["thinking"].verify(self.thinking)
        SETTINGS["draft"].verify(self.draft)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Configuration of one run, the strategy aside.

    `max_step_tokens` bounds one step; a step cut there is continued as if it were complete. A step of less than
    `min_step_tokens` goes on with the next one. `max_path_tokens` bounds the generated tokens of a path; a path that
    reaches it without an answer is pruned. `seed` fixes all sampling. `answer` is the kind of the answers, "auto" to
    guess it. `answer_schema` is the text of a JSON schema, or its file, by which the answer is written; None for free
    answers. With `calculator` the exact value stands after each `expression =` that a path writes (see
    ramify.reward.calculator); models behind servers have none. `tools` names those that paths may call, None none;
    `max_tool_calls` bounds the calls of tools on one path, `max_run_tool_calls` those of the run, and `tool_seconds`
    the time of each. `stop` ends the run early and `cut` single paths, None never. `risk` leaves out answers that are
    not sure: of those that are given at most this share is wrong, as calibrated; None gives all. `stop_text`
    ends a path where it appears, a text or a JSON list of texts. With `reward_thoughts` a reward reads the thoughts of
    a model that thinks too, not its reply alone. `max_thinking_tokens` bounds a thought, None by the path alone; where
    the model ends one, `thinking_extend` times "Wait" is put into the path instead. Steps in a thought have about
    `thinking_step_tokens` tokens, and after so many `thinking_probes` in a row that agree on an answer it ends, 0 for
    none. With `count_reused` the budget counts what comes from the engine's store like all else, without it only what
    is evaluated in this run. `remember` problems of the store that are most like the question, solved before the engine
    was opened, are shown as worked examples; 0 for none.

    Raises:
        UsageError: if a number is out of range.
    """

    budget: Budget = DEFAULT_BUDGET
    sampling: SamplingParams = field(default_factory=SamplingParams)
    seed: int = setting(
        0,
        INTEGER,
        group="sampling",
        help="Fixes all sampling.",
        explanation="fixes all sampling; 0 by default",
        identity="always",
    )
    max_step_tokens: int = setting(
        256,
        COUNT,
        low=1,
        group="limits",
        help="Longest step in tokens.",
        default=None,
        explanation="tokens of a step, 256 by default; a step that is cut there continues in the next",
        identity="always",
    )
    min_step_tokens: int = setting(
        1,
        COUNT,
        low=1,
        group="limits",
        help="Shortest step in tokens.",
        default=None,
        explanation="least tokens of a step, 1 by default; a shorter step continues with the next",
    )
    max_path_tokens: int = setting(
        1024,
        COUNT,
        low=1,
        group="limits",
        help="Longest path in tokens.",
        default=None,
        explanation="tokens of a path, 1,024 by default; a path that reaches them without an answer ends and does "
        "not vote",
        identity="always",
    )
    answer: str = setting(
        "auto",
        choices=get_args(AnswerWord),
        check=check_answer,
        metavar="FORM",
        group="search",
        help="What the answer is: auto, box, number, choice, line, code, program, json, text or a rule.",
        explanation='what the answer is: `box` (what the text marks, such as `\\boxed{}` or "The answer is"), '
        "`number`, `choice` (the letter of an option), `line` (the last line), `code` (the last block of code that "
        "defines something, else the longest), `program` (the same in Python; programs that return the same vote "
        "together), `json` (the last JSON object or list), `text` (all of it), `choice:A-E`, "
        "`regex:PATTERN` or `json:POINTER` ([prompts](../howto/prompts.md)); `auto`, the default, "
        "chooses by the prompt preset, the question and the texts ([answers](../howto/answers.md))",
    )
    answer_schema: str | None = setting(
        None,
        group="search",
        metavar="FILE",
        check=check_schema,
        help="JSON schema of the answer.",
        unset="none",
        explanation="JSON schema of the answer, a file or the schema itself: after its steps a path writes a JSON "
        "value that fits, and equal values vote together ([answers](../howto/answers.md#answers-with-a-form))",
    )
    calculator: bool = setting(
        False,
        FLAG,
        group="search",
        help="Put exact values after `expression =`.",
        unset="off",
        explanation="where a path has written `expression =`, put its exact value there instead of sampling it; off by "
        "default, not for servers ([strategies](../howto/strategies.md#calculator))",
    )
    tools: str | None = setting(
        None,
        group="search",
        metavar="NAMES",
        check=check_tools,
        help="Tools that paths may call, such as calculator,python.",
        unset="none",
        explanation="tools that paths may call, such as `calculator,python`, `mcp:COMMAND` or `module:NAME` "
        "([tools](../howto/tools.md)); none by default, not for servers",
    )
    max_tool_calls: int = setting(
        8,
        INTEGER,
        low=1,
        high=10_000,
        group="limits",
        help="Calls of tools on one path.",
        explanation="calls of tools on one path, 8 by default ([tools](../howto/tools.md))",
    )
    max_run_tool_calls: int = setting(
        256,
        INTEGER,
        low=1,
        high=1_000_000,
        group="limits",
        help="Calls of tools in one search.",
        explanation="calls of tools in one search, 256 by default",
    )
    tool_seconds: float = setting(
        10.0,
        DURATION,
        low=0,
        low_excluded=True,
        group="limits",
        help="Longest call of a tool, such as 10s.",
        explanation="time of one call of a tool, such as `10s` (the default)",
    )
    reward_thoughts: bool = setting(
        False,
        FLAG,
        group="search",
        help="Let the reward read thoughts too.",
        unset="off",
        explanation="show the thoughts of a model that thinks to the reward too; off by default, since published "
        "rewards were trained on replies",
    )
    max_thinking_tokens: int | None = setting(
        None,
        COUNT,
        low=1,
        group="limits",
        help="Longest thought in tokens.",
        unset="three quarters of a path",
        explanation="tokens of a thought; at the limit it ends with its sentence, at most an eighth later, and the "
        "reply follows. By default three quarters of the path, so that the reply has room "
        "([prompts](../howto/prompts.md#thoughts))",
    )
    thinking_extend: int = setting(
        0,
        INTEGER,
        low=0,
        high=100,
        group="limits",
        help='Put "Wait" in the place of a thought\'s end so often.',
        unset="never",
        explanation='times that "Wait" is put into a path where the model would end its thought; 0 by default',
    )
    thinking_step_tokens: int = setting(
        128,
        COUNT,
        low=1,
        group="limits",
        help="Tokens of a step in a thought.",
        default=None,
        explanation="tokens of a step in a thought, 128 by default: from there on it ends with its line, from half "
        "as many more on with its sentence, and at twice as many at once",
    )
    thinking_probes: int = setting(
        0,
        INTEGER,
        low=0,
        high=100,
        group="search",
        help="End a thought after so many equal answers of probes.",
        unset="never",
        explanation="end a thought when this many probes in a row are sure of one answer. A probe follows each step "
        "of the thought and writes the answer beside the path; 0, the default, for none",
    )
    count_reused: bool = setting(
        True,
        FLAG,
        group="limits",
        help="Whether limits count what comes from --store.",
        unset="on",
        explanation="whether limits of tokens and FLOPs count tokens from `--store` like all others, which is the "
        "default; with `--no-count-reused` they count only tokens that this run evaluates "
        "([store](../howto/store.md))",
    )
    remember: int = setting(
        0,
        INTEGER,
        low=0,
        high=32,
        group="search",
        help="Show so many similar problems of --store, solved earlier, as examples.",
        unset="none",
        explanation="show the N most similar problems of `--store` as worked examples, of those that earlier calls "
        "solved with a clear vote ([store](../howto/store.md#memory-across-problems)); 0, the default, for none",
    )
    stop: StopRule | None = setting(
        None,
        group="search",
        metavar="RULES",
        help="End early, such as beta:0.95 or lead; see below.",
        unset="never",
        explanation="rules that end a search early ([strategies](../howto/strategies.md))",
        identity="always",
    )
    stop_text: str | None = setting(
        None,
        check=stop_pattern,
        group="limits",
        metavar="TEXT",
        help="End a path before this text.",
        unset="none",
        explanation="text before which a path ends, such as `Question:`, or several as a JSON list of texts; none by "
        "default, beside those of the prompt preset",
    )
    cut: PathRule | None = None
    risk: float | None = setting(None, NUMBER, low=0, high=1, low_excluded=True, option=False)

    def __post_init__(self) -> None:
        verify(self)
        if self.risk is not None and not 0 < self.risk < 1:
            raise UsageError(f"the risk is {self.risk}", "use a number between 0 and 1, such as 0.1")
        if self.risk is not None and (self.stop is not None or self.cut is not None):
            raise UsageError("a risk is calibrated for whole searches", "leave the stop rules out, or the risk")
        verify(self.sampling)
        if self.answer_schema is not None:
            self._take_schema(self.answer_schema)
        if self.min_step_tokens > self.max_step_tokens:
            raise UsageError(
                f"steps of at least {self.min_step_tokens} tokens are longer than the longest ({self.max_step_tokens})",
                "lower min_step_tokens, or raise max_step_tokens",
            )
        if (self.max_thinking_tokens or 0) >= self.max_path_tokens:
            raise UsageError(
                f"a thought of {self.max_thinking_tokens} tokens leaves no room for a reply in a path of "
                f"{self.max_path_tokens}",
                "lower max_thinking_tokens, or raise max_path_tokens",
            )

    @property
    def asks_of_thoughts(self) -> bool:
        """Whether a setting asks for what only a model that thinks can do."""
        return self.max_thinking_tokens is not None or self.thinking_extend > 0 or self.thinking_probes > 0

    def _take_schema(self, given: str) -> None:
        """Keep the text of the schema, whatever named it."""
        from ramify.answers.schemas import read_schema

        if self.answer not in ("auto", "json"):
            raise UsageError(
                f"the answer is {self.answer} and has a schema", "leave the answer out where there is a schema"
            )
        object.__setattr__(self, "answer_schema", read_schema(given).text)


DEFAULT_RUN = RunConfig()

OWN_SETTINGS = (
    Setting(
        key="model",
        default=DEFAULT_MODEL,
        group="search",
        letter="m",
        help="Name, path, hf:REPO/FILE or openai:URL#MODEL.",
        explanation="the policy: a name, a path, `hf:REPO/FILE` ([models](../howto/models.md)) or `openai:URL#MODEL` "
        "([remote](../howto/remote.md)); `demo-m` by default",
    ),
    Setting(
        key="reward",
        default="default",
        group="search",
        letter="r",
        help="Reward model: bundled name, path, self-certainty, mean-logprob, head:JUDGE, openai:URL#MODEL, http:URL, "
        "or 'none'.",
        unset="the bundled one for bundled models",
        explanation="reward of the steps, or `none` ([rewards](../howto/rewards.md)); by default the bundled one for "
        "bundled policies, the [published head](../howto/rewards.md#published-heads) of a file that has one, and "
        "none for others",
    ),
    Setting(
        key="strategy",
        group="search",
        letter="s",
        metavar="NAME",
        help="How to search; see below.",
        unset="rebase, or majority",
        explanation="how to search ([strategies](../howto/strategies.md)): `rebase` with a reward, else `majority`",
    ),
    Setting(
        key="width",
        kind=INTEGER,
        low=1,
        high=MOST_PATHS,
        group="search",
        letter="w",
        help="Number of paths.",
        unset="16, fewer for large models",
        explanation="number of paths, 16,384 at most. By default 16, and on processors fewer for large models: the "
        "largest power of two from 4 to 16 for which paths times weights are at most 2.5 billion per thread (on two "
        "processors 16 up to 312 million weights, 8 up to 625 million, else 4); on GPUs, for servers and in batches, "
        "which must not depend on the machine, 16. `widening` has 64",
    ),
    Setting(
        key="tree_temperature",
        attribute="temperature",
        kind=NUMBER,
        low=0,
        low_excluded=True,
        group="search",
        help="Balance of REBASE: low exploits.",
        explanation="`temperature` of `rebase` (the head's, else 0.1) and `particle` (1.0): low follows the best score",
    ),
)
"""Settings that choose the models and the strategy; no configuration holds them."""
STRATEGY_KEYS = ("width", "tree_temperature")
"""Settings that only some strategies have; `attribute` is their name in a strategy."""

SEARCH_SETTINGS = tuple(
    sorted(
        (
            *OWN_SETTINGS,
            *(each for holder in (Budget, SamplingParams, RunConfig, EngineConfig) for each in declared(holder)),
        ),
        key=lambda each: GROUPS.index(each.group),
    )
)
"""Every setting with which a search is started, in the order of the help."""
SETTINGS = {each.key: each for each in SEARCH_SETTINGS if each.option}
"""The settings of a search that have an option, by key."""
