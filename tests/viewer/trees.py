"""Trees and solutions to look at, and hostile texts."""

from __future__ import annotations

import random
from typing import Any

from ramify import SearchTree, Solution
from ramify.search.node import PruneReason
from ramify.search.stopping import StopReason
from ramify.search.votes import Aggregation, candidates
from ramify.usage import RoleUsage, Usage

QUESTION = "How many pens has Tom?"


def random_tree(nodes: int, seed: int = 0) -> SearchTree:
    """A tree of about so many nodes, with scores of two parts, finished paths and pruned steps."""
    draw, tree = random.Random(seed), SearchTree()
    leaves = [0]
    while len(tree) < nodes:
        # The newest leaves, so that the tree grows deep as well as wide.
        parent = leaves.pop(draw.randrange(max(0, len(leaves) - 40), len(leaves))) if leaves else 0
        for _ in range(draw.randint(2, 4)):
            node = tree.add_pending(parent)
            text = f"Mia has {draw.randint(2, 99)} * {draw.randint(2, 9)} pens and gives the rest to Tom.\n"
            tree.complete(node.id, text, tuple(range(12)), -draw.random())
            tree.score(node.id, draw.random(), parts={"judge": draw.random(), "arithmetic": draw.random()})
            fate = draw.random()
            if fate < 0.3:
                tree.prune(node.id, PruneReason.ALLOCATION)
            elif fate < 0.45:
                tree.finish(node.id, str(draw.randint(1, 6)))
            else:
                leaves.append(node.id)
    return tree


def solution_of(tree: SearchTree, question: str = QUESTION, **values: Any) -> Solution:
    """A solution with the first finished path of a tree as its answer."""
    paths = tuple(candidates(tree, Aggregation.LAST))
    fields: dict[str, Any] = {
        "answer": paths[0].answer,
        "text": paths[0].text,
        "score": paths[0].score,
        "stop_reason": StopReason.COMPLETED,
        "usage": Usage(policy=RoleUsage(generated_tokens=tree.generated_tokens), seconds=1.5),
        "seed": 0,
        "strategy": {"name": "rebase", "width": 4, "temperature": float("inf")},
    }
    return Solution(question=question, candidates=paths, tree=tree, **(fields | values))


def tree_of(texts: list[str]) -> SearchTree:
    """A tree of finished paths of one step, whose texts are also their answers and the names of their scores."""
    tree = SearchTree()
    for text in texts:
        node = tree.add_pending(0)
        tree.complete(node.id, text, (1, 2))
        tree.score(node.id, 0.5, parts={text or "part": 0.25})
        tree.finish(node.id, text)
    return tree


HOSTILE = [
    "</script><script>window.harmed = 1</script>",
    "<!--<script>",
    "]]><img src=x onerror='window.harmed = 2'>",
    "\"><svg onload='window.harmed = 3'>'",
    "\u2028\u2029\ud800\x00\x1b[31m\u202e",
    "&lt;b&gt; &amp; {{7*7}} ${window.harmed=4} javascript:window.harmed=5",
]
