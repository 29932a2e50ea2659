"""Accuracy and cost of the strategies on fresh problems of a bundled task, at equal budgets of generated tokens.

    python benchmarks/strategies.py --seed 20261122 --out docs/results/strategies.json
    python benchmarks/strategies.py --seed 20261122 --strategies majority,rebase --stop lead --out lead.json
    python benchmarks/strategies.py --seed 20261127 --task lists --rewards demo-lists-prm,mean-logprob,self-certainty

Every strategy sees the same problems with the same seeds and the same limit of generated tokens a problem, and as many
paths as that limit is enough for on average. Strategies that need no reward run with the first reward alone. Accuracy
comes with a 95 % Wilson interval, differences to REBASE and to majority with a paired bootstrap interval. What is in
the --out file already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio

import ramify
from ramify.engine.loading import default_reward
from ramify.models.tasks.tasks import TASKS
from ramify.search.registry import make_strategy, strategy_option_names
from ramify.statistics import paired_difference, wilson
from ramify.tables import markdown_table

STRATEGIES = "greedy,majority,weighted,best-of-n,beam,dvts,particle,mcts,ab-mcts,widening,rebase"
PARALLEL = 4
"""Problems searched at a time; seconds are those of all, divided by the number of problems."""
TOKENS_PER_PATH = 100
"""Limit of generated tokens for each path of the width; the bundled policies write about 80 a path."""
DRAWS = 10_000
"""Resamples of a paired bootstrap interval."""
POLICIES = {"arithmetic": "demo-m", "lists": "demo-lists"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One strategy's figures over all problems within one budget; tokens and seconds are means a problem.

    `reward` is empty if the strategy needs none.
    """

    strategy: str
    model: str
    reward: str = ""
    budget_tokens: int
    width: int
    stop: str
    accuracy: float
    low: float
    high: float
    generated_tokens: float
    prompt_tokens: float
    reward_tokens: float
    reevaluated_tokens: int
    gflops: float
    seconds: float
    chosen: dict[str, int]
    correct: tuple[bool, ...]


def chosen_name(solution: ramify.Solution) -> str:
    """Return the strategy that "auto" settled on, with its width."""
    strategy = make_strategy(**solution.strategy)
    if isinstance(strategy, ramify.Auto) and solution.tree is not None:
        strategy = strategy.settled(solution.tree)
    return f"{strategy.name}@{strategy.width}"


def needs_reward(name: str) -> bool:
    """Return whether a strategy scores paths; auto may."""
    return name == "auto" or make_strategy(name).uses_reward


