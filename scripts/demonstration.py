"""Greedy decoding, majority vote and REBASE beside each other on one fixed example.

scripts/demo                on the bundled models
scripts/demo --model FILE   the same on a GGUF file of your own, 30 s for each of the three
"""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import ramify
from ramify.events import Event, NodeAdded, NodePruned, NodeScored

FIGURES = Path(__file__).parents[1] / "docs" / "results" / "default-reward.json"
EXAMPLE = ramify.Problem(
    question="Mia has 20 shells. Ivan comes with 9 shells. Mia gets 4 cups. Later Mia gives away a quarter of the "
    "shells. Mia and Ivan put all of the shells together. How many shells are there?",
    answer="24",
)
SEED = 7
CHECKS = {"arithmetic:exact": "false equation", "totals": "false total"}
"""Parts of the bundled reward that check a text, with the meaning of a low score of each."""
FAILED = 0.02
"""Score of a check that fails."""
FRAME_S = 0.4
"""Time between two drawings of the tree on a terminal."""
OWN_MODEL_S = 30.0
COLUMNS = 79


@dataclass
class Step:
    """Equal steps below one parent: the number of their paths, the best score, and their end."""

    text: str
    paths: int = 0
    score: float | None = None
    failed: str = ""
    pruned: int = 0
    answer: str | None = None
    below: dict[str, Step] = field(default_factory=dict[str, "Step"])


class GrowingTree:
    """The distinct steps of a search, made from its events."""

    def __init__(self) -> None:
        self.root = Step("")
        self._steps: dict[int, Step] = {0: self.root}

    def take(self, event: Event) -> bool:
        """Take an event; tell whether a score has come, after which a drawing shows something new."""
        if isinstance(event, NodeAdded):
            above = self._steps[event.parent]
            step = above.below.setdefault(event.text, Step(event.text.strip()))
            step.paths += 1
            step.answer = event.answer or step.answer
            self._steps[event.node] = step
        elif isinstance(event, NodeScored):
            step = self._steps[event.node]
            step.score = max(event.score, step.score or 0.0)
            step.failed = failed_check(event.scores or {}) or step.failed
        elif isinstance(event, NodePruned) and event.node in self._steps:
            self._steps[event.node].pruned += 1
        return isinstance(event, NodeScored)

    def lines(self, step: Step | None = None, indent: str = "") -> list[str]:
        """Return the drawing: score, number of paths and text of each step, indented below its parent."""
        found = list[str]()
        for each in sorted((step or self.root).below.values(), key=lambda one: -(one.score or 0.0)):
            score = "" if each.score is None else f"{each.score:.2f}"
            mark = "x" if each.pruned == each.paths else "*" if each.answer is not None else " "
            why = f"   <- {each.pruned} pruned, {each.failed or 'low score'}" if each.pruned else ""
            text = " | ".join(each.text.splitlines())
            line = f"{score:5} {each.paths:5} {mark} {indent}{text}{why}"
            found.append(line if len(line) <= COLUMNS else f"{line[: COLUMNS - 3]}...")
            found += self.lines(each, indent + "  ") if each.below else []
        return found


def failed_check(parts: Mapping[str, float]) -> str:
    """Return the words for the first failed check of a combined reward, "" if none failed."""
    return next((words for name, words in CHECKS.items() if parts.get(name, 1.0) <= FAILED), "")


def draw(lines: list[str], drawn: int) -> int:
    """Draw the tree over the `drawn` lines of the last drawing; return the number of its lines."""
    sys.stdout.write((f"\x1b[{drawn}A\x1b[J" if drawn else "") + "\n".join(lines) + "\n")
    sys.stdout.flush()
    return len(lines)


async def watch(run: ramify.Run) -> ramify.Solution:
    """Draw the tree of a run while it grows, on a terminal in several drawings, and return the solution."""
    tree, drawn = GrowingTree(), 0
    animated = sys.stdout.isatty()
    while True:
        events = await run.next_events()
        if not events:
            break
        for level in levels(events):
            scored = [tree.take(event) for event in level]
            if any(scored) and animated:
                drawn = draw(tree.lines(), drawn)
                await asyncio.sleep(FRAME_S)
    draw(tree.lines(), drawn)
    return await run.result()


