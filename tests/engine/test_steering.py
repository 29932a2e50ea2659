"""Steering a search by hand, on scripted models whose trees are known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

import ramify
from ramify.engine.run import Run
from ramify.errors import UsageError
from ramify.events import BudgetChanged, NodeAdded, NodePinned, RunPaused, RunResumed
from ramify.search.node import NodeState, PruneReason
from ramify.search.registry import make_strategy, strategy_names, strategy_option_names
from ramify.testing import ScriptedModel, ScriptedReward, ScriptedStep

from .virtual_time import in_virtual_time


def chain(question: str, path: tuple[int, ...]) -> str:
    """Every path has three steps; its first child number is its answer."""
    return f"step {path}\n" if len(path) < 3 else f"The answer is {path[0]}."


@asynccontextmanager
async def paused_run(width: int = 2, **options: object) -> AsyncIterator[tuple[Run, ScriptedModel]]:
    """A majority search that stands still after its first steps."""
    model = ScriptedModel(chain)
    async with (
        ramify.Engine(model=model, reward=None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=width), **options) as run,  # type: ignore[arg-type]
    ):
        run.pause()
        run.step()
        await settle(run)
        yield run, model


async def settle(run: Run) -> None:
    """Wait until nothing more happens by itself."""
    for _ in range(50):
        await anyio.sleep(0)
        await anyio.lowlevel.checkpoint()
    await anyio.sleep(0.02)


async def test_a_paused_run_goes_one_round_at_a_time() -> None:
    async with paused_run() as (run, _):
        assert [node.depth for node in run.tree.open_leaves()] == [1, 1]
        await settle(run)
        assert len(run.tree) == 3
        run.step()
        await settle(run)
        assert [node.depth for node in run.tree.open_leaves()] == [2, 2]
        run.resume()
        solution = await run.result()
        events = [event async for event in run]
    assert sorted(each.answer or "" for each in solution.candidates) == ["0", "1"]
    assert sum(isinstance(event, RunPaused) for event in events) == 1
    assert sum(isinstance(event, RunResumed) for event in events) == 1


async def test_a_step_needs_a_paused_run() -> None:
    async with paused_run() as (run, _):
        run.resume()
        with pytest.raises(UsageError, match="not paused"):
            run.step()
        await run.result()


async def test_a_paused_run_can_be_stopped() -> None:
    async with paused_run() as (run, _):
        run.stop()
        solution = await run.result()
    assert solution.stop_reason == "user"
    assert solution.answer is None


async def test_a_pruned_subtree_does_not_go_on() -> None:
    async with paused_run() as (run, _):
        run.prune(1)
        run.resume()
        solution = await run.result()
        assert run.tree.node(1).prune_reason is PruneReason.USER
    assert [each.answer for each in solution.candidates] == ["1"]


async def test_a_step_in_the_making_is_pruned_when_it_is_there() -> None:
    model = ScriptedModel(chain, delay_s=0.02)
    async with (
        ramify.Engine(model=model, reward=None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=2)) as run,
    ):
        while run.tree.pending_count < 2:
            await anyio.sleep(0)
        run.prune(2)
        assert run.tree.node(2).state is NodeState.PENDING
        solution = await run.result()
    assert solution.tree is not None
    assert solution.tree.node(2).prune_reason is PruneReason.USER
    assert [each.answer for each in solution.candidates] == ["0"]
    assert solution.usage.policy.generated_tokens == solution.tree.generated_tokens


async def test_more_children_by_hand() -> None:
    async with paused_run() as (run, _):
        run.expand(1, 3)
        run.resume()
        await run.result()
        assert run.tree.child_count(1) == 3
        assert run.tree.finished_count == 4


async def test_an_edited_step_is_a_sibling_that_the_search_goes_on_from() -> None:
    async with paused_run(width=1) as (run, model):
        added = run.edit(1, "another step")
        run.resume()
        solution = await run.result()
        node = run.tree.node(added)
        assert (node.parent, node.origin, node.text, node.token_count) == (0, "hand", "another step\n", 0)
        assert run.tree.path_text(run.tree.finished_nodes()[-1].id).startswith("another step\n")
        assert [each.node for each in model.adopted] == [added]
    assert solution.usage.policy.generated_tokens == run.tree.generated_tokens


async def test_an_edited_step_with_an_answer_finishes() -> None:
    async with paused_run(width=1) as (run, _):
        added = run.edit(1, "The answer is 77.")
        assert run.tree.node(added).state is NodeState.FINISHED
        run.pin(added)
        run.resume()
        solution = await run.result()
    assert solution.answer == "77"


async def test_an_edited_step_is_scored_like_any_other() -> None:
    reward = ramify.testing.ScriptedReward(lambda question, steps: 0.9 if "hand" in steps[0] else 0.2)
    async with (
        ramify.Engine(model=ScriptedModel(chain), reward=reward) as engine,
        engine.run("q", strategy=ramify.Rebase(width=2)) as run,
    ):
        run.pause()
        run.step()
        await settle(run)
        added = run.edit(1, "by hand")
        run.resume()
        await run.result()
        assert run.tree.node(added).score == 0.9
        assert any(node.path[:1] == (2,) for node in run.tree.finished_nodes())


async def test_a_pinned_path_wins_over_the_vote() -> None:
    async with paused_run(width=3) as (run, _):
        run.resume()
        while run.tree.finished_count < 3:
            await anyio.sleep(0)
        last = run.tree.finished_nodes()[-1]
        run.pin(last.id)
        solution = await run.result()
        events = [event async for event in run]
    assert solution.answer == last.answer == "2"
    assert NodePinned(node=last.id) in events


async def test_a_raised_budget_lets_the_search_go_on() -> None:
    small = ramify.Budget(nodes=3)
    async with paused_run(budget=small) as (run, _):
        larger = ramify.Budget(nodes=20)
        run.set_budget(larger)
        assert run.budget == larger
        run.resume()
        solution = await run.result()
        events = [event async for event in run]
    assert solution.stop_reason == "completed"
    assert BudgetChanged(budget=larger) in events


@in_virtual_time
async def test_a_later_deadline_is_kept() -> None:
    model = ScriptedModel(chain, delay_s=0.05)
    async with (
        ramify.Engine(model=model, reward=None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=2), budget=ramify.Budget(seconds=0.1)) as run,
    ):
        run.set_budget(ramify.Budget(seconds=60))
        solution = await run.result()
    assert solution.stop_reason == "completed"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda run: run.prune(0), "node 0 is the question"),
        (lambda run: run.prune(99), "no node 99"),
        (lambda run: run.expand(1, 0), "0 children"),
        (lambda run: run.expand(99, 1), "no node 99"),
        (lambda run: run.edit(0, "x"), "no open step above"),
        (lambda run: run.edit(1, " \n"), "empty"),
        (lambda run: run.pin(1), "has no answer"),
    ],
)
async def test_what_cannot_be_done_is_said(act: object, message: str) -> None:
    async with paused_run() as (run, _):
        with pytest.raises(UsageError, match=message):
            act(run)  # type: ignore[operator]
        run.stop()
        await run.result()
        with pytest.raises(UsageError, match=r"ended|ending"):
            run.pin(None)


def talkative(question: str, path: tuple[int, ...]) -> ScriptedStep:
    """Three of the children of the first path end at once, all others go on to their fifth step."""
    if path[0] == 0 and len(path) == 2 and path[1] < 3:
        return ScriptedStep(text=f"The answer is {path[1]}.", end=True)
    return ScriptedStep(text="The answer is 7." if len(path) > 4 else f"more {path}\n", end=len(path) > 4)


@pytest.mark.parametrize("count", [1, 4, 9])
@pytest.mark.parametrize("name", sorted({*strategy_names()} - {"refine"}))
@in_virtual_time
async def test_added_children_never_break_a_strategy(name: str, count: int) -> None:
    reward = ScriptedReward(lambda question, steps: 0.9 if steps[-1].startswith("more") else 0.5)
    given = {"children": 2} if "children" in strategy_option_names(name) else {}
    sized = {"width": 4} if "width" in strategy_option_names(name) else {}
    async with ramify.Engine(ScriptedModel(talkative, delay_s=0.02), reward) as engine:
        async with engine.run("q", strategy=make_strategy(name, **sized, **given)) as run:
            async for event in run:
                if isinstance(event, NodeAdded) and event.node == 1:
                    run.expand(1, count)
                    run.edit(1, "mine\n")
            solution = await run.result()
    assert solution.answer is not None and solution.stop_reason == "completed"


class GoesOnAfterAnswers(ScriptedModel):
    """Paths end where their text does, as those of other models' files."""

    ends_at_answer = False


