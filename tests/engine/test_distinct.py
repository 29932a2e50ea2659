"""Equal paths are scored once, whichever nodes hold them and however long these live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

import ramify
from ramify.engine.control import scoring
from ramify.engine.control.scoring import DistinctSession
from ramify.errors import RewardContextExceeded, RewardError
from ramify.events import BudgetUsed
from ramify.reward.protocol import ScoredStep, ScoreUsage
from ramify.search.node import NodeState
from ramify.testing import ScriptedModel, ScriptedReward


class Inner:
    """A session that notes what it is asked; a path's score is made of its text, and it reads a token a letter."""

    def __init__(self) -> None:
        self.asked: list[ScoredStep] = []
        self.released: list[int] = []
        self.usage = ScoreUsage()
        self.limit = 100

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        long = [step.node for step in steps if len("".join(step.path)) > self.limit]
        if long:
            raise RewardContextExceeded(nodes=long, tokens=self.limit + 1, limit=self.limit)
        self.asked += steps
        self.usage += ScoreUsage(evaluated_tokens=sum(len(step.path[-1]) for step in steps))
        return [Random("".join(step.path)).random() for step in steps]

    async def release(self, nodes: Sequence[int]) -> None:
        self.released += nodes

    async def close(self) -> None: ...


class Reward:
    """Sessions are `Inner`; the last one is kept."""

    name = "letters"
    parameters = 1000

    async def open(self, question: str) -> Inner:
        self.inner = Inner()
        return self.inner


def step(node: int, parent: int | None, *path: str, tokens: tuple[tuple[int, ...], ...] = ()) -> ScoredStep:
    return ScoredStep(node=node, parent=parent, path=path, tokens=tokens)


async def test_twins_stand_on_one_node() -> None:
    inner = Inner()
    session = DistinctSession(inner)
    first = await session.score([step(1, None, "a"), step(2, None, "b"), step(3, None, "a")])
    assert first[0] == first[2] != first[1]
    second = await session.score([step(4, None, "a"), step(5, 3, "a", "x"), step(6, 1, "a", "x"), step(7, 4, "a", "y")])
    assert second[0] == first[0]
    assert second[1] == second[2] != second[3]
    assert [(each.node, each.parent) for each in inner.asked] == [(1, None), (2, None), (5, 1), (7, 1)]
    assert session.usage.evaluated_tokens == 4


async def test_a_path_is_kept_until_the_last_of_its_nodes_is_released() -> None:
    inner = Inner()
    session = DistinctSession(inner)
    await session.score([step(1, None, "a"), step(2, None, "a"), step(3, None, "b")])
    await session.release([1, 3])
    await session.release([1])
    assert inner.released == [3]
    await session.score([step(4, 2, "a", "x"), step(5, None, "a")])
    assert (inner.asked[-1].node, inner.asked[-1].parent) == (4, 1)
    await session.release([2])
    assert inner.released == [3]
    await session.release([5, 9])
    assert inner.released == [3, 1, 9]


async def test_a_path_that_is_gone_keeps_its_score_and_its_children_stand_above_it() -> None:
    inner = Inner()
    session = DistinctSession(inner)
    known = await session.score([step(1, None, "a"), step(2, 1, "a", "x")])
    await session.release([2])
    assert await session.score([step(3, 1, "a", "x")]) == known[1:]
    assert len(inner.asked) == 2
    await session.score([step(4, 3, "a", "x", "y")])
    assert (inner.asked[-1].node, inner.asked[-1].parent) == (4, 1)
    await session.release([1])
    assert inner.released == [2]
    await session.release([3])
    assert inner.released == [2, 1]


async def test_saved_scores_are_known_and_what_is_below_them_is_asked() -> None:
    inner = Inner()
    session = DistinctSession(inner)
    session.know(step(1, None, "a"), 0.25)
    assert await session.score([step(2, None, "a")]) == [0.25]
    await session.score([step(3, 2, "a", "x"), step(4, 1, "a", "y")])
    assert [each.node for each in inner.asked] == [3, 4]


async def test_paths_of_other_tokens_are_no_twins() -> None:
    inner = Inner()
    await DistinctSession(inner).score([step(1, None, "ab", tokens=((1, 2),)), step(2, None, "ab", tokens=((3,),))])
    assert [each.node for each in inner.asked] == [1, 2]


async def test_all_nodes_of_a_long_path_are_named_and_the_others_can_be_asked_again() -> None:
    inner = Inner()
    inner.limit = 3
    session = DistinctSession(inner)
    steps = [step(1, None, "a"), step(2, None, "long"), step(3, None, "a"), step(4, None, "long")]
    with pytest.raises(RewardContextExceeded) as caught:
        await session.score(steps)
    assert caught.value.nodes == (2, 4)
    assert await session.score([steps[0], steps[2]]) == [Random("a").random()] * 2
    assert [each.node for each in inner.asked] == [1]


async def test_a_failure_leaves_nothing_behind() -> None:
    class Broken(Inner):
        async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
            raise RewardError("no", node=1)

    session = DistinctSession(Broken())
    for _ in range(2):
        with pytest.raises(RewardError, match="no"):
            await session.score([step(1, None, "a"), step(2, None, "a")])


