"""State of the screens, without a screen."""

from __future__ import annotations

import asyncio

import pytest

from ramify.answers.checkers import make_checker
from ramify.cli.options import SearchPlan
from ramify.engine.engine import Engine
from ramify.events import (
    AnswerUpdate,
    BudgetUsed,
    NodeAdded,
    NodePinned,
    NodePruned,
    NodesDispatched,
    RunPaused,
    RunResumed,
    RunStarted,
    StepProgress,
)
from ramify.search.budget import Budget
from ramify.search.node import FinishReason, Origin, PruneReason
from ramify.search.stopping import StopReason
from ramify.search.tree import SearchTree
from ramify.search.votes import Candidate, VoteRule, decide
from ramify.solution import Solution
from ramify.testing import ScriptedModel
from ramify.tui.common.themes import score_bar, score_tint, share_bar, spark_line
from ramify.tui.state.engine_host import EngineHost
from ramify.tui.state.panels import (
    END_TEXTS,
    Speed,
    amount_text,
    answer_table,
    same_answer,
    time_left_s,
    used_amounts,
)
from ramify.tui.state.replay import PartialTree, final_votes, with_tree
from ramify.tui.state.rows import tree_rows
from ramify.tui.state.run_view import Phase, RunView
from ramify.tui.state.saved_session import SavedSession
from ramify.tui.state.spec import RunSpec
from ramify.tui.widgets.tree_lines import SPINNER
from ramify.usage import RoleUsage, Usage

from .conftest import chain, scores


def dispatched(view: RunView, parent: int, *nodes: int) -> None:
    """Begin steps, as the engine does: first in the tree, then as an event."""
    assert [view.tree.add_pending(parent).id for _ in nodes] == list(nodes)
    view.apply(NodesDispatched(parent=parent, nodes=nodes))


def added(
    view: RunView, node: int, text: str = "step\n", answer: str | None = None, score: float | None = None
) -> None:
    reason = FinishReason.STEP if answer is None else FinishReason.EOS
    view.tree.complete(node, text, (), -1.0, reason, token_count=4)
    if score is not None:
        view.tree.score(node, score)
    if answer is not None:
        view.tree.finish(node, answer)
    made = view.tree.node(node)
    view.apply(
        NodeAdded(
            node=node,
            parent=made.parent or 0,
            depth=made.depth,
            text=text,
            generated_tokens=4,
            logprob=-1.0,
            state=made.state,
            finish_reason=reason,
            answer=answer,
        )
    )


def pruned(view: RunView, node: int, reason: PruneReason) -> None:
    view.tree.prune(node, reason)
    view.apply(NodePruned(node=node, reason=reason))


def voted(view: RunView, *groups: tuple[str, int, float]) -> None:
    view.apply(AnswerUpdate(answer=groups[0][0], groups=groups))


@pytest.fixture
def small() -> RunView:
    """Two branches: 1 → 3 finished with "7", 2 → 4 pruned and 5 open."""
    view = RunView("q")
    view.apply(RunStarted(question="q", strategy="rebase", prompt_tokens=3))
    dispatched(view, 0, 1, 2)
    added(view, 1, score=0.4)
    added(view, 2, score=0.6)
    dispatched(view, 1, 3)
    dispatched(view, 2, 4, 5)
    added(view, 3, answer="7", score=0.5)
    added(view, 4, score=0.1)
    added(view, 5, score=0.8)
    pruned(view, 4, PruneReason.ALLOCATION)
    return view


def test_counts_are_those_of_the_tree(small):
    tree = small.tree
    assert (small.step_count, tree.finished_count, tree.pruned_count, tree.pending_count) == (5, 1, 1, 0)
    assert small.generated_tokens == 20
    assert small.scored
    assert small.phase is Phase.RUNNING


def test_every_event_has_the_screen_drawn_again(small):
    version = small.version
    dispatched(small, 5, 6)
    assert small.version == version + 1


