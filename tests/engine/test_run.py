"""Runs on the scripted model: exact trees, budgets, stopping and cancellation."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import pytest

from ramify.engine.engine import Engine
from ramify.engine.testing import ScriptedModel, ScriptedStep
from ramify.errors import EngineClosed, UsageError
from ramify.events import AnswerUpdate, BudgetUsed, Event, NodeAdded, NodeScored, RunFinished, RunStarted
from ramify.reward.testing import ScriptedReward
from ramify.search.budget import Budget
from ramify.search.node import FinishReason, NodeState, PruneReason
from ramify.search.registry import make_strategy, strategy_names, strategy_option_names
from ramify.search.stopping import StopReason
from ramify.search.strategies.auto import Auto
from ramify.search.strategies.mcts import MCTS
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.sampling import BestOfN, Greedy, MajorityVote, WeightedVote
from ramify.search.strategy import Strategy
from ramify.solution import Solution

from .virtual_time import in_virtual_time

SCRIPT: Mapping[tuple[int, ...], str] = {
    (0,): "good start\n",
    (1,): "bad start\n",
    (0, 0): "The answer is 4.",
    (0, 1): "go on\n",
    (0, 1, 0): "The answer is 4.",
}
SCORES = {"good start": 0.9, "bad start": 0.1, "go on": 0.8}
FINAL = {("good start", "The answer is 4."): 0.95, ("good start", "go on", "The answer is 4."): 0.7}


def scripted() -> tuple[ScriptedModel, ScriptedReward]:
    return ScriptedModel(SCRIPT), ScriptedReward({**{(key,): value for key, value in SCORES.items()}, **FINAL})


async def solve(model: ScriptedModel, reward: ScriptedReward | None = None, **options: object) -> Solution:
    async with Engine(model, reward) as engine:
        return await engine.solve("What is 2+2?", **options)


async def test_rebase_grows_exactly_the_expected_tree() -> None:
    model, reward = scripted()
    solution = await solve(model, reward, strategy=Rebase(width=2))
    assert solution.tree is not None
    rows = [(node.path, node.state, node.score, node.prune_reason) for node in solution.tree][1:]
    assert rows == [
        ((0,), NodeState.OPEN, 0.9, None),
        ((1,), NodeState.PRUNED, 0.1, PruneReason.ALLOCATION),
        ((0, 0), NodeState.FINISHED, 0.95, None),
        ((0, 1), NodeState.OPEN, 0.8, None),
        ((0, 1, 0), NodeState.FINISHED, 0.7, None),
    ]
    assert solution.answer == "4"
    assert solution.score == 0.95
    assert [(each.answer, each.votes, each.weight) for each in solution.candidates] == [("4", 2, 1.65)] * 2
    assert solution.stop_reason is StopReason.COMPLETED


async def test_generated_tokens_are_the_sum_over_unique_nodes() -> None:
    model, reward = scripted()
    solution = await solve(model, reward, strategy=Rebase(width=2))
    assert solution.tree is not None
    assert solution.usage.policy.generated_tokens == sum(node.token_count for node in solution.tree)
    assert solution.usage.policy.prompt_tokens == 3
    flops = 2 * 1_000_000 * (solution.usage.policy.generated_tokens + 3)
    assert solution.usage.policy.flops == flops


async def test_a_solution_survives_a_round_trip() -> None:
    model, reward = scripted()
    solution = await solve(model, reward, strategy=Rebase(width=2), seed=7)
    again = Solution.from_dict(solution.to_dict(tree=True))
    assert again == solution
    assert again.tree is not None and solution.tree is not None
    assert again.tree.to_dict() == solution.tree.to_dict()
    assert Solution.from_dict(solution.to_dict()).tree is None


async def test_events_tell_the_whole_story() -> None:
    model, reward = scripted()
    async with Engine(model, reward) as engine, engine.run("What is 2+2?", strategy=Rebase(width=2)) as run:
        events = [event async for event in run]
        solution = await run.result()
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished) and events[-1].solution is solution
    added = [event for event in events if isinstance(event, NodeAdded)]
    assert len(added) == len([event for event in events if isinstance(event, NodeScored)]) == 5
    assert [event.answer for event in added if event.state is NodeState.FINISHED] == ["4", "4"]
    assert [event.answer for event in events if isinstance(event, AnswerUpdate)] == ["4", "4"]
    assert any(isinstance(event, BudgetUsed) for event in events)


def chain(question: str, path: tuple[int, ...]) -> str:
    """Three steps, then an answer that depends on the chain."""
    return f"The answer is {path[0] % 3}." if len(path) == 3 else f"step {len(path)} of {path[0]}\n"


@pytest.mark.parametrize("strategy", [MajorityVote(width=7), WeightedVote(width=7), BestOfN(width=7), Greedy()])
async def test_sampling_strategies_finish_every_chain(strategy: MajorityVote | WeightedVote | BestOfN | Greedy) -> None:
    reward = ScriptedReward(lambda question, path: 0.5 + 0.1 * path[0].endswith("5\n"))
    solution = await solve(ScriptedModel(chain), reward, strategy=strategy)
    assert len(solution.candidates) == strategy.width
    best = {"majority": "0", "weighted": "0", "best-of-n": "2", "greedy": "0"}
    assert solution.answer == best[strategy.name]
    assert (solution.score is None) == (not strategy.uses_reward)


async def test_a_strategy_chosen_on_the_way_may_need_no_reward() -> None:
    reward = ScriptedReward(lambda question, path: 0.9)
    auto = Auto(choices=(MajorityVote(width=6), Rebase(width=6)), edges=(0.99,), probe_paths=2)
    solution = await solve(ScriptedModel(chain), reward, strategy=auto)
    assert (len(solution.candidates), solution.stop_reason) == (6, StopReason.COMPLETED)


async def test_a_token_budget_is_never_exceeded_and_still_gives_an_answer() -> None:
    for limit in range(8, 90, 3):
        solution = await solve(
            ScriptedModel(chain), strategy=MajorityVote(width=7), budget=Budget(generated_tokens=limit)
        )
        assert solution.usage.policy.generated_tokens <= limit
        if limit >= 32:
            assert solution.answer == "0", limit


async def test_the_reserve_brings_one_path_to_its_end() -> None:
    def long(question: str, path: tuple[int, ...]) -> str:
        return "one two three four five six seven eight\n" * 2 if len(path) < 2 else "The answer is 9."

    solution = await solve(ScriptedModel(long), strategy=MajorityVote(width=4), budget=Budget(generated_tokens=80))
    assert solution.stop_reason is StopReason.BUDGET_GENERATED_TOKENS
    assert solution.answer == "9"
    assert solution.usage.policy.generated_tokens <= 80


async def test_nothing_finished_means_no_answer_and_no_crash() -> None:
    endless = ScriptedModel(lambda question, path: "on and on\n")
    solution = await solve(endless, strategy=MajorityVote(width=3), budget=Budget(generated_tokens=50))
    assert solution.answer is None and solution.text.startswith("on and on\n") and solution.candidates == ()
    assert solution.stop_reason is StopReason.BUDGET_GENERATED_TOKENS
    assert solution.tree is not None
    assert not [node for node in solution.tree.open_leaves() if node.parent is not None]


async def test_a_path_limit_prunes_what_never_ends() -> None:
    endless = ScriptedModel(lambda question, path: "on and on\n")
    solution = await solve(endless, strategy=MajorityVote(width=2, max_depth=25), max_path_tokens=9, budget=Budget())
    assert solution.stop_reason is StopReason.COMPLETED
    assert solution.tree is not None
    assert {node.prune_reason for node in solution.tree if node.prune_reason} == {PruneReason.PATH_LENGTH}


async def test_a_cut_step_never_yields_an_answer() -> None:
    model = ScriptedModel(lambda question, path: "The answer is 12 34" if len(path) == 1 else "\n")
    solution = await solve(model, strategy=Greedy(max_depth=1), max_step_tokens=4)
    assert solution.tree is not None
    assert solution.tree.node(1).finish_reason is FinishReason.LENGTH
    assert solution.answer is None


async def test_the_end_of_a_path_without_an_answer_does_not_vote() -> None:
    model = ScriptedModel({(0,): ScriptedStep(text="I give up.", end=True), (1,): "The answer is 3."})
    solution = await solve(model, strategy=MajorityVote(width=2))
    assert solution.answer == "3"
    assert [candidate.answer for candidate in solution.candidates] == [None, "3"]
    assert [candidate.votes for candidate in solution.candidates] == [0, 1]


@pytest.mark.parametrize("name", strategy_names())
@in_virtual_time
async def test_a_limit_of_seconds_is_exceeded_by_one_step_at_most(name: str) -> None:
    slow = ScriptedModel(lambda question, path: "on and on\n", delay_s=0.02)
    reward = ScriptedReward(lambda question, steps: 0.5)
    deep = {"max_depth": 10_000} if "max_depth" in strategy_option_names(name) else {}
    solution = await solve(slow, reward, strategy=make_strategy(name, **deep), budget=Budget(seconds=0.1))
    assert solution.stop_reason is StopReason.BUDGET_SECONDS
    assert 0.079 < solution.usage.seconds < 0.121


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_time_limit_that_is_over_at_once_is_no_error(backend: str) -> None:
    budget = Budget(seconds=1e-6)
    solution = anyio.run(lambda: solve(ScriptedModel(chain), strategy=Greedy(), budget=budget), backend=backend)
    assert solution.stop_reason is StopReason.BUDGET_SECONDS


async def test_a_run_of_which_a_limit_cut_a_step_says_so() -> None:
    model = ScriptedModel({(0,): "The answer is 7.", (1,): "word " * 60})
    strategy = MajorityVote(width=2)
    solution = await solve(model, strategy=strategy, budget=Budget(generated_tokens=40))
    assert solution.tree is not None and solution.tree.node(2).finish_reason is FinishReason.BUDGET
    assert (solution.answer, solution.stop_reason) == ("7", StopReason.BUDGET_GENERATED_TOKENS)
    assert (await solve(model, strategy=strategy)).stop_reason is StopReason.COMPLETED


async def test_events_are_also_told_in_batches() -> None:
    model, reward = scripted()
    batches = list[list[Event]]()
    async with Engine(model, reward) as engine, engine.run("What is 2+2?", strategy=Rebase(width=2)) as run:
        while events := await run.next_events():
            batches.append(events)
        assert await run.next_events() == []
        solution = await run.result()
    told = [event for events in batches for event in events]
    assert len(batches) < len(told)
    assert isinstance(told[0], RunStarted)
    assert isinstance(told[-1], RunFinished) and told[-1].solution is solution
    assert len([event for event in told if isinstance(event, NodeAdded)]) == 5


async def test_stop_gives_the_best_answer_so_far() -> None:
    def endless_but_first(question: str, path: tuple[int, ...]) -> str:
        return "The answer is 5." if path == (0,) else "on and on\n"

    model = ScriptedModel(endless_but_first, delay_s=0.001)
    async with Engine(model, None) as engine, engine.run("?", strategy=MajorityVote(width=2, max_depth=10_000)) as run:
        async for event in run:
            if isinstance(event, AnswerUpdate):
                run.stop()
        solution = await run.result()
    assert solution.answer == "5"
    assert solution.stop_reason is StopReason.USER


async def test_leaving_the_block_cancels() -> None:
    model = ScriptedModel(lambda question, path: "on and on\n", delay_s=0.001)
    async with Engine(model, None) as engine:
        async with engine.run("?", strategy=MajorityVote(width=2, max_depth=10_000)) as run:
            await anyio.sleep(0.02)
        assert run.finished
        written = len(model.expanded)
        await anyio.sleep(0.02)
        assert len(model.expanded) == written


async def test_errors_come_out_unwrapped() -> None:
    model = ScriptedModel({})
    async with Engine(model, None) as engine:
        with pytest.raises(KeyError):
            await engine.solve("?")
        with pytest.raises(UsageError, match="empty"):
            await engine.solve("  ")
        with pytest.raises(ZeroDivisionError):
            async with engine.run("?"):
                raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        async with Engine(model, None):
            raise ZeroDivisionError


async def test_a_strategy_that_needs_a_reward_says_so() -> None:
    async with Engine(ScriptedModel(chain), None) as engine:
        with pytest.raises(UsageError, match="needs a reward model"):
            await engine.solve("?", strategy=Rebase(width=4))
        assert (await engine.solve("?")).strategy["name"] == "majority"


async def test_a_closed_engine_says_so() -> None:
    engine = Engine(ScriptedModel(chain), None)
    with pytest.raises(EngineClosed):
        await engine.solve("?")
    with pytest.raises(EngineClosed):
        engine.solve_many(["?"])
    with pytest.raises(UsageError, match="isolation"):
        Engine(ScriptedModel(chain), None, isolaton="thread")
    with pytest.raises(UsageError, match="isolation is 'threads'"):
        Engine(ScriptedModel(chain), None, isolation="threads")


async def test_solve_many_solves_each_once_whatever_the_parallelism() -> None:
    async with Engine(ScriptedModel(chain, delay_s=0.0005), None) as engine:
        questions = [f"question {number}" for number in range(9)]
        found = [
            solution async for solution in engine.solve_many(questions, parallel=4, strategy=MajorityVote(width=3))
        ]
    assert sorted(solution.question for solution in found) == questions


async def test_solve_many_can_be_left_early() -> None:
    async with Engine(ScriptedModel(chain, delay_s=0.0005), None) as engine:
        async with engine.solve_many((f"q{number}" for number in range(10_000)), parallel=2) as stream:
            async for _ in stream:
                break
        assert (await engine.solve("once more")).answer == "0"


async def test_a_bad_score_names_the_node() -> None:
    reward = ScriptedReward(lambda question, path: float("nan"))
    async with Engine(ScriptedModel(chain), reward) as engine:
        with pytest.raises(ValueError, match="node 1"):
            await engine.solve("?", strategy=Rebase(width=2))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_runs_on_both_event_loops(backend: str) -> None:
    solution = anyio.run(lambda: solve(*scripted(), strategy=Rebase(width=2)), backend=backend)
    assert solution.answer == "4"


@pytest.mark.parametrize(
    ("strategy", "comes_back"),
    [(MajorityVote(width=3), False), (Rebase(width=4), False), (MCTS(width=4), True)],
)
async def test_steps_that_have_children_are_released_if_the_strategy_never_comes_back(
    strategy: Strategy, comes_back: bool
) -> None:
    model = ScriptedModel(lambda question, path: ["a\n", "b\n", "The answer is 1."][len(path) - 1])
    solution = await solve(model, ScriptedReward(lambda question, steps: 0.5), strategy=strategy)
    assert solution.tree is not None
    inner = {node.id for node in solution.tree if node.id and solution.tree.child_count(node.id)}
    assert inner
    assert bool(inner & {*model.released}) is not comes_back
    assert comes_back or inner <= {*model.released}
    assert len({*model.released}) == len(model.released)