def levels(events: list[Event]) -> list[list[Event]]:
    """Return events in groups, each of which ends with the last score before another step is added."""
    found: list[list[Event]] = [[]]
    for event in events:
        if isinstance(event, NodeAdded) and any(isinstance(each, NodeScored) for each in found[-1]):
            found.append([])
        found[-1].append(event)
    return found


def verdict(answers: list[tuple[str, int]]) -> str:
    """Return the verdict of a vote's leading answers on the example: right, wrong or undecided."""
    if not answers:
        return "no answer"
    if len(answers) > 1 and answers[0][1] == answers[1][1]:
        return "undecided"
    return "right" if ramify.answers_equal(answers[0][0], str(EXAMPLE.answer)) else "wrong"


def votes_of(solution: ramify.Solution) -> list[tuple[str, int]]:
    """Return the answers of a solution with the number of their paths, the most frequent first."""
    return Counter(each.answer for each in solution.candidates if each.answer is not None).most_common()


def described(votes: list[tuple[str, int]]) -> str:
    """Return the first three answers of a vote in words."""
    return ", ".join(f"{answer} ({count} of {sum(n for _, n in votes)} paths)" for answer, count in votes[:3])


async def show(model: str | None) -> None:
    """Run the three searches and print them."""
    own = model is not None
    budget = ramify.Budget(seconds=OWN_MODEL_S) if own else None
    common = {"seed": SEED, **({"budget": budget} if budget else {})}
    print(textwrap.fill(f"A fixed example: {EXAMPLE.question}", COLUMNS))
    print(f"Right answer: {EXAMPLE.answer}\n", flush=True)
    async with ramify.Engine(model or "demo-m", reward="mean-logprob" if own else "default") as engine:
        width = engine.default_width or 16
        began = time.monotonic()
        greedy = votes_of(await engine.solve(EXAMPLE, strategy="greedy", **common))
        print(f"greedy decoding    {described(greedy)}: {verdict(greedy)}", flush=True)
        majority = votes_of(await engine.solve(EXAMPLE, strategy=ramify.MajorityVote(width=width), **common))
        print(f"majority of {width:<2}     {described(majority)}: {verdict(majority)}", flush=True)
        print(f"\nREBASE with {width} paths; equal steps on one line, x: pruned, *: finished", flush=True)
        print("score paths   step", flush=True)
        async with engine.run(EXAMPLE, strategy=ramify.Rebase(width=width), **common) as run:
            solution = await watch(run)
        rebase = votes_of(solution)
        kind = "undecided" if solution.answer is None else verdict([(solution.answer, 1)])
        print(f"\nREBASE             {described(rebase)}: {kind}")
    usage = solution.usage
    print("The reward scores each step: paths of a bad step are pruned, a good step gets more.")
    print(f"REBASE: {usage.policy.generated_tokens} tokens; all three: {time.monotonic() - began:.1f} s.\n")
    if own:
        print(f"One example proves nothing: ramify reward eval mean-logprob -m {model} --problems FILE measures it.")
    else:
        print(figures())


def figures() -> str:
    """Return the line about many problems."""
    data = json.loads(FIGURES.read_text("utf-8"))
    share = {name: f"{count / data['problems']:.2f}" for name, count in data["right"].items()}
    return (
        f"On {data['problems']} such problems: greedy {share['greedy']}, "
        f"majority of {data['width']} {share['majority']}, REBASE of {data['width']} {share['rebase']} right."
    )


def main() -> int:
    """Show the example on the bundled models, or on the model behind --model; return the exit code."""
    from ramify.cli.exits import exit_code_for, explain

    model = sys.argv[2] if len(sys.argv) > 2 else None
    try:
        asyncio.run(show(model))
    except (Exception, KeyboardInterrupt) as error:
        explain(error)
        return int(exit_code_for(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