def test_a_step_in_the_making_grows_and_its_tokens_count_once():
    view = RunView("q")
    dispatched(view, 0, 1)
    view.apply(StepProgress(node=1, generated_tokens=2, text="st"))
    node = view.tree.node(1)
    assert (view.text_of(node), view.path_text(1), view.tokens_of(node), view.generated_tokens) == ("st", "st", 2, 2)
    added(view, 1)
    assert (view.text_of(node), view.tokens_of(node), view.generated_tokens) == ("step\n", 4, 4)
    view.apply(StepProgress(node=1, generated_tokens=9, text="late"))
    assert (view.text_of(node), view.generated_tokens) == ("step\n", 4)


def test_the_best_path_is_the_most_promising_one_until_there_is_an_answer(small):
    assert small.best() == 5
    voted(small, ("7", 1, 0.5))
    assert small.best() == 3
    assert small.best_path() == {0, 1, 3}


def test_a_pinned_path_is_the_best(small):
    voted(small, ("7", 1, 0.5))
    dispatched(small, 5, 6)
    added(small, 6, answer="8", score=0.2)
    small.apply(NodePinned(node=6))
    assert small.best() == 6
    small.apply(NodePinned(node=None))
    assert small.best() == 3


def test_pausing_before_the_start_stays():
    view = RunView("q")
    view.apply(RunPaused())
    view.apply(RunStarted(question="q", strategy="rebase", prompt_tokens=3))
    assert view.phase is Phase.PAUSED
    view.apply(RunResumed())
    assert view.phase is Phase.RUNNING


def test_an_unknown_event_changes_nothing(small):
    small.apply(object())  # type: ignore[arg-type]
    assert small.step_count == 5
    assert small.phase is Phase.RUNNING


def test_rows_indent_branches_and_keep_chains_below_each_other(small):
    rows = [(row.node, row.lead) for row in tree_rows(small)]
    assert rows == [(0, ""), (1, "├─ "), (3, "│  "), (2, "└─ "), (4, "   ├─ "), (5, "   └─ ")]


def test_folded_rows_count_what_they_hide(small):
    rows = [(row.node, row.hidden) for row in tree_rows(small, folded={2})]
    assert rows == [(0, 0), (1, 0), (3, 0), (2, 2)]


def test_hiding_leaves_out_dead_branches_only(small):
    assert [row.node for row in tree_rows(small, keep_pruned=False)] == [0, 1, 3, 2, 5]
    pruned(small, 5, PruneReason.USER)
    assert [row.node for row in tree_rows(small, keep_pruned=False)] == [0, 1, 3]


def test_the_answers_are_ranked_by_what_decides(small):
    voted(small, ("7", 3, 0.9), ("8", 1, 0.8))
    table = answer_table(small)
    assert [(row.answer, row.share, row.leads) for row in table.rows] == [("7", 0.75, True), ("8", 0.25, False)]
    assert table.margin == "2 votes ahead"
    small.vote = "weighted"
    assert answer_table(small).margin == "0.10 weight ahead"
    small.vote = "best"
    assert answer_table(small).rows[0].share == 0.5


@pytest.mark.parametrize(
    ("groups", "margin"),
    [([("7", 1, 0.0)], "no other answer"), ([("7", 2, 0.0), ("8", 2, 0.0)], "level with the next")],
)
def test_the_margin_in_words(small, groups, margin):
    voted(small, *groups)
    assert answer_table(small).margin == margin


def test_amounts_with_limits_come_first(small):
    small.budget = Budget(generated_tokens=40, flops=1e9)
    small.apply(BudgetUsed(usage=Usage(reward=RoleUsage(prompt_tokens=9, flops=2.5e8)), fraction=0.5))
    amounts = used_amounts(small, 3.0)
    assert [amount.label for amount in amounts] == ["generated", "compute", "time", "reward"]
    assert [amount.text for amount in amounts] == ["20 of 40", "250 MFLOP of 1 GFLOP", "3 s", "9"]
    assert [amount.share for amount in amounts] == [0.5, 0.25, 0.0, 0.0]
    assert time_left_s(small, 3.0) == 3.0