def few_words(question: str, path: tuple[int, ...]) -> str:
    random = Random(f"{question}{path}")
    return f"the answer is {random.randint(1, 3)}." if random.random() < 0.25 else f"{random.choice('abc')}\n"


STRATEGIES = [
    ramify.WeightedVote(width=12),
    ramify.Rebase(width=12),
    ramify.BeamSearch(width=8, children=4),
    ramify.MCTS(width=24),
    ramify.ParticleFilter(width=8),
]


class Alone(DistinctSession):
    """Scores every node by itself."""

    async def score(self, steps: Sequence[ScoredStep]) -> list[float]:
        return await self._inner.score(steps)

    async def release(self, nodes: Sequence[int]) -> None:
        await self._inner.release(nodes)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "DistinctSession", Alone)
        yield patch


def nodes_of(solution: ramify.Solution) -> dict[tuple[int, ...], Any]:
    assert solution.tree is not None
    return {node.path: (node.text, node.state, node.score, node.answer) for node in solution.tree}


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: each.name)
async def test_a_search_is_the_same_and_reads_less(strategy: Any, alone: pytest.MonkeyPatch) -> None:
    reward = ScriptedReward(lambda question, path: Random("".join(path)).random())
    async with ramify.Engine(ScriptedModel(few_words), reward) as engine:
        for question in "pqr":
            before = await engine.solve(question, strategy=strategy, budget=ramify.Budget())
            every = list(reward.scored)
            reward.scored.clear()
            alone.undo()
            after = await engine.solve(question, strategy=strategy, budget=ramify.Budget())
            alone.setattr(scoring, "DistinctSession", Alone)
            assert nodes_of(after) == nodes_of(before)
            assert after.answer == before.answer
            assert after.tree is not None
            distinct = {after.tree.path_text(node) for node in every}
            assert len(reward.scored) == len(distinct) < len(every)
            reward.scored.clear()


async def test_what_is_not_read_is_not_paid() -> None:
    reward = Reward()
    budget = ramify.Budget(total_tokens=600)
    async with (
        ramify.Engine(ScriptedModel(few_words), reward) as engine,
        engine.run("q", strategy=ramify.Rebase(width=40), budget=budget) as run,
    ):
        shares = [event.fraction async for event in run if isinstance(event, BudgetUsed)]
        solution = await run.result()
    usage = solution.usage
    scored = sum(node.score is not None for node in run.tree)
    assert len(reward.inner.asked) < scored / 2
    assert shares[-1] == pytest.approx(usage.total_tokens / 600)
    assert usage.total_tokens <= 600


@pytest.mark.parametrize("reward", ["demo-prm", "self-certainty", "mean-logprob:demo-m"])
async def test_on_the_bundled_models(reward: str, alone: pytest.MonkeyPatch) -> None:
    problem = ramify.generate_problems(steps=(4, 4), count=1, seed=5)[0]
    strategy = ramify.WeightedVote(width=16)
    async with ramify.Engine("demo-s", reward, isolation="thread") as engine:
        before = await engine.solve(problem, strategy=strategy)
        alone.undo()
        after = await engine.solve(problem, strategy=strategy)
    old, new = nodes_of(before), nodes_of(after)
    assert {path: node[0] for path, node in new.items()} == {path: node[0] for path, node in old.items()}
    for path, node in new.items():
        assert node[2] == pytest.approx(old[path][2], abs=0.01)
    assert 0 < after.usage.reward.evaluated_tokens < 0.9 * before.usage.reward.evaluated_tokens
    assert after.usage.reward.reevaluated_tokens <= before.usage.reward.reevaluated_tokens


@pytest.mark.parametrize("reward", ["demo-prm", "self-certainty"])
async def test_a_run_that_goes_on_takes_its_tree_s_scores_over(reward: str) -> None:
    problem = ramify.generate_problems(steps=(4, 4), count=1, seed=6)[0]
    async with ramify.Engine("demo-s", reward, isolation="thread") as engine:
        whole = await engine.solve(problem, strategy=ramify.Rebase(width=8))
        part = await engine.solve(problem, strategy=ramify.Rebase(width=8), budget=ramify.Budget(nodes=20))
        assert part.tree is not None
        rest = await engine.solve(problem, strategy=ramify.Rebase(width=8), tree=part.tree)
    assert whole.tree is not None and rest.tree is not None
    assert rest.stop_reason == "completed"
    known = {whole.tree.path_text(node.id): node.score for node in whole.tree if node.state is not NodeState.PRUNED}
    shared = [node for node in rest.tree if node.score is not None and rest.tree.path_text(node.id) in known]
    assert len(shared) > 8
    for node in shared:
        assert node.score == pytest.approx(known[rest.tree.path_text(node.id)], abs=0.01)
    again = (rest.usage.reward.evaluated_tokens + part.usage.reward.evaluated_tokens) / 2
    assert again < whole.usage.reward.evaluated_tokens * 1.5
