"""Solutions of runs that cannot be waited for."""

from __future__ import annotations

import pytest

import ramify
from ramify.engine.interrupts import as_it_stands
from ramify.engine.run import Run
from ramify.events import AnswerUpdate
from ramify.search.node import NodeState, PruneReason
from ramify.search.strategy import Strategy
from ramify.testing import ScriptedModel


def chain(question: str, path: tuple[int, ...]) -> str:
    """The first two paths end at once, the others take three steps."""
    return "The answer is 7." if path[0] < 2 or len(path) == 3 else f"step {path}\n"


async def first_answers(run: Run) -> None:
    """Let the two short paths finish, and pause."""
    seen = 0
    async for event in run:
        seen += isinstance(event, AnswerUpdate)
        if seen == 2:
            run.pause()
            return


@pytest.mark.parametrize(
    ("strategy", "weight"), [(ramify.MajorityVote(width=4), 2.0), (ramify.WeightedVote(width=4), 0.5)]
)
async def test_a_run_as_it_stands_says_what_a_finished_one_would(strategy: Strategy, weight: float) -> None:
    async with (
        ramify.Engine(model=ScriptedModel(chain), reward=lambda question, steps: 0.25) as engine,
        engine.run("q", strategy=strategy) as run,
    ):
        await first_answers(run)
        found = as_it_stands(run, strategy, seed=3, model={"policy": "scripted"})
        assert (found.answer, found.text, found.stop_reason, found.seed) == ("7", "The answer is 7.", "user", 3)
        assert [(each.answer, each.votes, each.weight) for each in found.candidates] == [("7", 2, weight)] * 2
        assert found.strategy["name"] == strategy.name and found.strategy["width"] == 4
        assert ramify.Solution.from_dict(found.to_dict(tree=True)) == found
        assert found.tree is not None and found.tree is not run.tree
        assert {node.prune_reason for node in found.tree if node.state is NodeState.PRUNED} <= {PruneReason.STOPPED}
        assert not found.tree.pending_count and not found.tree.open_leaves()
        run.resume()
        assert len((await run.result()).candidates) == 4


async def test_a_pinned_answer_stands_in_a_run_that_is_cut() -> None:
    strategy = ramify.MajorityVote(width=4)
    model = ScriptedModel(lambda question, path: f"The answer is {path[0]}." if path[0] < 2 else "step\n")
    async with ramify.Engine(model=model, reward=None) as engine, engine.run("q", strategy=strategy) as run:
        await first_answers(run)
        pinned = next(node for node in run.tree if node.path == (1,))
        found = as_it_stands(run, strategy, seed=0, model={}, pinned=pinned.id)
        assert (found.answer, found.candidates[0].answer) == ("1", "0")
