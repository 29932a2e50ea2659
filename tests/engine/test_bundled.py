"""The whole path on the bundled models: nothing scripted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

import ramify
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.serve.processes import ProcessWorker
from ramify.events import NodeAdded
from ramify.search.node import NodeState
from ramify.search.stopping import StopReason

PROBLEMS = ramify.generate_problems(steps=(2, 5), count=12, seed=31)


def right(solution: ramify.Solution, problem: ramify.Problem) -> bool:
    assert problem.answer is not None
    return solution.answer is not None and ramify.answers_equal(solution.answer, problem.answer)


async def test_rebase_evaluates_every_token_once_and_finds_answers() -> None:
    async with ramify.Engine() as engine:
        found = [await engine.solve(problem, strategy=ramify.Rebase(width=16)) for problem in PROBLEMS]
    for solution in found:
        assert solution.tree is not None
        usage = solution.usage
        assert usage.policy.reevaluated_tokens == 0
        assert usage.reward.reevaluated_tokens == 0
        assert usage.policy.generated_tokens == solution.tree.generated_tokens
        # Every distinct scored path costs its last step's tokens, and the prompt is read once.
        tree = solution.tree
        scored = {tree.path_text(node.id): node for node in tree if node.score is not None}.values()
        steps = sum(node.token_count for node in scored)
        ends = sum(node.finish_reason == "eos" for node in scored)
        assert usage.reward.prompt_tokens == usage.policy.prompt_tokens + steps - ends
        assert sum(node.state is NodeState.FINISHED for node in solution.tree) <= 16
    # A wrong prompt, a wrong cell or a mixed-up path brings this to about none; how good search is, benchmarks tell.
    assert sum(right(solution, problem) for solution, problem in zip(found, PROBLEMS, strict=True)) >= 4


async def test_the_same_seed_gives_the_same_tree_and_another_seed_another() -> None:
    async with ramify.Engine(isolation="thread") as engine:
        trees = [
            {node.path: node.text for node in solution.tree or ()}
            for solution in [
                await engine.solve(PROBLEMS[0], strategy=ramify.MajorityVote(width=4), seed=seed) for seed in (5, 5, 6)
            ]
        ]
    assert trees[0] == trees[1]
    assert trees[0] != trees[2]


async def test_many_problems_at_once_give_each_its_own_answer() -> None:
    async with ramify.Engine(isolation="thread") as engine:
        together = {
            solution.problem_id: solution
            async for solution in engine.solve_many(PROBLEMS, parallel=6, strategy=ramify.Greedy())
        }
        alone = [await engine.solve(problem, strategy=ramify.Greedy()) for problem in PROBLEMS]
    assert sorted(together) == sorted(problem.id for problem in PROBLEMS)
    same = sum(together[each.problem_id or ""].answer == each.answer for each in alone)
    # Logits are not bit-equal across batch shapes, so a near tie may fall differently; most must agree.
    assert same >= len(alone) - 2


async def test_budgets_hold_on_the_real_model() -> None:
    async with ramify.Engine(isolation="thread") as engine:
        for limit in (40, 150, 400):
            budget = ramify.Budget(generated_tokens=limit)
            solution = await engine.solve(PROBLEMS[1], strategy=ramify.Rebase(width=16), budget=budget)
            assert solution.usage.policy.generated_tokens <= limit
        total = await engine.solve(PROBLEMS[1], budget=ramify.Budget(total_tokens=900))
        assert total.usage.total_tokens <= 900
        nodes = await engine.solve(PROBLEMS[1], budget=ramify.Budget(nodes=10))
        assert nodes.tree is not None and len(nodes.tree) <= 11
        assert nodes.stop_reason is StopReason.BUDGET_NODES


async def test_a_killed_worker_is_replaced_and_the_run_goes_on() -> None:
    async with ramify.Engine(reward=None) as engine:
        policy = engine.policy
        assert isinstance(policy, LlamaPolicy)
        worker = policy.model.runtime.worker
        assert isinstance(worker, ProcessWorker)
        async with engine.run(PROBLEMS[2], strategy=ramify.MajorityVote(width=12), seed=3) as run:
            async for event in run:
                if isinstance(event, NodeAdded) and worker.process.poll() is None:
                    os.kill(worker.process.pid, signal.SIGKILL)
            crashed = await run.result()
        again = await engine.solve(PROBLEMS[2], strategy=ramify.MajorityVote(width=12), seed=3)
    assert worker.process.returncode == -signal.SIGKILL
    assert len(crashed.candidates) == len(again.candidates) == 12
    assert crashed.answer == again.answer


async def test_cancelling_a_run_leaves_the_engine_usable() -> None:
    async with ramify.Engine() as engine:
        for delay_s in (0.0, 0.005, 0.03):
            with anyio.move_on_after(delay_s):
                await engine.solve(PROBLEMS[3], strategy=ramify.Rebase(width=32))
        solution = await engine.solve(PROBLEMS[3], strategy=ramify.Greedy())
        assert solution.stop_reason is StopReason.COMPLETED


async def test_thread_isolation_gives_the_same_answer() -> None:
    async with ramify.Engine(isolation="thread") as engine:
        thread = await engine.solve(PROBLEMS[4], strategy=ramify.MajorityVote(width=8), seed=1)
    async with ramify.Engine() as engine:
        process = await engine.solve(PROBLEMS[4], strategy=ramify.MajorityVote(width=8), seed=1)
    assert thread.answer == process.answer


def test_solve_sync_needs_no_event_loop() -> None:
    solution = ramify.solve_sync(PROBLEMS[5], strategy=ramify.MajorityVote(width=4))
    assert len(solution.candidates) == 4


def test_solve_sync_takes_settings_of_the_engine_and_names_what_it_does_not_know() -> None:
    solution = ramify.solve_sync(PROBLEMS[5], strategy=ramify.Greedy(), threads=1, isolation="thread")
    assert solution.answer is not None
    with pytest.raises(ramify.UsageError, match=r"no option 'thread'.*'threads'"):
        ramify.solve_sync(PROBLEMS[5], thread=1)


async def test_solve_sync_works_inside_a_running_loop() -> None:
    solution = ramify.solve_sync(PROBLEMS[5], strategy=ramify.Greedy())
    assert len(solution.candidates) <= 1


async def test_bad_questions_and_models_are_named(tmp_path: Path) -> None:
    async with ramify.Engine(reward=None, isolation="thread") as engine:
        with pytest.raises(ramify.UsageError, match="empty"):
            await engine.solve(" \n")
        with pytest.raises(ramify.UsageError, match="context holds 512"):
            await engine.solve("plums " * 2000)
        # Text that looks like a special token is text, and any text can be asked.
        odd = await engine.solve("<|end|> \x00 \ud800 漢字 <|assistant|>", strategy=ramify.Greedy())
        assert odd.usage.policy.prompt_tokens > 10
    for reward in ("demo-m", "demo-x", str(tmp_path), str(tmp_path / "none.gguf")):
        with pytest.raises(ramify.ModelLoadError):
            async with ramify.Engine(reward=reward):
                pass


async def test_a_reward_may_be_a_plain_function() -> None:
    async with ramify.Engine(reward=lambda question, steps: 1.0 / (1 + len(steps)), isolation="thread") as engine:
        solution = await engine.solve(PROBLEMS[6], strategy=ramify.WeightedVote(width=4))
    assert solution.usage.reward.prompt_tokens == 0
    assert all(candidate.score is not None for candidate in solution.candidates)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_engine_runs_on_both_event_loops(backend: str) -> None:
    async def solve() -> ramify.Solution:
        async with ramify.Engine(reward=None) as engine:
            return await engine.solve(PROBLEMS[7], strategy=ramify.MajorityVote(width=3))

    assert len(anyio.run(solve, backend=backend).candidates) == 3


async def test_a_step_written_by_hand_is_read_by_the_real_model() -> None:
    problem = ramify.generate_problems(steps=(3, 3), count=1, seed=5)[0]
    async with ramify.Engine() as engine, engine.run(problem, strategy=ramify.MajorityVote(width=1)) as run:
        run.pause()
        run.step()
        while len(run.tree) == 1 or run.tree.pending_count:
            await anyio.sleep(0.01)
        own = run.tree.node(1)
        added = run.edit(own.id, "Sara has 55/5=11 books.")
        run.prune(own.id)
        run.resume()
        solution = await run.result()
    assert solution.usage.policy.reevaluated_tokens == 0
    above = run.tree.path_nodes(run.tree.finished_nodes()[0].id)
    assert [node.id for node in above][:1] == [added]
    # The hand-written tokens were read, and no generated token was paid for them.
    assert solution.usage.policy.generated_tokens == run.tree.generated_tokens
    assert run.tree.node(added).token_count == 0 < run.tree.child_count(added)
