"""Options that every command which searches has, and what they add up to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from .values import COUNT, DURATION, FLOPS, GPU_SHARES, KV_TYPE, Assignment, Share

if TYPE_CHECKING:
    from ramify.search.strategy import AnyStrategy

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

NO_REWARD = "none"
AUTO = "auto"

_OPTIONS = (
    click.option(
        "--model", "-m", default="demo-m", show_default=True, help="Name, path, hf:REPO/FILE or openai:URL#MODEL."
    ),
    click.option(
        "--reward",
        "-r",
        default="default",
        help="Reward model: bundled name, path, self-certainty, mean-logprob, openai:URL#MODEL, or 'none'.  "
        "[default: the bundled one for bundled models]",
    ),
    click.option("--reward-spec", metavar="NAME|FILE", help="Format of the reward model.  [default: as its file says]"),
    click.option("--strategy", "-s", metavar="NAME", help="How to search; see below.  [default: rebase, or majority]"),
    click.option(
        "--strategy-option",
        "-o",
        "strategy_extras",
        type=Assignment(),
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other option of the strategy, such as children=4; may be repeated.",
    ),
    click.option("--profile", metavar="FILE", help="Measurements for --strategy auto.  [default: the bundled ones]"),
    click.option("--stop", metavar="RULES", help="End early, such as beta:0.95 or lead; see below.  [default: never]"),
    click.option("--width", "-w", type=click.IntRange(min=1), help="Number of paths.  [default: 16]"),
    click.option("--tree-temperature", type=Share(min=0, min_open=True), help="Balance of REBASE: low exploits."),
    click.option("--max-generated-tokens", type=COUNT, help="Limit of generated tokens, such as 20k."),
    click.option("--max-total-tokens", type=COUNT, help="Limit of all evaluated tokens, reward model included."),
    click.option("--max-flops", type=FLOPS, help="Limit of floating point operations, such as 1e12."),
    click.option("--max-seconds", type=DURATION, help="Limit of time, such as 90s or 2m."),
    click.option("--max-nodes", type=COUNT, help="Limit of steps in the tree."),
    click.option("--max-step-tokens", type=COUNT, help="Longest step in tokens."),
    click.option("--max-path-tokens", type=COUNT, help="Longest path in tokens."),
    click.option(
        "--temperature", "-t", type=Share(min=0), default=1.0, show_default=True, help="Of sampling; 0 greedy."
    ),
    click.option("--top-k", type=click.IntRange(min=0), default=0, help="Sample from the K likeliest; 0 off."),
    click.option("--top-p", type=Share(0, 1, min_open=True), default=1.0, help="Nucleus sampling; 1 off."),
    click.option("--min-p", type=Share(0, 1), default=0.0, help="Least share of the likeliest token; 0 off."),
    click.option("--seed", type=int, default=0, show_default=True, help="Fixes all sampling."),
    click.option(
        "--prompt-preset",
        metavar="NAME",
        help="How the question is put: plain, gsm8k, math.  [default: as the model says]",
    ),
    click.option(
        "--step-format",
        metavar="NAME",
        help="What ends a step: line, blank-line, step-k or regex:PATTERN.  [default: as the model says]",
    ),
    click.option(
        "--isolation",
        type=click.Choice(["process", "thread"]),
        default="process",
        show_default=True,
        help="Where native code runs.",
    ),
    click.option("--threads", type=click.IntRange(min=1), help="Processor threads.  [default: as suits the model]"),
    click.option(
        "--gpu-layers", type=click.IntRange(min=0), help="Layers on the GPU.  [default: all, if there is one]"
    ),
    click.option("--main-gpu", type=click.IntRange(0, 15), metavar="N", help="Put each model on this GPU alone."),
    click.option("--tensor-split", type=GPU_SHARES, help="Share layers out over the GPUs, such as 3,1."),
    click.option(
        "--flash-attention",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="Whether to use it.",
    ),
    click.option("--kv-type", type=KV_TYPE, help="Type of the KV cache, such as q8_0 or q8_0,q4_0.  [default: f16]"),
    click.option("--context-tokens", type=COUNT, help="Size of a KV cache in tokens.  [default: as suits the model]"),
    click.option(
        "--pools", type=click.IntRange(1, 64), help="KV caches that problems are shared out to.  [default: as pays]"
    ),
    click.option(
        "--workers", type=click.IntRange(1, 16), default=1, show_default=True, help="Processes that load the models."
    ),
)


def search_options(command: Decorated) -> Decorated:
    """Add the options; the command takes them as keyword arguments for `SearchPlan.from_options`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_ENGINE_OPTIONS = (
    *("isolation", "workers", "pools", "threads", "context_tokens", "kv_type", "flash_attention"),
    *("gpu_layers", "main_gpu", "tensor_split", "prompt_preset", "step_format", "reward_spec"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What the options ask for.

    `strategy_name` None leaves the choice to `strategy`. `strategy_options`, `engine_options` and `run_options` hold
    only what was asked for; the rest is left to the defaults of the library.
    """

    model: str
    reward: str | None
    strategy_name: str | None
    strategy_options: dict[str, Any]
    profile: str | None
    engine_options: dict[str, Any]
    run_options: dict[str, Any]

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> SearchPlan:
        """Build a plan and check all of it that can be checked without a model.

        Raises:
            UsageError: if options contradict each other.
            SearchError: if the strategy does not exist or refuses an option.
        """
        from ..sampling_params import SamplingParams

        sampling = SamplingParams(**{name: options[name] for name in ("temperature", "top_k", "top_p", "min_p")})
        limits = ("generated_tokens", "total_tokens", "flops", "seconds", "nodes")
        budget = {name: options[f"max_{name}"] for name in limits if options[f"max_{name}"] is not None}
        plan = cls(
            model=options["model"],
            reward=None if options["reward"] == NO_REWARD else options["reward"],
            strategy_name=options["strategy"],
            strategy_options={
                **dict(options["strategy_extras"]),
                **_given({"width": options["width"], "temperature": options["tree_temperature"]}),
            },
            profile=options["profile"],
            engine_options=_given({name: options[name] for name in _ENGINE_OPTIONS}),
            run_options={
                "seed": options["seed"],
                "sampling": sampling,
                **_given({name: options[name] for name in ("max_step_tokens", "max_path_tokens")}),
                **_stop(options["stop"]),
                **_budget(budget),
            },
        )
        if plan.strategy_name is not None or plan.reward is None:
            plan.strategy(has_reward=plan.reward is not None)
        return plan

    def strategy(self, *, has_reward: bool) -> AnyStrategy:
        """Return the strategy, chosen by whether there is a reward model if none was named.

        Raises:
            UsageError: if it needs a reward model and there is none, or does not have an option that was given.
            SearchError: if there is no strategy of that name.
        """
        from ramify.search.registry import make_strategy, strategy_option_names

        name = self.strategy_name or ("rebase" if has_reward else "majority")
        if name == AUTO:
            return self._measured_best(has_reward=has_reward)
        known = strategy_option_names(name)
        for option, flag in (("width", "--width"), ("temperature", "--tree-temperature")):
            if option in self.strategy_options and option not in known:
                raise UsageError(f"the strategy {name} has no {flag}", f"leave {flag} out or choose another --strategy")
        strategy = make_strategy(name, **self.strategy_options)
        if strategy.uses_reward and not has_reward:
            raise UsageError(
                f"the strategy {name} needs a reward model and there is none",
                "name one with --reward, or use --strategy majority",
            )
        return strategy

    def _measured_best(self, *, has_reward: bool) -> AnyStrategy:
        from ramify.engine.loading import default_reward
        from ramify.engine.planning.planning import plan
        from ramify.engine.planning.profile import profile_for

        from ..config import DEFAULT_BUDGET

        if self.strategy_options:
            raise UsageError("--strategy auto chooses all options itself", "leave --width and the others out")
        reward = default_reward(self.model) if self.reward == "default" else self.reward
        profile = profile_for(self.model, reward if has_reward else None, self.profile)
        return plan(profile, self.run_options.get("budget", DEFAULT_BUDGET))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _stop(rules: str | None) -> dict[str, Any]:
    from ramify.search.stopping import make_stop_rule

    return {} if rules is None else {"stop": make_stop_rule(rules)}


def _budget(limits: dict[str, Any]) -> dict[str, Any]:
    """Return a budget of the given limits and no others, or nothing if none was given."""
    from ramify.search.budget import Budget

    return {"budget": Budget(**limits)} if limits else {}
