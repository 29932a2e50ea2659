"""Interrupts of runs: Ctrl-C raised as itself in a tree of tasks, and the solution of a run as it stands."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ramify.search.node import NodeState, PruneReason
from ramify.search.registry import strategy_to_dict
from ramify.search.stopping import StopReason
from ramify.search.tree import SearchTree
from ramify.search.votes import candidates, decide_by_text
from ramify.solution import Solution

from .control.path_ends import furthest_text
from .control.votes import voted_fields

if TYPE_CHECKING:
    from ramify.search.strategy import Strategy

    from .run import Run


@contextmanager
def plain_interrupts() -> Generator[None]:
    """Raise a KeyboardInterrupt or SystemExit that is inside an exception group by itself.

    On trio, one that is raised in a task arrives in as many groups as there are task groups around it.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        found = group.subgroup((KeyboardInterrupt, SystemExit))
        if found is None:
            raise
        error: BaseException = found
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


def as_it_stands(
    run: Run, strategy: Strategy, *, seed: int, model: Mapping[str, Any], pinned: int | None = None
) -> Solution:
    """Return the solution of a run that cannot be waited for; the run itself stays as it is.

    What was unfinished is pruned in a copy of the tree. Answers count as equal only if they are written alike, and
    the majority decides if a path has no score. Without an answer the text is that of the path that came furthest.
    `pinned` is the node whose answer was chosen by hand, if one was.
    """
    tree = SearchTree.from_dict(run.tree.to_dict())
    for node in (*tree.pending(), *tree.open_leaves()):
        if node.parent is not None and node.state is not NodeState.PRUNED:
            tree.prune(node.id, PruneReason.STOPPED)
    chosen = strategy.settled(tree)
    paths = candidates(tree, chosen.aggregation)
    vote = decide_by_text(paths, chosen.vote, run.answers.kind)
    found = voted_fields(paths, vote, pinned=pinned)
    if found["answer"] is None and not found["text"]:
        found["text"] = furthest_text(tree)
    return Solution(
        **found,
        problem_id=run.problem.id,
        question=run.problem.question,
        stop_reason=StopReason.USER,
        usage=run.usage,
        seed=seed,
        strategy=strategy_to_dict(strategy),
        model=model,
        reading=run.reading(vote),
        tree=tree,
    )
