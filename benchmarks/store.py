"""Study of a store: six strategies at four widths on one set of problems, with and without it.

    python benchmarks/store.py --out results.json [--problems 100] [--widths 4,8,16,32] [--budget 2500]

Without the store each of the 24 cells is searched by itself. With it they are searched one after the other, narrow
ones first, and a second time at the end, when all is there. Each cell is an engine of its own. What is told of a cell:
tokens that were evaluated, those taken from the store and those evaluated because of it, seconds of processor time of
this process and its worker, and how many of its problems have the same answer, tree and usage as without the store.
The results of cells that are done are kept, so the same command goes on where it was cut.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import anyio

import ramify
from ramify.engine.store.rows import RowStore
from ramify.files import write_text
from ramify.search.registry import make_strategy

STRATEGIES = ("majority", "weighted", "best-of-n", "rebase", "beam", "mcts")


def processor_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    import resource

    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in spent)


async def searched(
    problems: list[ramify.Problem], strategy: str, width: int, budget: int, store: Path | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Search the problems; return figures of the cell, and by problem what has to be the same with and without."""
    before_s, begun_s = processor_seconds(), time.monotonic()
    found = dict[str, Any]()
    total = ramify.Usage()
    right = 0
    async with ramify.Engine(store=None if store is None else str(store)) as engine:
        chosen = make_strategy(strategy, width=width)
        stream = engine.solve_many(
            problems, parallel=4, strategy=chosen, seed=1, budget=ramify.Budget(generated_tokens=budget)
        )
        async for solution in stream:
            golds = {each.id: each.answer for each in problems}
            gold = golds[solution.problem_id or ""] or ""
            right += solution.answer is not None and ramify.answers_equal(solution.answer, gold)
            total += solution.usage
            found[solution.problem_id or ""] = {"answer": solution.answer, **described(solution)}
    policy, reward = total.policy, total.reward
    figures = {
        "strategy": strategy,
        "width": width,
        "right": right,
        "tokens": total.total_tokens,
        "fresh": policy.fresh_tokens + reward.fresh_tokens,
        "stored": policy.stored_tokens + reward.stored_tokens,
        "prefilled": policy.prefilled_tokens + reward.prefilled_tokens,
        "reevaluated": policy.reevaluated_tokens + reward.reevaluated_tokens,
        "processor_s": round(processor_seconds() - before_s, 2),
        "seconds": round(time.monotonic() - begun_s, 2),
    }
    return figures, found


def described(solution: ramify.Solution) -> dict[str, Any]:
    """Return the tree of a solution by places, and what its limits count."""
    nodes = sorted((list(node.path), node.text, node.state) for node in solution.tree or ())
    usage = solution.usage
    spent = [usage.policy.prompt_tokens, usage.policy.generated_tokens, usage.total_tokens, round(usage.flops)]
    return {"tree": nodes, "usage": spent}


def same(one: dict[str, Any], other: dict[str, Any], what: str) -> int:
    """Return for how many problems both say the same."""
    return sum(one[name][what] == other[name][what] for name in one)


def main() -> None:
    """Search all cells, and write their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--widths", default="4,8,16,32")
    parser.add_argument("--budget", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="Begin no cell after so long.")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    options, begun_s = parser.parse_args(), time.monotonic()
    widths = [int(each) for each in options.widths.split(",")]
    problems = ramify.generate_problems(steps=(2, 5), count=options.problems, seed=230)
    work: Path = options.out.with_suffix(".work")
    work.mkdir(parents=True, exist_ok=True)
    cells = [(strategy, width) for width in widths for strategy in options.strategies.split(",")]
    rows = list[dict[str, Any]]()
    # Cells that are done have a file of their own; without all of the first pass the store itself is not complete.
    for way in ("without", "with", "again"):
        store = None if way == "without" else work / "store"
        for strategy, width in cells:
            name = work / f"{way}-{strategy}-{width}.json"
            if not name.exists():
                if time.monotonic() - begun_s > options.seconds:
                    print("not done yet; the same command goes on", file=sys.stderr)
                    return
                figures, found = anyio.run(searched, problems, strategy, width, options.budget, store)
                write_text(name, json.dumps({"figures": figures, "found": found}))
            done = json.loads(name.read_text("utf-8"))
            plain = json.loads((work / f"without-{strategy}-{width}.json").read_text("utf-8"))
            row = {"way": way, **done["figures"]}
            for what in ("answer", "tree", "usage"):
                row[f"same_{what}"] = same(plain["found"], done["found"], what)
            rows.append(row)
            print(json.dumps(row), flush=True)
    with RowStore(work / "store") as rows_of_store:
        info = rows_of_store.info(check=True)
    size = {"rows": info.rows, "bytes": info.bytes, "damaged": info.damaged}
    write_text(options.out, json.dumps({"problems": options.problems, "store": size, "cells": rows}, indent=1) + "\n")
    shutil.rmtree(work)


if __name__ == "__main__":
    sys.exit(main())