def test_the_time_left_is_that_of_the_tightest_limit(small):
    assert time_left_s(small, 3.0) is None
    small.budget = Budget(seconds=120, generated_tokens=200)
    assert time_left_s(small, 0.1) == pytest.approx(119.9)
    # 20 of 200 tokens in 3 seconds; what the last event said is older.
    small.fraction = 0.01
    assert time_left_s(small, 3.0) == pytest.approx(27)
    assert time_left_s(small, 100.0) == pytest.approx(20)
    assert time_left_s(small, 130.0) == 0
    small.set_phase(Phase.FINISHED)
    assert time_left_s(small, 130.0) is None


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (8192, "tokens", "8,192"),
        (1_250_000, "tokens", "1.25 M"),
        (5.47e9, "flops", "5.47 GFLOP"),
        (0, "flops", "0 FLOP"),
    ],
)
def test_amounts(value, kind, text):
    assert amount_text(value, kind) == text


def test_speed_is_tokens_in_periods():
    speed = Speed()
    for quarter in range(5):
        speed.sample(quarter * 0.25, quarter * 50)
    assert list(speed.rates) == [200.0] * 4
    assert (speed.current, spark_line(speed.rates, 3)) == (200.0, "███")
    speed.sample(1.1, 210)
    assert len(speed.rates) == 4
    assert spark_line(Speed().rates, 5) == ""
    assert spark_line([0.0, 100.0, 400.0], 5) == " ▃█"


def test_scores_are_told_apart_without_colour():
    assert [score_bar(score) for score in (None, 0.0, 0.5, 1.0)] == [" ", "▁", "▅", "█"]
    assert score_tint(0.0) != score_tint(1.0)
    assert share_bar(0.001, 10) == ("━", "─────────")
    assert share_bar(1.0, 4) == ("━━━━", "")


def nodes_of(tree: SearchTree) -> list[object]:
    """What a screen shows of each node."""
    return [(node.id, node.parent, node.text, node.score, node.state, node.answer, node.origin) for node in tree]


async def test_a_saved_run_is_shown_as_it_was_at_its_end():
    async with (
        Engine(model=ScriptedModel(chain), reward=scores) as engine,
        engine.run("q", strategy="rebase", progress=True) as run,
    ):
        view = RunView("q", tree=run.tree, vote="weighted")
        async for event in run:
            view.apply(event)
        solution = await run.result()
    again = SavedSession(RunSpec("q"), solution).view
    assert nodes_of(again.tree) == nodes_of(view.tree)
    assert again.votes == view.votes
    assert again.best() == view.best()
    assert (again.vote, again.answer, again.strategy) == (view.vote, view.answer, view.strategy)
    assert again.phase is Phase.FINISHED


@pytest.mark.parametrize("strategy", ["rebase", "majority", "mcts", "dvts", "refine"])
async def test_each_position_of_a_replay_adds_one_step(strategy):
    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        solution = await engine.solve("q", strategy=strategy)
    session = SavedSession(RunSpec("q"), solution)
    sizes = list[int]()
    for position in range(1, len(session) + 1):
        session.seek(position)
        sizes.append(session.view.step_count)
    assert sizes == [*range(len(solution.tree)), len(solution.tree) - 1]
    assert session.view.phase is Phase.FINISHED
    # The last step but the end has all steps; what was given up at the deepest level is still open there.
    session.seek(len(session) - 1)
    told = [(node.id, node.text, node.score, node.answer) for node in session.view.tree]
    assert told == [(node.id, node.text, node.score, node.answer) for node in solution.tree]
    assert session.view.phase is Phase.RUNNING
    assert session.view.answer == solution.answer


async def test_a_replay_goes_backwards_to_the_same_tree():
    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        solution = await engine.solve("q")
    forwards, jumping = PartialTree(solution.tree), PartialTree(solution.tree)
    jumping.seek(len(solution.tree) - 1)
    for steps in (3, 10, 7):
        forwards = PartialTree(solution.tree)
        forwards.seek(steps)
        jumping.seek(steps)
        assert nodes_of(jumping.tree) == nodes_of(forwards.tree)


def test_a_replay_gives_up_a_step_when_the_search_goes_on_below_it():
    whole = SearchTree()
    for parent in (0, 0, 1, 2):
        whole.complete(whole.add_pending(parent).id, "step\n")
    for node in (1, 2, 3):
        whole.prune(node, PruneReason.ALLOCATION)
    part = PartialTree(whole)
    states = list[str]()
    for steps in range(1, 5):
        part.seek(steps)
        states.append(" ".join(str(node.state) for node in part.tree if node.parent is not None))
    assert states == ["open", "open open", "open open open", "pruned open open open"]


