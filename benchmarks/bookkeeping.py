"""Cost of a search beside its models: microseconds of processor time a node, by strategy and size of the tree.

    python benchmarks/bookkeeping.py [--nodes 1000,10000,100000] [--strategies rebase,mcts] [--json FILE]

Steps come from a script and cost nothing, so all that is measured is ramify's own tree, strategy and votes. If
`treequest` is installed, its standard MCTS and its AB-MCTS-A grow trees of the same size for comparison.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ramify.search.node import FinishReason
from ramify.search.registry import make_strategy, strategy_names
from ramify.search.strategy import Strategy
from ramify.search.tree import SearchTree
from ramify.search.votes import candidates, decide

FLAT = ("greedy", "refine")
"""Strategies that make no trees of any size."""
FINISH_CHANCE = 0.05
"""Chance that a step ends its path; a low one makes deep trees."""


def options(name: str, nodes: int) -> dict[str, Any]:
    """Return options with which a strategy grows a tree of about that many nodes."""
    wide = max(4, nodes // 20)
    special: dict[str, dict[str, Any]] = {
        "greedy": {},
        "mcts": {"width": nodes, "root_children": 8, "explore_steps": nodes, "batch": 16, "max_depth": 60},
        "ab-mcts": {"width": nodes, "explore_steps": nodes, "max_depth": 60},
        "dvts": {"width": wide},
    }
    return special.get(name, {"width": wide})


def grow(strategy: Strategy, nodes: int) -> tuple[SearchTree, float]:
    """Search until the tree has `nodes` nodes or the strategy is done; return the tree and the seconds."""
    draws, tree = random.Random(0), SearchTree()
    began = time.process_time()
    while len(tree) < nodes:
        ask = strategy.decide(tree)
        for node, reason in ask.prune:
            tree.prune(node, reason)
        told = [
            tree.add_pending(wish.node).id
            for wish in ask.expansions
            for _ in range(min(wish.children, nodes - len(tree)))
        ]
        if not told:
            break
        for node in told:
            ended = draws.random() < FINISH_CHANCE
            tree.complete(node, "a step\n", (1, 2, 3), -1.0, FinishReason.EOS if ended else FinishReason.STEP)
            if ended:
                tree.finish(node, str(draws.randrange(10)))
            if strategy.uses_reward:
                tree.score(node, draws.random())
    decide(candidates(tree, strategy.aggregation), strategy.vote, str.__eq__)
    return tree, time.process_time() - began


def measure(name: str, nodes: int) -> dict[str, Any]:
    """Return one row: strategy, nodes reached and microseconds a node."""
    tree, seconds = grow(make_strategy(name, **options(name, nodes)), nodes)
    return {"strategy": name, "wanted": nodes, "nodes": len(tree), "us_per_node": 1e6 * seconds / max(1, len(tree) - 1)}


PEERS = {"StandardMCTS": {"samples_per_action": 2}, "ABMCTSA": {}}
"""Algorithms of treequest and their options."""


def measure_treequest(name: str, nodes: int) -> dict[str, Any] | None:
    """Return the row of one of treequest's algorithms on random scores, None if it is not installed."""
    try:
        import treequest  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    draws = random.Random(0)
    algorithm: Any = getattr(treequest, name)(**PEERS[name])
    state = algorithm.init_tree()

    def generate(parent: Any) -> tuple[str, float]:
        return "a step", draws.random()

    began = time.process_time()
    actions: dict[str, Callable[[Any], tuple[str, float]]] = {"step": generate}
    for _ in range(nodes):
        state = algorithm.step(state, actions, inplace=True)
    return {
        "strategy": f"treequest {name}",
        "wanted": nodes,
        "nodes": nodes,
        "us_per_node": 1e6 * (time.process_time() - began) / nodes,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nodes", default="1000,10000,100000")
    parser.add_argument("--strategies", default=",".join(name for name in strategy_names() if name not in FLAT))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer-limit", type=int, default=10_000, help="largest tree that treequest is asked to grow")
    given = parser.parse_args(arguments)
    rows = list[dict[str, Any]]()
    sizes = [int(size) for size in given.nodes.split(",")]
    for name in given.strategies.split(","):
        rows += [measure(name, size) for size in sizes]
        print_rows(rows[-len(sizes) :])
    measured = [measure_treequest(name, size) for name in PEERS for size in sizes if size <= given.peer_limit]
    peers = [row for row in measured if row is not None]
    print_rows(peers)
    if given.json is not None:
        given.json.write_text(json.dumps(rows + peers, indent=2) + "\n", "utf-8")


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print one line a row."""
    for row in rows:
        print(f"{row['strategy']:24} {row['nodes']:8} nodes {row['us_per_node']:8.1f} us a node", flush=True)


if __name__ == "__main__":
    main()
