"""Search without a model: steps are scripted by path, and results arrive in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from ramify.search.node import FinishReason, Node, NodeState, Origin, PruneReason
from ramify.search.strategy import Ask, Strategy
from ramify.search.tree import SearchTree

Path = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """A scripted step; `end` is None if the path continues, an answer if it finishes, or a reason to prune it."""

    score: float
    end: str | PruneReason | None = None
    text: str = "step. "


Script = Callable[[Path], Step]


def random_script(seed: int, *, finish: float = 0.25, die: float = 0.1) -> Script:
    """Steps that depend on the path alone, so that every schedule meets the same ones."""

    def step(path: Path) -> Step:
        random = Random(f"{seed} {path}")
        score, fate = round(random.random(), 3), random.random()
        answer = str(random.randrange(4))
        end = answer if fate < finish else PruneReason.EMPTY if fate < finish + die else None
        return Step(score, end, f"{random.randrange(3)} ")

    return step


def play(strategy: Strategy, script: Script, *, seed: int = 0, burst: int = 1) -> SearchTree:
    """Run to the end. Results arrive in an order drawn from `seed`, up to `burst` of them between two asks."""
    random, tree = Random(seed), SearchTree()
    whole = set[int]()
    for _ in range(10_000):
        before = tree.to_dict()
        ask = strategy.decide(tree)
        assert strategy.decide(tree) == ask
        assert tree.to_dict() == before
        whole |= {child.id for child in apply(tree, ask)}
        if ask.expansions:
            again = strategy.decide(tree)
            assert not again.expansions and not again.prune and not again.done
        pending = tree.pending()
        if not pending:
            assert ask.done, "the strategy waits for nothing"
            return tree
        assert not ask.done
        told = random.sample(pending, min(len(pending), burst))
        for node in told:
            record(
                tree,
                node.id,
                to_the_end(script, node.path) if node.id in whole else script(node.path),
                scored=strategy.uses_reward,
            )
    raise AssertionError("the search does not end")


def apply(tree: SearchTree, ask: Ask) -> list[Node]:
    """Prune and add as a strategy asks; return the new nodes that are to be written to their ends."""
    whole = list[Node]()
    for node_id, reason in ask.prune:
        tree.prune(node_id, reason)
    for wish in ask.expansions:
        added = [
            tree.add_pending(wish.node, origin=wish.origin or Origin.MODEL, about=wish.about)
            for _ in range(wish.children)
        ]
        whole += added if wish.to_the_end else []
    return whole


def to_the_end(script: Script, path: Path) -> Step:
    """Return the step at `path` and all that follow along first children as one; too long a path dies."""
    step = script(path)
    if step.end is not None:
        return step
    if len(path) > 50:
        return Step(step.score, PruneReason.PATH_LENGTH, step.text)
    rest = to_the_end(script, (*path, 0))
    return Step(rest.score, rest.end, step.text + rest.text)


def record(tree: SearchTree, node_id: int, step: Step, *, scored: bool) -> None:
    """Record a scripted result as a run does: complete, then finish or prune, then score."""
    reason = FinishReason.EOS if isinstance(step.end, str) else FinishReason.STEP
    tree.complete(node_id, step.text, (1, 2, 3), -1.5, reason)
    if tree.node(node_id).origin is Origin.CRITIQUE:
        tree.finish(node_id, None)
        return
    if isinstance(step.end, PruneReason):
        tree.prune(node_id, step.end)
        return
    if step.end is not None:
        tree.finish(node_id, step.end)
    if scored:
        tree.score(node_id, step.score)


def outcome(tree: SearchTree) -> dict[Path, tuple[Any, ...]]:
    """Return everything that a schedule must not change: all but the ids."""
    return {
        node.path: (
            node.state,
            node.prune_reason,
            node.score,
            node.answer,
            node.text,
            None if node.about is None else tree.node(node.about).path,
        )
        for node in tree
        if node.state is not NodeState.PENDING
    }
