"""Combinations of rewards: their grammar, their values, and a search with one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.engine.engine import Engine
from ramify.errors import UsageError
from ramify.reward.algebra import (
    MAX_DEPTH,
    MAX_PARTS,
    Combination,
    Extreme,
    Part,
    Product,
    Weighted,
    highest,
    lowest,
    parts_of,
    product,
    read_combination,
    reward,
    total,
    value_of,
)
from ramify.reward.arithmetic_reward import ArithmeticReward
from ramify.reward.callable import CallableReward
from ramify.reward.combined import CombinedReward
from ramify.reward.protocol import ScoredStep, ScoreUsage
from ramify.search.strategies.rebase import Rebase
from ramify.search.tree import SearchTree
from ramify.testing import ScriptedModel

A, B, C = Part("a"), Part("b"), Part("c")

READ: dict[str, Combination] = {
    "a": A,
    "a * b": Product((A, B)),
    "a * b * c": Product((A, B, C)),
    "min(a, b)": Extreme((A, B)),
    "max(a,b)": Extreme((A, B), highest=True),
    "0.7*a + 0.3*b": Weighted(((0.7, A), (0.3, B))),
    "0.7 * a + b": Weighted(((0.7, A), (1.0, B))),
    "a + b * c": Weighted(((1.0, A), (1.0, Product((B, C))))),
    "(a + b) * c": Product((Weighted(((1.0, A), (1.0, B))), C)),
    "min(a * b, c)": Extreme((Product((A, B)), C)),
    "2*a": Weighted(((2.0, A),)),
    "'x * y.gguf' * b": Product((Part("x * y.gguf"), B)),
    "mean-logprob:/m/my model.gguf * arithmetic": Product((Part("mean-logprob:/m/my model.gguf"), Part("arithmetic"))),
    "openai:http://localhost:1/v1#m * noisy:1:b": Product((Part("openai:http://localhost:1/v1#m"), Part("noisy:1:b"))),
    "a*b": Part("a*b"),
    "models/a+b.gguf": Part("models/a+b.gguf"),
}


@pytest.mark.parametrize("text", READ)
def test_texts_mean_combinations(text: str) -> None:
    assert read_combination(text) == READ[text]


@pytest.mark.parametrize(
    "text",
    ["a * ", "min(a", "min()", "min(a,)", "(a", "(a)b", "(" * 50 + "a" + ")" * 50, " * ".join("a" * (MAX_PARTS + 1)),
     "'a * b", "0.5*"],
)  # fmt: skip
def test_malformed_texts_get_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"^the reward .*(malformed: |parts; )"):
        read_combination(text)


PARTS = st.sampled_from([A, B, C, Part("mean-logprob:demo-l"), Part("x * y"), Part("min(")])


def _larger(inner: st.SearchStrategy[Combination]) -> st.SearchStrategy[Combination]:
    several = st.lists(inner, min_size=2, max_size=3)
    weights = st.sampled_from([0.5, 1.0, 2.0, -1.5, 1e-3])
    return st.one_of(
        several.map(lambda parts: product(*parts)),
        several.map(lambda parts: lowest(*parts)),
        several.map(lambda parts: highest(*parts)),
        st.lists(st.tuples(weights, inner), min_size=2, max_size=3).map(lambda terms: Weighted(tuple(terms))),
        several.map(lambda parts: total(*parts)),
    )


def _depth(combination: Combination) -> int:
    if isinstance(combination, Part):
        return 0
    below = [part for _, part in combination.terms] if isinstance(combination, Weighted) else combination.parts
    return 1 + max(map(_depth, below))


@given(st.recursive(PARTS, _larger, max_leaves=MAX_PARTS))
def test_a_combination_is_its_text(combination: Combination) -> None:
    if _depth(combination) <= MAX_DEPTH // 2 and len(list(parts_of(combination))) <= MAX_PARTS:
        scores = {str(part): 0.05 * (number + 1) for number, part in enumerate(parts_of(combination))}

        def score(part: Part) -> float:
            return scores[str(part)]

        again = read_combination(str(combination))
        assert math.isclose(value_of(again, score), value_of(combination, score), abs_tol=1e-9)
        assert 0 <= value_of(combination, score) <= 1


def test_values_are_those_of_the_formulas() -> None:
    scores = {"a": 0.8, "b": 0.5, "c": 0.1}

    def value(combination: Combination) -> float:
        return value_of(combination, lambda part: scores[str(part)])

    assert value(A * B) == pytest.approx(0.4)
    assert value(lowest(A, B)) == 0.5 and value(highest(A, C)) == 0.8
    assert value(A + B) == pytest.approx(0.8)
    assert value(0.5 * A + 0.5 * A) == pytest.approx(0.8)
    assert value(2.0 * C) == pytest.approx(1 / (1 + 81))
    assert value_of(A * B, lambda part: 0.0) == 0.0
    assert 0 < value_of(A + B, lambda part: 0.0) < 1e-9


def test_python_signs_make_what_the_text_means() -> None:
    made = (0.7 * reward("a") + 0.3 * reward("b")) * reward("c")
    assert made == read_combination("(0.7*a + 0.3*b) * c")


class Counting:
    """A reward of `parameters` weights that gives `score` and reads two tokens a step."""

    def __init__(self, name: str, score: float, parameters: int) -> None:
        self.name, self.parameters = name, parameters
        self.value = score
        self.usage = ScoreUsage()
        self.opened = 0

    async def open(self, question: str) -> Counting:
        self.opened += 1
        return self

    async def score(self, steps: list[ScoredStep]) -> list[float]:
        self.usage += ScoreUsage(evaluated_tokens=2 * len(steps))
        return [self.value] * len(steps)

    async def release(self, nodes: list[int]) -> None: ...

    async def close(self) -> None:
        self.opened -= 1


async def test_each_part_is_metered_and_kept() -> None:
    small, large = Counting("small", 0.5, 10), Counting("large", 0.9, 1000)
    combined = CombinedReward(reward(small) * reward(large) * reward(small), [small, large, small])
    assert combined.name == "small * large * small" and combined.parameters == 1010
    session = await combined.open("?")
    assert await session.score([ScoredStep(node=1, parent=None, path=("x",))]) == [pytest.approx(0.225)]
    assert session.scores_of(1) == {"small #1": 0.5, "large": 0.9, "small #2": 0.5}
    assert session.usage.evaluated_tokens == 4
    assert session.usage.flops == 2 * (2 * 10 + 2 * 1000)
    await session.release([1])
    assert session.scores_of(1) == {}
    await session.close()
    assert (small.opened, large.opened) == (0, 0)


async def test_a_part_that_cannot_be_opened_closes_the_others() -> None:
    class Failing(Counting):
        async def open(self, question: str) -> Counting:
            raise UsageError("no")

    first = Counting("first", 0.5, 1)
    with pytest.raises(UsageError):
        await CombinedReward(A * B, [first, Failing("second", 0.5, 1)]).open("?")
    assert first.opened == 0


async def test_a_search_keeps_the_scores_of_the_parts() -> None:
    def text(question: str, path: tuple[int, ...]) -> str:
        return ("2 + 3 = 5.\n", "2 + 3 = 6.\n")[path[0] % 2] if len(path) == 1 else "The answer is 5."

    half = CallableReward(lambda question, steps: 0.5, name="half")
    async with Engine(model=ScriptedModel(text), reward=reward(half) * reward(ArithmeticReward())) as engine:
        solution = await engine.solve("2 + 3?", strategy=Rebase(width=4))
    assert solution.tree is not None
    scored = {node.text: node.scores for node in solution.tree if node.score is not None}
    assert scored["2 + 3 = 5.\n"] == {"half": 0.5, "arithmetic": 1.0}
    assert scored["2 + 3 = 6.\n"] == {"half": 0.5, "arithmetic": 0.02}
    again = SearchTree.from_dict(solution.tree.to_dict())
    assert [node.scores for node in again] == [node.scores for node in solution.tree]