async def test_a_path_that_was_pruned_by_hand_gives_no_answer() -> None:
    model = GoesOnAfterAnswers(lambda _, path: "The answer is 12.\nBut wait\n" if path[0] == 0 else "hmm\n")
    async with (
        ramify.Engine(model=model, reward=None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=2), answer="number") as run,
    ):
        run.pause()
        run.step()
        await settle(run)
        run.prune(1)
        run.stop()
        solution = await run.result()
    assert (solution.answer, solution.candidates) == (None, ())


@pytest.mark.parametrize("tokens", [1500, 600])
async def test_children_asked_for_while_steps_hold_the_budget_are_written_later(tokens: int) -> None:
    model = ScriptedModel(lambda _, path: "on\n" if len(path) < 6 else f"The answer is {path[0]}.", delay_s=0.01)
    async with (
        ramify.Engine(model=model, reward=None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=4), budget=ramify.Budget(generated_tokens=tokens)) as run,
    ):
        while run.tree.depth < 2 or not run.tree.pending_count:
            await anyio.sleep(0)
        run.expand(1, 3)
        await run.result()
    assert run.tree.child_count(1) == 4


async def test_a_step_pruned_in_flight_stays_pruned_when_the_search_goes_on() -> None:
    model = ScriptedModel(chain, delay_s=0.02)
    strategy = ramify.MajorityVote(width=2)
    async with ramify.Engine(model=model, reward=None) as engine:
        async with engine.run("q", strategy=strategy) as run:
            while run.tree.pending_count < 2:
                await anyio.sleep(0)
            run.prune(2)
            run.stop()
            stopped = await run.result()
        solution = await engine.solve("q", strategy=strategy, tree=stopped.tree)
    assert [each.answer for each in solution.candidates] == ["0"]
    assert solution.tree is not None and solution.tree.node(2).prune_reason is PruneReason.USER