async def measure(
    engine: ramify.Engine, name: str, problems: Sequence[ramify.Problem], options: argparse.Namespace, tokens: int
) -> Row:
    """Solve all problems with one strategy within one budget."""
    width = max(1, tokens // options.tokens_per_path)
    sized = name != "auto" and "width" in strategy_option_names(name)
    strategy = name if name == "auto" else make_strategy(name, **({"width": width} if sized else {}))
    budget = ramify.Budget(generated_tokens=tokens)
    started = time.monotonic()
    solutions = {
        solution.problem_id: solution
        async for solution in engine.solve_many(
            problems, parallel=PARALLEL, strategy=strategy, seed=options.seed, budget=budget, stop=options.stop or None
        )
    }
    seconds = (time.monotonic() - started) / len(problems)
    found = [solutions[problem.id] for problem in problems]
    correct = tuple(problem.grader().right(each.answer) for each, problem in zip(found, problems, strict=True))
    low, high = wilson(sum(correct), len(correct))
    count, usages = len(found), [each.usage for each in found]
    names = [chosen_name(each) for each in found]
    return Row(
        strategy=name,
        model=options.model,
        reward=engine.reward.name if engine.reward is not None and needs_reward(name) else "",
        budget_tokens=tokens,
        width=width if sized else 1 if name == "greedy" else 0,
        stop=options.stop,
        accuracy=sum(correct) / count,
        low=low,
        high=high,
        generated_tokens=sum(usage.policy.generated_tokens for usage in usages) / count,
        prompt_tokens=sum(usage.policy.prompt_tokens for usage in usages) / count,
        reward_tokens=sum(usage.reward.evaluated_tokens for usage in usages) / count,
        reevaluated_tokens=sum(usage.policy.reevaluated_tokens + usage.reward.reevaluated_tokens for usage in usages),
        gflops=sum(usage.flops for usage in usages) / count / 1e9,
        seconds=seconds,
        chosen={each: names.count(each) for each in sorted(set(names))},
        correct=correct,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, a block for each budget."""
    lines = list[tuple[str, ...]]()
    for row in sorted(rows, key=lambda each: each.budget_tokens):
        name = f"{row.strategy}@{row.width}" if row.width > 1 else row.strategy
        lines.append(
            (
                str(row.budget_tokens),
                f"{name}{' + ' + row.stop if row.stop else ''}",
                row.reward,
                f"{row.accuracy:.3f}",
                f"{row.low:.3f} to {row.high:.3f}",
                versus(row, "rebase", rows),
                versus(row, "majority", rows),
                f"{row.generated_tokens:.0f}",
                f"{row.reward_tokens:.0f}",
                f"{row.gflops:.2f}",
                f"{row.seconds:.2f}",
            )
        )
    head = "budget, strategy, reward, accuracy, 95 % interval, minus REBASE, minus majority, generated tokens"
    return markdown_table(f"{head}, reward tokens, GFLOPs, seconds".split(", "), lines)


def versus(row: Row, strategy: str, rows: Sequence[Row]) -> str:
    """Return the paired difference to a strategy at the same budget, with the same reward if both have one."""
    peers = [
        each
        for each in rows
        if each.budget_tokens == row.budget_tokens
        and each.strategy == strategy
        and (not each.reward or not row.reward or each.reward == row.reward)
    ]
    if row.strategy == strategy or not peers:
        return ""
    return str(paired_difference(row.correct, peers[0].correct, draws=DRAWS))


def load(path: Path | None) -> list[Row]:
    """Return the rows measured before."""
    if path is None or not path.exists():
        return []
    rows = json.loads(path.read_text("utf-8"))["rows"]
    return [Row(**{**row, "correct": tuple(row["correct"])}) for row in rows]


def save(path: Path | None, options: argparse.Namespace, rows: Sequence[Row]) -> None:
    """Write all rows."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {name: getattr(options, name) for name in ("task", "seed", "count", "rewards", "profile")}
    path.write_text(json.dumps({**head, "rows": [asdict(row) for row in rows]}, indent=1) + "\n", encoding="utf-8")


def read_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", choices=sorted(TASKS), default="arithmetic")
    parser.add_argument("--model", help="policy (default: the one that has learned the task)")
    parser.add_argument("--rewards", help="names, joined with commas (default: the policy's own)")
    parser.add_argument("--strategies", default=STRATEGIES, help="names, joined with commas; auto is one too")
    parser.add_argument("--budgets", default="400,800,1200", help="limits of generated tokens a problem")
    parser.add_argument("--tokens-per-path", type=int, default=TOKENS_PER_PATH, help="limit for each of the width")
    parser.add_argument("--stop", default="", help="stop rules, such as lead or beta:0.95")
    parser.add_argument("--profile", help="profile for auto (default: the bundled one)")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, required=True, help="seed of the problems and of the sampling")
    parser.add_argument("--threads", type=int, help="processor threads of each model (default: all)")
    parser.add_argument("--out", type=Path, help="JSON file for all figures")
    return parser.parse_args()


async def measure_all(
    reward: str,
    names: Sequence[str],
    problems: Sequence[ramify.Problem],
    options: argparse.Namespace,
    rows: list[Row],
) -> None:
    """Measure strategies with one reward and append to `rows` and the file."""
    done = {(row.strategy, row.budget_tokens, row.stop, row.model, row.reward) for row in rows}
    settings = {"threads": options.threads, "profile": options.profile}
    async with ramify.Engine(model=options.model, reward=reward or None, **settings) as engine:
        named = "" if engine.reward is None else engine.reward.name
        for tokens in [int(each) for each in options.budgets.split(",")]:
            for name in names:
                if (name, tokens, options.stop, options.model, named if needs_reward(name) else "") in done:
                    continue
                rows.append(await measure(engine, name, problems, options, tokens))
                save(options.out, options, rows)
                sys.stderr.write(f"{tokens} {name} {reward}: {rows[-1].accuracy:.3f} {rows[-1].seconds:.2f} s\n")


async def main() -> None:
    """Measure and write the table."""
    options = read_options()
    options.model = options.model or POLICIES[options.task]
    options.rewards = options.rewards or default_reward(options.model) or ""
    problems = ramify.generate_problems(count=options.count, seed=options.seed, task=options.task)
    rows = load(options.out)
    names = options.strategies.split(",")
    for number, reward in enumerate(options.rewards.split(",")):
        asked = [name for name in names if number == 0 or needs_reward(name)]
        await measure_all(reward, asked, problems, options, rows)
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    anyio.run(main)
