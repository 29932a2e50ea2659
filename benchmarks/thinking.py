"""Accuracy of a model that thinks against the limit of its thoughts, and the tokens that probes save.

    python benchmarks/thinking.py [MODEL.gguf] [--count 300] [--seed 731329] [--out FILE.json]

Each setting runs greedily, or as a majority of --width paths, on the same generated problems of 2 to 8 steps. Tokens
are generated tokens of a problem, those of probes included. Differences are to thoughts without a limit, paired by
problem, with 95 % bootstrap intervals.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

import ramify
from ramify.answers.checkers import make_checker
from ramify.engine.many import for_each
from ramify.statistics import paired_difference, wilson

UNLIMITED = "whole thought"


@dataclass(frozen=True)
class Setting:
    """One row of the table: its name, the switch of thoughts, and options of the run."""

    name: str
    thinking: str
    options: dict[str, int]


def settings(limits: Sequence[int], probes: Sequence[int], step_tokens: int) -> list[Setting]:
    """Return the rows: no thought, limits from small to large, none, and probes."""
    return [
        Setting("no thought", "off", {}),
        *(Setting(f"at most {limit} tokens", "auto", {"max_thinking_tokens": limit}) for limit in limits),
        Setting(UNLIMITED, "auto", {}),
        *(
            Setting(
                f"probes, {count} in a row", "auto", {"thinking_probes": count, "thinking_step_tokens": step_tokens}
            )
            for count in probes
        ),
    ]


async def measured(
    model: str, setting: Setting, problems: Sequence[ramify.Problem], width: int, seed: int
) -> dict[str, Any]:
    """Return the outcomes and generated tokens of a setting on all problems."""
    checker = make_checker("math")
    right, tokens = [0] * len(problems), [0] * len(problems)
    thoughts = dict[str, int]()
    strategy = ramify.Greedy() if width == 1 else ramify.MajorityVote(width=width)
    async with ramify.Engine(model, None, thinking=setting.thinking) as engine:

        async def solve(index: int) -> None:
            problem = problems[index]
            solution = await engine.solve(problem.question, strategy=strategy, seed=seed, **setting.options)
            right[index] = int(solution.answer is not None and checker.accepts(solution.answer, str(problem.answer)))
            tokens[index] = solution.usage.policy.generated_tokens
            for name, value in (solution.thoughts or {}).items():
                thoughts[name] = thoughts.get(name, 0) + (value or 0)

        await for_each(range(len(problems)), solve, parallel=8)
    return {"setting": setting.name, "right": right, "tokens": tokens, "thoughts": thoughts}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    whole = next(row for row in rows if row["setting"] == UNLIMITED)
    head = (
        "thoughts", "right", "95 % interval", "minus whole thought", "tokens a problem",
        "ended by model / limit / probes", "probe tokens",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        count, found = len(row["right"]), sum(row["right"])
        low, high = wilson(found, count)
        difference = "" if row is whole else str(paired_difference(row["right"], whole["right"]))
        ended = " / ".join(str(row["thoughts"].get(f"ended_{by}", "")) for by in ("by_model", "at_limit", "by_probes"))
        lines.append(
            f"| {row['setting']} | {found / count:.3f} | {low:.3f} to {high:.3f} | {difference} "
            f"| {sum(row['tokens']) / count:.1f} | {ended} | {row['thoughts'].get('probe_tokens', 0) / count:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the settings that --out does not hold yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="demo-think")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=731329, help="seed of the problems")
    parser.add_argument("--limits", default="8,32,64,96,128,192", help="limits of a thought, in tokens")
    parser.add_argument("--probes", default="2,3,4", help="equal answers in a row that end a thought")
    parser.add_argument("--step-tokens", type=int, default=16, help="tokens of a step in a thought, where probes ask")
    parser.add_argument("--width", type=int, default=1, help="paths of a majority vote; 1 is greedy")
    parser.add_argument(
        "--out", type=Path, help="JSON file that keeps the outcomes; measured settings are not run again"
    )
    arguments = parser.parse_args()
    problems = ramify.generate_problems((2, 8), arguments.count, arguments.seed)
    rows = list[dict[str, Any]]()
    if arguments.out is not None and arguments.out.exists():
        rows = json.loads(arguments.out.read_text("utf-8"))
    known = {row["setting"]: row for row in rows}
    limits, probes = ([int(each) for each in words.split(",")] for words in (arguments.limits, arguments.probes))
    rows = []
    for setting in settings(limits, probes, arguments.step_tokens):
        row = known.get(setting.name) or anyio.run(
            measured, arguments.model, setting, problems, arguments.width, arguments.seed
        )
        rows.append(row)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(rows) + "\n", "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
