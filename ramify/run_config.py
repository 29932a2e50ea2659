"""Configuration of one run: its limits, its answers, its tools, and the rules of its end."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from ramify.search.budget import Budget

from .errors import MalformedText, UsageError
from .json_text import read_json
from .sampling_params import SamplingParams
from .settings import COUNT, DURATION, FLAG, INTEGER, NUMBER, setting, verify

if TYPE_CHECKING:
    from ramify.search.path_rules import PathRule
    from ramify.search.stopping import StopRule

DEFAULT_BUDGET = Budget(generated_tokens=8192, seconds=120.0)
"""Ends a run on the bundled models within seconds, and any run within two minutes."""

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
        """True if a setting needs a model that thinks."""
        return self.max_thinking_tokens is not None or self.thinking_extend > 0 or self.thinking_probes > 0

    def _take_schema(self, given: str) -> None:
        """Keep the text of the schema, given as a text or a file."""
        from ramify.answers.schemas import read_schema

        if self.answer not in ("auto", "json"):
            raise UsageError(
                f"the answer is {self.answer} and has a schema", "leave the answer out where there is a schema"
            )
        object.__setattr__(self, "answer_schema", read_schema(given).text)


DEFAULT_RUN = RunConfig()
