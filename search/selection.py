"""How a tree search chooses among the children of a node: UCT and PUCT over running means.

A node's value Q is the mean of the scores at and below it (`Node.value_sum / Node.visits`). Selections of one batch
see each other as visits that brought nothing (virtual loss; Chaslot et al., "Parallel Monte-Carlo Tree Search", 2008,
section 3.3), so that they spread over the tree instead of choosing the same leaf.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum, auto
from math import exp, log, sqrt

from .node import Node

PUCT_BASE = 19_652
"""Growth of PUCT's exploration constant with the visits, as in AlphaZero (Silver et al., Science 362, 2018)."""


class SelectionRule(StrEnum):
    """Which bound a search follows down the tree."""

    UCT = auto()
    """Q + c sqrt(ln N(parent) / N) (Kocsis and Szepesvari, 2006; as in Wu et al., arXiv 2408.00724, appendix B)."""
    PUCT = auto()
    """Q + c P sqrt(N(parent)) / (1 + N), where the prior P comes from the policy (AlphaZero)."""


def bounds(
    rule: SelectionRule, parent: Node, children: Sequence[Node], exploration: float, virtual: Mapping[int, int]
) -> list[float]:
    """Return the upper bound of each scored child, in order.

    `virtual` holds the selections of this batch by node id. `exploration` is c of UCT; PUCT adds it to the slowly
    growing ln((N + base + 1) / base).
    """
    above = parent.visits + virtual.get(parent.id, 0)
    visits = [max(1, child.visits + virtual.get(child.id, 0)) for child in children]
    means = [child.value_sum / count for child, count in zip(children, visits, strict=True)]
    if rule is SelectionRule.UCT:
        spread = log(max(1, above))
        return [mean + exploration * sqrt(spread / count) for mean, count in zip(means, visits, strict=True)]
    weight = (log((above + PUCT_BASE + 1) / PUCT_BASE) + exploration) * sqrt(above)
    return [
        mean + weight * prior / (1 + count) for mean, prior, count in zip(means, priors(children), visits, strict=True)
    ]


def priors(siblings: Sequence[Node]) -> list[float]:
    """Return P of each sibling: proportional to exp of its step's mean log-probability, equal if one is unknown."""
    if any(node.logprob is None or not node.token_count for node in siblings):
        return [1 / len(siblings)] * len(siblings)
    weights = [exp((node.logprob or 0.0) / node.token_count) for node in siblings]
    total = sum(weights)
    return [weight / total for weight in weights] if total else [1 / len(siblings)] * len(siblings)
