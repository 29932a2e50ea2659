"""Thoughts under control: limits, extensions, probes, and replies from what is kept back of a budget."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import ramify
from ramify.answers.thoughts import ThoughtMarks
from ramify.engine.testing import ScriptedModel, ScriptedStep
from ramify.errors import UsageError
from ramify.search.node import NodeState, Origin

MARKS = ThoughtMarks("<think>", "</think>", opened=True)
THOUGHT = "one two three four.\n"
STRATEGIES = [ramify.Greedy(), ramify.MajorityVote(width=3), ramify.Rebase(width=2)]


class Thinker(ScriptedModel):
    """A scripted model that thinks; its prompt opens the thought."""

    thoughts = MARKS
    ends_at_answer = False
    answer_kind = check = None
    keeps_thinking = True

    async def open_as(self, question: str, kind: object) -> object:
        return await self.open(question)


def thinking(steps: int) -> Callable[[str, tuple[int, ...]], ScriptedStep]:
    """Return a script that thinks so many steps, closes the thought and answers; after a forced end it answers too."""

    def write(question: str, path: tuple[int, ...]) -> ScriptedStep:
        if len(path) < steps:
            return ScriptedStep(text=THOUGHT, end=False)
        if len(path) == steps:
            return ScriptedStep(text="done.\n</think>\n\n", end=False)
        return ScriptedStep(text=r"It is \boxed{4}.", end=True)

    return write


async def solved(
    model: ScriptedModel, strategy: ramify.Strategy | str = "greedy", **options: object
) -> ramify.Solution:
    rewarded = isinstance(strategy, ramify.Strategy) and strategy.uses_reward
    async with ramify.Engine(model, (lambda question, steps: 0.9) if rewarded else None) as engine:
        return await engine.solve("How many?", strategy=strategy, **options)


def texts(solution: ramify.Solution) -> list[tuple[Origin, str]]:
    assert solution.tree is not None
    return [(node.origin, node.text) for node in solution.tree if node.parent is not None]


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_thought_ends_at_its_limit_and_the_reply_follows(strategy: ramify.Strategy) -> None:
    def write(question: str, path: tuple[int, ...]) -> ScriptedStep:
        return (
            ScriptedStep(text=r"It is \boxed{4}.", end=True) if len(path) > 3 else ScriptedStep(text=THOUGHT, end=False)
        )

    solution = await solved(Thinker(write), strategy, max_thinking_tokens=8, seed=1)
    assert solution.answer == "4"
    assert solution.text == THOUGHT * 2 + "</think>\n\n" + r"It is \boxed{4}."
    assert solution.thoughts is not None and solution.thoughts["ended_at_limit"] == len(solution.candidates)
    forced = [node for node in solution.tree or () if node.origin is Origin.FORCED]
    assert all((node.token_count, node.logprob) == (0, 0.0) for node in forced)
    assert solution.usage.policy.generated_tokens == sum(c.generated_tokens for c in solution.candidates)


async def test_a_thought_that_ends_by_itself_is_left_alone() -> None:
    model = Thinker(thinking(2))
    solution = await solved(model, max_thinking_tokens=100)
    assert solution.answer == "4" and Origin.FORCED not in [origin for origin, _ in texts(solution)]
    assert solution.thoughts == {
        "ended_by_model": 1,
        "ended_at_limit": 0,
        "ended_by_probes": 0,
        "probes": 0,
        "probe_tokens": 0,
        "saved_tokens": 0,
    }
    assert (await solved(Thinker(thinking(2)))).thoughts is None


async def test_a_mark_in_the_reply_ends_no_second_thought() -> None:
    def write(question: str, path: tuple[int, ...]) -> ScriptedStep:
        if len(path) > 4:
            return ScriptedStep(text=r"It is \boxed{4}.", end=True)
        text = "So.\n</think>\n\n" if len(path) == 4 else THOUGHT
        return ScriptedStep(text=text, end=False)

    solution = await solved(Thinker(write), max_thinking_tokens=8)
    assert solution.text.count("</think>") == 2 and solution.thoughts is not None
    assert (solution.thoughts["ended_by_model"], solution.thoughts["ended_at_limit"]) == (0, 1)


async def test_a_thought_goes_on_with_wait_where_the_model_would_end_it() -> None:
    def write(question: str, path: tuple[int, ...]) -> ScriptedStep:
        if len(path) > 5:
            return ScriptedStep(text=r"It is \boxed{4}.", end=True)
        return ScriptedStep(text=" hm.\n</think>\n\n", end=False)

    solution = await solved(Thinker(write), thinking_extend=2)
    assert solution.text == " hm.\nWait hm.\nWait hm.\n</think>\n\n" + r"It is \boxed{4}."
    assert [text for origin, text in texts(solution) if origin is Origin.FORCED] == ["Wait", "Wait"]


@pytest.mark.parametrize(
    ("sure", "steps"), [([1, 1, 1, 1, 1, 1], 2), ([0, 0, 1, 1, 1, 1], 4), ([1, 0, 1, 0, 1, 1], 6), ([0] * 6, 7)]
)
async def test_probes_that_agree_end_a_thought(sure: list[int], steps: int) -> None:
    def probe(path: tuple[int, ...]) -> tuple[str, float]:
        return " 4.\n", -0.01 if sure[len(path) - 1] else -5.0

    def write(question: str, path: tuple[int, ...]) -> ScriptedStep:
        if len(path) <= min(steps, 6):
            return ScriptedStep(text=THOUGHT, end=False)
        if steps == 7 and len(path) == 7:
            return ScriptedStep(text="</think>\n\n", end=False)
        return ScriptedStep(text=r"It is \boxed{4}.", end=True)

    model = Thinker(write, probes=probe)
    for strategy in (ramify.Greedy(), ramify.Rebase(width=1)):
        solution = await solved(model, strategy, thinking_probes=2, max_path_tokens=4096)
        assert solution.text.count(THOUGHT) == min(steps, 6) and solution.answer == "4"
        assert solution.thoughts is not None
        probes = min(steps, 6)
        assert (solution.thoughts["ended_by_probes"], solution.thoughts["probes"]) == (int(steps < 7), probes)
        assert solution.usage.policy.probe_tokens == solution.thoughts["probe_tokens"] == 2 * probes
        own = sum(node.token_count for node in solution.tree or ())
        assert solution.usage.policy.generated_tokens == own + 2 * probes


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_budget_that_ends_in_a_thought_leaves_a_reply(strategy: ramify.Strategy) -> None:
    trees = list[ramify.SearchTree]()

    def write(question: str, path: tuple[int, ...]) -> ScriptedStep:
        above = next((node.id for node in trees[0] if node.path == path[:-1]), None)
        closed = above is not None and "</think>" in trees[0].path_text(above)
        return ScriptedStep(text=r"It is \boxed{4}.", end=True) if closed else ScriptedStep(text=THOUGHT * 3, end=False)

    reward = (lambda question, steps: 0.9) if strategy.uses_reward else None
    budget = ramify.Budget(generated_tokens=100)
    async with ramify.Engine(Thinker(write), reward) as engine:
        async with engine.run("How many?", strategy=strategy, budget=budget, max_path_tokens=4096) as run:
            trees.append(run.tree)
            solution = await run.result()
    assert solution.answer == "4" and solution.stop_reason == "budget_generated_tokens"
    assert solution.usage.policy.generated_tokens <= 100
    tree = solution.tree
    assert tree is not None and all(node.state is not NodeState.PENDING for node in tree)
    if any(node.origin is Origin.RESCUE for node in tree):
        again = tree.restarted()
        assert not any(node.origin in (Origin.RESCUE, Origin.FORCED) for node in again)


async def test_what_cannot_be_done_is_refused_before_the_search() -> None:
    plain = ScriptedModel(lambda question, path: r"\boxed{4}")
    for option in ({"max_thinking_tokens": 9}, {"thinking_extend": 1}, {"thinking_probes": 2}):
        with pytest.raises(UsageError, match="does not think"):
            await solved(plain, **option)
    model = Thinker(thinking(2))
    model.keeps_thinking = False
    with pytest.raises(UsageError, match="do not end with one token"):
        await solved(model, thinking_extend=1)
    for option in ({"max_thinking_tokens": 0}, {"thinking_extend": -1}, {"max_thinking_tokens": 1024}):
        with pytest.raises(UsageError, match=r"thinking|thought"):
            await solved(model, **option)