async def test_a_solution_without_a_tree_gets_one_of_its_paths():
    from dataclasses import replace

    async with Engine(model=ScriptedModel(chain), reward=scores) as engine:
        solution = await engine.solve("q")
    view = SavedSession(RunSpec("q"), replace(solution, tree=None)).view
    assert view.tree is not solution.tree
    assert view.step_count == len(solution.candidates)
    assert {node.origin for node in view.tree if node.parent is not None} == {Origin.REST}
    assert view.tree.node(view.best()).answer == solution.answer
    assert with_tree(solution) is solution


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("7", "7", True), (" 7", "7.0", True), ("1/2", "0.5", True), ("7", "8", False), (None, "7", False)],
)
def test_answers_are_compared_by_their_meaning(one, other, same):
    assert same_answer(one, other) is same


def test_every_reason_of_an_end_has_words():
    assert {str(reason) for reason in StopReason} - END_TEXTS.keys() == {"failed"}
    assert all("_" not in text and "budget" not in text for text in END_TEXTS.values())


def test_the_cost_of_a_reward_is_shown_where_there_is_one():
    view = RunView("q")
    assert "reward" in [each.label for each in used_amounts(view, 0.0)]
    assert "reward" not in [each.label for each in used_amounts(view, 0.0, uses_reward=False)]


def test_a_step_that_is_written_looks_like_no_other():
    assert not set(SPINNER) & {*"●✓·×✎⚑⚙"}


def test_a_large_tree_is_flattened_without_recursion():
    view = RunView("q")
    for node in range(1, 3000):
        dispatched(view, node - 1, node)
        added(view, node)
    assert len(tree_rows(view)) == 3000
    assert tree_rows(view)[-1].lead == ""


def test_a_replayed_tree_has_the_scores_of_a_combined_rewards_parts():
    whole = SearchTree()
    whole.add_pending(0)
    whole.complete(1, "1+1=3\n", (1,), -0.5, FinishReason.EOS)
    whole.finish(1, "3")
    whole.score(1, 0.02, parts={"judge": 0.93, "arithmetic": 0.02})
    replayed = PartialTree(whole)
    replayed.seek(1)
    assert replayed.tree.node(1).scores == {"judge": 0.93, "arithmetic": 0.02}


async def test_two_runs_that_want_one_engine_at_a_time_load_it_once() -> None:
    made = list[str]()

    class Loading:
        def __init__(self, name: str) -> None:
            self.name = name

        async def __aenter__(self) -> Loading:
            made.append(self.name)
            await asyncio.sleep(0)
            return self

        async def __aexit__(self, *error: object) -> None:
            await asyncio.sleep(0.01)

    host = EngineHost(lambda plan: Loading(plan.model))  # type: ignore[arg-type,return-value]

    def plan(name: str) -> SearchPlan:
        return SearchPlan.from_options({**RunSpec("q").complete(), "model": name})

    for name in ("demo-s", "demo-m"):
        await host.acquire(plan(name))
        host.release(plan(name))
    first, second = await asyncio.gather(host.acquire(plan("demo-l")), host.acquire(plan("demo-l")))
    assert first is second and made == ["demo-s", "demo-m", "demo-l"]
    assert await host.close(5)


def test_answers_that_tie_stay_apart_though_both_are_written_in_two_ways() -> None:
    written = ["1/2", "0.5", "3", "3.0", "7"]
    candidates = [
        Candidate(node=place, answer=answer, score=None, generated_tokens=1, text=answer)
        for place, answer in enumerate(written, 1)
    ]
    vote = decide(candidates, VoteRule.MAJORITY, make_checker("math").same)
    solution = Solution(
        question="q", answer=vote.answer, text="", score=None, stop_reason=StopReason.COMPLETED, usage=Usage(),
        candidates=vote.counted(candidates), seed=0, strategy={},
    )  # fmt: skip
    assert [(each.answer, each.votes) for each in final_votes(solution)] == [("1/2", 2), ("3", 2), ("7", 1)]
    saved = Solution.from_dict(solution.to_dict())
    assert final_votes(saved) == final_votes(solution)
