"""Every setting with which a search is started: those of its engine, its run, its budget and its sampling."""

from __future__ import annotations

from ramify.search.budget import MOST_PATHS, Budget

from .engine_config import DraftWord, EngineConfig, IsolationWord, ThinkingWord
from .run_config import DEFAULT_BUDGET, DEFAULT_RUN, AnswerWord, RunConfig, stop_pattern
from .sampling_params import SamplingParams
from .settings import GROUPS, INTEGER, NUMBER, Setting, declared

__all__ = [
    "DEFAULT_BUDGET",
    "DEFAULT_MODEL",
    "DEFAULT_RUN",
    "OWN_SETTINGS",
    "SEARCH_SETTINGS",
    "SETTINGS",
    "STRATEGY_KEYS",
    "AnswerWord",
    "DraftWord",
    "EngineConfig",
    "IsolationWord",
    "RunConfig",
    "ThinkingWord",
    "stop_pattern",
]

DEFAULT_MODEL = "demo-m"

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
        help="Reward: bundled name, path, mean-logprob, arithmetic, head:FILE, openai:URL#MODEL, http:URL, or 'none'.",
        unset="the bundled or published one, if any",
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