@pytest.mark.parametrize("strategy", [ramify.MajorityVote(width=1), ramify.Refine(width=1, revisions=0)])
async def test_a_path_pruned_while_its_tool_runs_stays_pruned(strategy: ramify.Strategy) -> None:
    started = anyio.Event()
    go_on = anyio.Event()

    @ramify.tool
    async def slow(x: int) -> str:
        """Return x.

        Args:
            x: a number.
        """
        started.set()
        await go_on.wait()
        return str(x)

    call = '<tool_call>\n{"name": "slow", "arguments": {"x": 3}}\n</tool_call>'
    model = ScriptedModel(lambda _, path: ScriptedStep(text=call, end=True) if len(path) == 1 else "The answer is 7.")
    async with (
        ramify.Engine(model=model, reward=None) as engine,
        engine.run("q", strategy=strategy, tools=[slow]) as run,
    ):
        await started.wait()
        run.prune(1)
        go_on.set()
        solution = await run.result()
    assert solution.answer is None
    assert run.tree.node(2).prune_reason is PruneReason.USER


async def test_a_run_that_has_ended_cannot_be_steered() -> None:
    async with (
        ramify.Engine(model=ScriptedModel(chain), reward=None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=2)) as run,
    ):
        solution = await run.result()
        assert solution.tree is not None
        before = solution.tree.to_dict()
        run.pause()
        run.resume()
        assert not run.paused
        for steer in (lambda: run.prune(1), lambda: run.expand(1, 1), lambda: run.edit(1, "x"), lambda: run.pin(5)):
            with pytest.raises(UsageError):
                steer()
    assert solution.tree.to_dict() == before
