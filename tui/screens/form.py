"""Form of a search's settings: its fields, their choices, and how they are shown and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ramify.config import SETTINGS
from ramify.settings import TEXT, TEXT_OR_FILE

from ..state.spec import AS_BEFORE, NOTHING, RunSpec, budget_name, parse_budget, short_model
from ..widgets.choice import Choice, Option

DEFAULT = "default"
STRATEGIES = {
    DEFAULT: "rebase if there is a reward model, else majority",
    "rebase": "shares the width among steps by their scores",
    "beam": "keeps the best few paths at each step",
    "dvts": "beam search in separate subtrees",
    "mcts": "Monte Carlo tree search",
    "ab-mcts": "MCTS that may always branch anew",
    "particle": "particle filter over steps",
    "best-of-n": "whole paths, the best scored one wins",
    "weighted": "whole paths, votes weighted by score",
    "majority": "whole paths, most frequent answer wins; no reward model",
    "refine": "drafts, critiques and revisions",
    "widening": "majority that asks for more only where needed; no reward model",
    "greedy": "one path, always the likeliest token; no reward model",
    "auto": "what was measured to be best within the budget",
}
BUDGETS = {
    "fast": "2,048 tokens, 20 s",
    "balanced": "8,192 tokens, 120 s",
    "deep": "32,768 tokens, 600 s",
}
STOPS = {
    "never": "spend the whole width",
    "lead": "when the first answer cannot be overtaken; never changes the answer",
    "beta": "when the first answer is likelier than the second with 95 %",
    "posterior": "likewise, from all answers and their scores",
    "window": "when the last 5 paths agree",
    "patience": "when 8 paths have brought nothing better",
    "score": "when a path scores 0.98",
}


NO_MESSAGE = "none"
FIELDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "seed": ("seed", dict.fromkeys(map(str, range(10)), "")),
    "temperature": ("temp", dict.fromkeys((DEFAULT, "0", "0.5", "0.7", "1", "1.2"), "")),
    "top_p": ("top-p", dict.fromkeys((DEFAULT, "0.8", "0.9", "0.95", "1"), "")),
    "prompt_preset": (
        "preset",
        {
            DEFAULT: "",
            "plain": "the question alone",
            "gsm8k": 'steps on lines, and "The answer is"',
            "math": "the answer in \\boxed{}",
            "program": "calculations as programs, with the tool python",
            "text": "the question alone, steps are paragraphs",
        },
    ),
    "system_prompt": ("system", {DEFAULT: "the preset's; any other text can be written", NO_MESSAGE: "no message"}),
    "answer": ("answer", dict.fromkeys(SETTINGS["answer"].choices, "")),
}
"""Fields of declared settings: label, and the offered values with their meaning, "" for none."""
TOLD = {NOTHING: "no file", AS_BEFORE: "those of the saved run"}


def _check_messages(text: str) -> None:
    from ramify.conversation import messages_from_file, read_messages

    if text not in TOLD:
        read_messages([*messages_from_file(text), {"role": "user", "content": "a question"}])


def _check_examples(text: str) -> None:
    from ramify.conversation import examples_from_file

    if text not in TOLD:
        examples_from_file(text)


FILES: Mapping[str, tuple[str, Callable[[str], None]]] = {
    "messages": (
        "A JSON file of a conversation, which the question goes on with; it may hold the question.",
        _check_messages,
    ),
    "examples": ("Worked examples: a file of JSON lines with question and answer.", _check_examples),
}
"""Fields of files: help and check."""
WIDTHS = [Option(each) for each in (DEFAULT, "4", "8", "16", "32", "64")]
MODEL_HELP = "The policy: a bundled name or the path of a .gguf file."
REWARDS_FALLBACK = [Option(DEFAULT, "the bundled one for bundled models"), Option("none", "no reward model")]


def model_choice(name: str, help: str, options: Sequence[Option] = (), prefix: str = "choice") -> Choice:
    """Return the field of a model ("model") or a reward ("reward"), which takes every name that there is."""
    check = _check_reward if name == "reward" else _check_model
    return Choice(
        name, label=name, help=help, options=options, free=True, check=check, prefix=prefix, short=short_model
    )


def _check_model(text: str) -> None:
    from ramify.engine.library.catalog import resolve_model
    from ramify.engine.policy.remote.address import is_remote

    if not is_remote(text):
        resolve_model(text)


def _check_reward(text: str) -> None:
    from ramify.engine.rewards.naming import check_reward

    if text not in (DEFAULT, "none"):
        check_reward(text)


def form_fields() -> list[Choice]:
    """Return the fields of the form."""

    def options(values: dict[str, str]) -> list[Option]:
        return [Option(value, help) for value, help in values.items()]

    return [
        model_choice("model", MODEL_HELP),
        model_choice("reward", "The reward model that scores steps."),
        Choice("strategy", label="strategy", help="How to search.", options=options(STRATEGIES)),
        Choice(
            "width",
            label="width",
            help="The number of paths.",
            options=WIDTHS,
            free=True,
            check=check_width,
        ),
        Choice(
            "budget", label="budget", help="What may be spent.", options=options(BUDGETS), free=True, check=parse_budget
        ),
        Choice("stop", label="stop", help="When to end early.", options=options(STOPS), free=True, check=_stop),
        *(_field(key, label, offered) for key, (label, offered) in FIELDS.items()),
        *(Choice(name, label=name, help=help, free=True, check=check) for name, (help, check) in FILES.items()),
    ]


def _field(key: str, label: str, offered: Mapping[str, str]) -> Choice:
    """Return the field of a declared setting."""
    setting = SETTINGS[key]
    unset = "" if setting.default is not None else f" Its default is {setting.unset}."
    bounds = f" From {setting.bounds}." if setting.high is not None else ""
    options = [Option(value, help or (setting.unset if value == DEFAULT else "")) for value, help in offered.items()]
    free = not setting.choices
    return Choice(
        key,
        label=label,
        help=f"{setting.help}{unset}{bounds}",
        options=options,
        free=free,
        check=(lambda text: _value(key, text)) if free else None,
        from_start=setting.kind in (TEXT, TEXT_OR_FILE),
    )


def shown_value(key: str, value: Any) -> str:
    """Return how a field shows the value of a setting."""
    if key == "system_prompt" and value == "":
        return NO_MESSAGE
    if value is None:
        return DEFAULT
    return f"{value:g}" if isinstance(value, float) else str(value)


def _value(key: str, text: str) -> Any:
    """Return the value that a field says, None for the default.

    Raises:
        UsageError: if it is none.
    """
    if text in ("", DEFAULT):
        return None
    if key == "system_prompt" and text == NO_MESSAGE:
        return ""
    value = SETTINGS[key].parse(text)
    if key == "prompt_preset":
        from ramify.engine.policy.prompts.prompt_files import choose_preset

        choose_preset(value.removeprefix("chat:"), {}, None)
    return value


def _changed_value(key: str, text: str, before: Any) -> Any:
    """Return the value that a field says; what it shows of the value before it need not be readable again."""
    return before if text == shown_value(key, before) else _value(key, text)


def form_options(fields: Iterable[Choice], start: RunSpec) -> dict[str, Any]:
    """Return the options that the form says; None where the default is meant."""
    values = {choice.name: choice.value for choice in fields}
    return {
        "model": values["model"],
        "reward": values["reward"],
        "strategy": None if values["strategy"] == DEFAULT else values["strategy"],
        "width": None if values["width"] == DEFAULT else check_width(values["width"] or "0"),
        "stop": None if values["stop"] == "never" else values["stop"],
        **{key: _changed_value(key, values[key], start.get(key)) for key in FIELDS},
        **({} if values["budget"] == budget_name(start) else parse_budget(values["budget"] or "balanced")),
    }


def check_width(text: str) -> int | None:
    """Return a width, None for the default.

    Raises:
        UsageError: if it is no whole number above 0.
    """
    return None if text == DEFAULT else SETTINGS["width"].parse(text)


def _stop(text: str) -> None:
    if text != "never":
        from ramify.search.stopping import make_stop_rule

        make_stop_rule(text)
