"""Runs of a slow model under a limit of time: the first path comes to its end, then as many as there is time for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from ramify import Budget, Engine
from ramify.engine.control import opening as opening_module
from ramify.engine.control.meter import LEAST_SECONDS, Meter
from ramify.engine.control.opening import Opening
from ramify.engine.runtime.messages import SLOW_PARAMETERS, StepRequest, StepResult
from ramify.engine.runtime.serve.rates import Rates
from ramify.engine.testing import ScriptedSession, _cut
from ramify.search.node import FinishReason, Origin
from ramify.search.registry import make_strategy, strategy_names
from ramify.search.stopping import StopReason
from ramify.search.strategies.auto import Auto
from ramify.search.strategies.rebase import Rebase
from ramify.search.strategies.refine import Refine
from ramify.search.strategies.sampling import Greedy, MajorityVote
from ramify.search.strategies.widening import Widening
from ramify.search.strategy import Ask, Expansion, Strategy
from ramify.search.tree import SearchTree
from ramify.solution import Solution
from ramify.testing import ScriptedModel, ScriptedReward

from .virtual_time import in_virtual_time

STEP_S = 0.05
SAMPLED_STEPS = 24
WORDS = "Tom has 3 apples and buys 4 more. How many apples does he have now?"
FIRST_PATH = [(0,), (0, 0), (0, 0, 0)]


def slow_model(*, parameters: int = 500_000_000) -> ScriptedModel:
    """Three steps a path, each sequence after the other, as on a processor that gains nothing by batching."""

    def script(question: str, path: tuple[int, ...]) -> str:
        return "some more words\n" if len(path) < 3 else f"The answer is {path[0] % 2 + 7}."

    return ScriptedModel(script, parameters=parameters, delay_s=STEP_S)


async def solve(model: ScriptedModel, name: str, width: int, seconds: float) -> Solution:
    async with Engine(model=model, reward=ScriptedReward(lambda question, path: 0.5)) as engine:
        strategy = make_strategy(name, width=width)
        return await engine.solve("How many?", strategy=strategy, budget=Budget(seconds=seconds), seed=3)


@pytest.mark.parametrize(
    "name", ["majority", "weighted", "best-of-n", "rebase", "beam", "dvts", "particle", "mcts", "ab-mcts", "widening"]
)
@in_virtual_time
async def test_a_wide_search_with_little_time_still_answers(name: str) -> None:
    model = slow_model()
    # One step of all paths takes 3.2 s.
    solution = await solve(model, name, 64, 1.0)
    assert solution.answer is not None
    assert solution.stop_reason is StopReason.BUDGET_SECONDS
    assert model.expanded[:3] == FIRST_PATH


@pytest.mark.parametrize("path_tokens", [10**5, 10**14], ids=["wide", "greedy"])
@pytest.mark.parametrize("name", ["majority", "best-of-n", "rebase"])
async def test_a_width_that_opens_after_the_first_path_evaluates_nothing_again(
    name: str, path_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By its length the first path is alone, and greedy, or not; the model is so sure that all paths begin as it did.
    monkeypatch.setattr(opening_module, "SLOW_PARAMETERS", 0)
    monkeypatch.setattr(opening_module, "PATH_TOKENS", path_tokens)
    strategy = make_strategy(name, width=8)
    async with Engine("demo-m", isolation="thread") as engine:
        solution = await engine.solve(WORDS, strategy=strategy, budget=Budget(seconds=1e9), seed=1)
    assert solution.tree is not None and len(solution.candidates) == 8
    alone = [node.path for node in solution.tree][1:3] == [(0,), (0, 0)]
    assert alone == (solution.note is not None) == (path_tokens == 10**14)
    firsts = [node.tokens for node in solution.tree.children(0)]
    assert firsts[0] in firsts[1:]
    assert solution.usage.policy.reevaluated_tokens == solution.usage.reward.reevaluated_tokens == 0


def auto(width: int) -> Auto:
    return Auto(choices=(MajorityVote(width=width), Rebase(width=width)), edges=(0.5,), probe_paths=2)


@pytest.mark.parametrize("seconds", [1e-300, 1e-7, LEAST_SECONDS])
@pytest.mark.parametrize("parameters", [1_000_000, 500_000_000])
@pytest.mark.parametrize("name", [*strategy_names(), "auto"])
async def test_no_step_is_asked_for_when_the_time_is_over(name: str, parameters: int, seconds: float) -> None:
    model = ScriptedModel(lambda question, path: "The answer is 7.", parameters=parameters)
    strategy = auto(4) if name == "auto" else make_strategy(name)
    async with Engine(model=model, reward=ScriptedReward(lambda question, path: 0.5)) as engine:
        solution = await engine.solve("How many?", strategy=strategy, budget=Budget(seconds=seconds))
        assert (model.expanded, solution.answer, solution.stop_reason) == ([], None, StopReason.BUDGET_SECONDS)
        async with engine.run("How many?", strategy=strategy) as run:
            # By hand, before the first step.
            run.pause()
            run.set_budget(Budget(seconds=seconds))
            run.expand(0, 2)
            run.resume()
            solution = await run.result()
    assert (model.expanded, solution.answer, solution.stop_reason) == ([], None, StopReason.BUDGET_SECONDS)


@in_virtual_time
async def test_the_time_that_is_left_goes_into_more_paths() -> None:
    solution = await solve(slow_model(), "majority", 64, 1.5)
    assert len(solution.candidates) > 1
    assert solution.strategy["width"] < 64


@pytest.mark.parametrize("name", ["majority", "weighted", "rebase", "beam"])
@in_virtual_time
async def test_the_first_path_ends_at_the_depth_limit_too(name: str) -> None:
    model = ScriptedModel(lambda question, path: "go on\n", parameters=3_000_000_000, delay_s=0.1)
    async with Engine(model=model, reward=ScriptedReward(lambda question, path: 0.5)) as engine:
        strategy = make_strategy(name, width=4, max_depth=3)
        solution = await engine.solve("How many?", strategy=strategy, budget=Budget(seconds=3))
    assert solution.tree is not None
    assert (solution.tree.depth, solution.tree.child_count(0)) == (3, 4)


@in_virtual_time
async def test_a_width_that_fits_is_searched_as_without_an_opening() -> None:
    opened = await solve(slow_model(), "rebase", 2, 600.0)
    plain = await solve(slow_model(parameters=1_000_000), "rebase", 2, 600.0)
    assert opened.stop_reason is plain.stop_reason is StopReason.COMPLETED
    assert [node.path for node in opened.tree or ()] == [node.path for node in plain.tree or ()]
    assert opened.strategy == plain.strategy


def opening(budget: Budget, width: int = 8, parameters: int = SLOW_PARAMETERS, tree: SearchTree | None = None) -> bool:
    tree = tree or SearchTree()
    strategy = MajorityVote(width=width) if width > 1 else Greedy()
    return not Opening.of(tree, Meter(budget), strategy, parameters).over


def test_only_a_wide_search_of_a_slow_model_with_limited_time_opens_with_one_path() -> None:
    limited = Budget(seconds=10)
    assert opening(limited)
    assert not opening(Budget(generated_tokens=10))
    assert not opening(limited, width=1)
    assert not opening(limited, parameters=SLOW_PARAMETERS - 1)
    begun = SearchTree()
    begun.complete(begun.add_pending(0).id, "a", (1,), None, FinishReason.STEP)
    assert not opening(limited, tree=begun)


@pytest.mark.parametrize(("rates", "more"), [(Rates(), 0), (Rates(prompt_tokens_per_s=30, single_tokens_per_s=20), 7)])
def test_a_prompt_that_took_long_is_read_once_for_all_paths(rates: Rates, more: int) -> None:
    now_s = [0.0]
    tree, meter = SearchTree(), Meter(Budget(seconds=40), clock=lambda: now_s[0])
    meter.start()
    opening = Opening.of(tree, meter, MajorityVote(width=8), SLOW_PARAMETERS, lambda: rates)
    opening.next(lambda: Ask([Expansion(0, 8)]), None)
    node = tree.complete(tree.add_pending(0).id, "The answer is 7.", (1,), None, FinishReason.EOS)
    tree.finish(node.id, "7")
    # 450 tokens of prompt took 15 s, and the 33 of the path 2 s.
    step = {"text": "", "tokens": (), "logprob": None, "finish_reason": FinishReason.EOS}
    meter.written(StepResult(child=node.id, generated_tokens=33, prompt_tokens=450, **step))
    now_s[0] = 17.0
    assert sum(each.children for each in opening.next(lambda: Ask([]), None)) == more


class TalkativeModel(ScriptedModel):
    """Writes three steps at temperature 0, and many when it samples; `greedy` are the paths written at 0."""

    def __init__(self, *, parameters: int = 500_000_000, rates: Rates | None = None) -> None:
        super().__init__(self._written, parameters=parameters, delay_s=STEP_S)
        self.greedy: list[tuple[int, ...]] = []
        self.rates, self.workers = rates, 1

    async def open(self, question: str) -> TalkativeSession:
        return TalkativeSession(self, question)

    def _written(self, question: str, path: tuple[int, ...]) -> str:
        steps = 3 if path[:1] in {each[:1] for each in self.greedy} else SAMPLED_STEPS
        return "some more words\n" if len(path) < steps else f"The answer is {path[0] % 2 + 7}."


class TalkativeSession(ScriptedSession):
    def __init__(self, model: TalkativeModel, question: str) -> None:
        super().__init__(model, question)
        self._greedy = model.greedy

    async def expand(self, requests: Sequence[StepRequest], **options: Any) -> None:
        self._greedy += [each.path for each in requests if each.sampling.temperature == 0.0]
        await super().expand(requests, **options)


@pytest.mark.parametrize("name", sorted({*strategy_names()} - {"greedy", "auto", "refine"}))
@in_virtual_time
async def test_with_time_for_one_path_the_first_is_greedy_and_answers(name: str) -> None:
    model = TalkativeModel()
    solution = await solve(model, name, 16, 1.0)
    assert model.greedy == FIRST_PATH
    assert solution.answer == "7"
    assert solution.note is not None and "greedily" in solution.note
    assert solution.to_dict()["note"] == Solution.from_dict(solution.to_dict()).note == solution.note
    assert solution.tree is not None
    assert [node.path for node in solution.tree if node.origin is Origin.GREEDY] == FIRST_PATH
    assert SearchTree.from_dict(solution.tree.to_dict()).to_dict() == solution.tree.to_dict()


@pytest.mark.parametrize(
    "strategy", [Refine(width=8), Auto(choices=(MajorityVote(width=6), Rebase(width=8)), edges=(0.5,))]
)
@in_virtual_time
async def test_strategies_of_whole_paths_begin_greedily_too(strategy: Strategy) -> None:
    model = TalkativeModel()
    async with Engine(model=model, reward=ScriptedReward(lambda question, path: 0.5)) as engine:
        solution = await engine.solve("How many?", strategy=strategy, budget=Budget(seconds=1.0))
    assert model.greedy == [(0,)]
    assert model.expanded[: len(FIRST_PATH)] == FIRST_PATH
    assert solution.answer == "7" and solution.note is not None


def test_a_strategy_without_a_width_opens_only_where_time_is_short() -> None:
    strategy, tree = Auto(choices=(MajorityVote(width=6),)), SearchTree()
    for seconds, children in ((10, 1), (60, 4)):
        opened = Opening.of(tree, Meter(Budget(seconds=seconds)), strategy, 500_000_000)
        (step,) = opened.start(strategy.decide(tree))
        assert step.children == children and opened.over is (children > 1)


@pytest.mark.parametrize(
    ("seconds", "tokens_per_s", "greedy"),
    [(10, 25.0, True), (20, 25.0, True), (30, 25.0, False), (10, 100.0, False), (60, 5.0, True), (10, None, True),
     (60, None, False)],
)  # fmt: skip
def test_the_first_path_is_greedy_where_a_second_one_cannot_be_expected(
    seconds: float, tokens_per_s: float | None, greedy: bool
) -> None:
    rates, tree, strategy = Rates(single_tokens_per_s=tokens_per_s), SearchTree(), MajorityVote(width=8)
    opened = Opening.of(tree, Meter(Budget(seconds=seconds)), strategy, 500_000_000, lambda: rates)
    (step,) = opened.start(strategy.decide(tree))
    assert (step.temperature == 0.0) is opened.greedy is greedy


@in_virtual_time
async def test_a_path_that_turns_out_slow_goes_on_greedily() -> None:
    fast, slow = Rates(single_tokens_per_s=1000.0), Rates(single_tokens_per_s=1.0, now=True)
    model = TalkativeModel(rates=fast)

    class Slowing(TalkativeSession):
        async def expand(self, requests: Sequence[StepRequest], **options: Any) -> None:
            await super().expand(requests, **options)
            model.rates = slow

    async def opened(question: str) -> Slowing:
        return Slowing(model, question)

    model.open = opened  # type: ignore[method-assign]
    solution = await solve(model, "rebase", 16, 1.0)
    assert model.greedy == FIRST_PATH[1:]
    assert solution.answer == "7" and solution.note is not None


@in_virtual_time
async def test_without_a_limit_of_time_or_with_plenty_nothing_is_greedy() -> None:
    async with Engine(model=TalkativeModel(), reward=None) as engine:
        unlimited = await engine.solve("How many?", strategy=MajorityVote(width=2))
    plenty = await solve(TalkativeModel(), "majority", 2, 600.0)
    assert unlimited.note is plenty.note is None
    assert "note" not in plenty.to_dict()
    for solution in (unlimited, plenty):
        assert {node.origin for node in solution.tree or () if node.parent is not None} == {Origin.MODEL}


@in_virtual_time
async def test_only_the_first_path_is_greedy_and_a_second_one_is_sampled() -> None:
    model = TalkativeModel()
    solution = await solve(model, "majority", 4, 3.0)
    assert model.greedy == FIRST_PATH
    assert any(path[0] == 1 for path in model.expanded)
    assert solution.answer == "7"


class SlowSideBySide(ScriptedSession):
    """Steps of 2 s alone and of 20 s in a batch; an interrupt cuts those in flight."""

    def __init__(self, model: ScriptedModel, question: str) -> None:
        super().__init__(model, question)
        self._interrupted = anyio.Event()

    async def expand(self, requests: Sequence[StepRequest], **options: Any) -> None:
        interrupted = self._interrupted
        with anyio.move_on_after(2.0 if len(requests) == 1 else 20.0):
            await interrupted.wait()
        for request in requests:
            options["on_result"](_cut(request) if interrupted.is_set() else self._write(request, None))

    async def interrupt(self) -> None:
        self._interrupted.set()
        self._interrupted = anyio.Event()


class SlowModel(ScriptedModel):
    async def open(self, question: str) -> ScriptedSession:
        return SlowSideBySide(self, question)


@in_virtual_time
async def test_time_is_kept_for_an_answer_once_paths_grow_side_by_side() -> None:
    def script(_: str, path: tuple[int, ...]) -> str:
        return "w " * 60 + "\n" if len(path) < 12 else "The answer is 7."

    async with Engine(model=SlowModel(script, parameters=500_000_000), reward=None) as engine:
        solution = await engine.solve("How many?", strategy=MajorityVote(width=4), budget=Budget(seconds=60))
    assert solution.answer == "7"
    assert solution.tree is not None and Origin.RESCUE in {node.origin for node in solution.tree}


@pytest.mark.parametrize("right", [4, 7, 9])
def test_the_rule_lead_changes_no_answer_of_a_search_that_time_narrowed(right: int) -> None:
    answers = list[str | None]()

    @in_virtual_time
    async def solve(stop: str | None) -> None:
        def script(_: str, path: tuple[int, ...]) -> str:
            return "some more words\n" if len(path) < 3 else f"The answer is {7 if path[0] < right else 8}."

        model = ScriptedModel(script, parameters=500_000_000, delay_s=STEP_S)
        async with Engine(model=model, reward=None) as engine:
            limit = Budget(seconds=1.5)
            solution = await engine.solve("How many?", strategy=MajorityVote(width=64), budget=limit, stop=stop)
        answers.append(solution.answer)

    solve(None)
    solve("lead")
    assert answers[0] == answers[1] is not None


@pytest.mark.parametrize("seconds", [4.0, 8.0])
def test_a_search_that_is_sure_of_its_answer_is_complete_though_time_narrowed_it(seconds: float) -> None:
    @in_virtual_time
    async def solve() -> None:
        model = ScriptedModel(
            lambda _, path: "some more words\n" if len(path) < 3 else "The answer is 7.",
            parameters=500_000_000,
            delay_s=STEP_S,
        )
        async with Engine(model=model, reward=None) as engine:
            solution = await engine.solve("How many?", strategy=Widening(width=64), budget=Budget(seconds=seconds))
        assert (solution.stop_reason, len(solution.candidates)) == (StopReason.COMPLETED, 4)

    solve()
