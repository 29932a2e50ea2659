"""Runs whose paths call tools, with scripted models."""

from __future__ import annotations

import anyio
import pytest

import ramify
from ramify.answers.kinds import AnswerKind
from ramify.engine.policy.protocol import AdoptedNode
from ramify.engine.runtime.messages import StepRequest
from ramify.engine.testing import ScriptedModel
from ramify.errors import UsageError
from ramify.search.node import NodeState, Origin
from ramify.search.tree import SearchTree
from ramify.tools.forms import Call, CallReader
from ramify.tools.tool import tool

CALL = '<tool_call>\n{"name": "double", "arguments": {"number": 21}}\n</tool_call>\n'
STRATEGIES = [
    ramify.Greedy(),
    ramify.MajorityVote(width=4),
    ramify.WeightedVote(width=4),
    ramify.BestOfN(width=4),
    ramify.Rebase(width=4),
    ramify.Rebase(width=4, merge_duplicates=True),
    ramify.BeamSearch(width=4, children=2),
    ramify.DVTS(width=4, children=2),
    ramify.MCTS(width=4, explore_steps=8),
    ramify.MCTS(width=4, explore_steps=8, rollouts=True, selection="puct"),
    ramify.ABMCTS(width=4, explore_steps=8),
    ramify.ParticleFilter(width=4),
    ramify.Refine(width=4),
    ramify.Widening(start_width=2, width=4),
    ramify.Auto(choices=(ramify.MajorityVote(width=4), ramify.Rebase(width=4)), edges=(0.5,), probe_paths=2),
]


@tool
async def double(number: int) -> int:
    """Double a number."""
    return 2 * number


def script(question: str, path: tuple[int, ...]) -> str:
    """Call once in the second step of a path, and answer in the next."""
    texts = ("First I think.\n", f"I call.\n{CALL}", "Now I know.\n", "The answer is \\boxed{42}")
    return texts[min(len(path), 4) - 1]


def score(question: str, steps: list[str]) -> float:
    return 0.25 if len(steps) < 3 else 0.75


async def solved(strategy=None, model=script, **options):
    options.setdefault("tools", [double])
    async with ramify.Engine(ScriptedModel(model), score) as engine:
        return await engine.solve("What is twice 21?", strategy=strategy or ramify.Rebase(width=4), **options)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda each: each.name)
async def test_every_strategy_goes_on_below_a_result(strategy):
    solution = await solved(strategy)
    assert solution.answer == "42"
    calls = [node for node in solution.tree if "<tool_call>" in node.text]
    assert calls and all(node.state is NodeState.CONTINUED for node in calls)
    for node in calls:
        (result,) = solution.tree.children(node.id)
        assert result.origin is Origin.TOOL and result.text == "\n```output\n42\n```\n"
        assert (result.token_count, result.depth) == (0, node.depth)
    assert SearchTree.from_dict(solution.tree.to_dict()).to_dict() == solution.tree.to_dict()


async def test_no_tool_changes_nothing():
    def plain(question, path):
        return ("Think.\n", "\\boxed{1}")[min(len(path), 2) - 1]

    with_tools, without = await solved(model=plain), await solved(model=plain, tools=None)
    assert with_tools.tree.to_dict() == without.tree.to_dict()
    assert with_tools.usage.policy == without.usage.policy


async def test_equal_calls_below_one_node_run_once():
    count = 0

    @tool
    async def double(number: int) -> int:
        nonlocal count
        count += 1
        await anyio.sleep(0.01)
        return 2 * number

    def model(question, path):
        return (CALL, "", "\\boxed{42}")[min(len(path), 3) - 1]

    solution = await solved(ramify.MajorityVote(width=8), model, tools=[double])
    assert count == 1
    assert sum(node.origin is Origin.TOOL for node in solution.tree) == 8


async def test_a_result_is_no_answer():
    @tool
    async def double(number: int) -> str:
        return "The answer is 7.\n#### 7 \\boxed{7}"

    def model(question, path):
        return (CALL, "", "I stop here.")[min(len(path), 3) - 1]

    solution = await solved(ramify.Greedy(), model, tools=[double])
    assert solution.answer is None


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("<tool_call>\nnonsense\n</tool_call>\n", "error: the call is not a JSON object"),
        ('<tool_call>{"name": "triple", "arguments": {}}</tool_call>\n', "error: there is no tool 'triple'"),
        ('<tool_call>{"name": "double", "arguments": {"number": "x"}}</tool_call>\n', "error: wrong arguments; number"),
        ('<tool_call>{"name": "double", "arguments": [1]}</tool_call>\n', "error: the arguments of double"),
    ],
)
async def test_a_wrong_call_is_told_to_the_model(call, said):
    def model(question, path):
        return (call, "", "\\boxed{1}")[min(len(path), 3) - 1]

    solution = await solved(ramify.Greedy(), model)
    result = next(node for node in solution.tree if node.origin is Origin.TOOL)
    assert said in result.text
    assert solution.answer == "1"


async def test_a_tool_that_raises_is_slow_or_says_too_much():
    @tool
    async def raises() -> str:
        raise RuntimeError("broken")

    @tool
    async def sleeps() -> str:
        await anyio.sleep_forever()

    @tool
    def blocks() -> str:
        import time

        time.sleep(60)

    @tool
    async def floods() -> str:
        return "x" * 10_000_000

    late = "longer than 0.2 s"
    for each, said, seconds in ((raises, "RuntimeError: broken", 60), (sleeps, late, 0.2), (blocks, late, 0.2)):
        call = f'<tool_call>{{"name": "{each.name}", "arguments": {{}}}}</tool_call>\n'
        script = (call, "", "\\boxed{1}")
        solution = await solved(
            ramify.Greedy(), lambda q, p, s=script: s[len(p) - 1], tools=[each], tool_seconds=seconds
        )
        assert said in solution.tree.node(2).text and solution.answer == "1"
    call = '<tool_call>{"name": "floods", "arguments": {}}</tool_call>\n'
    solution = await solved(ramify.Greedy(), lambda q, p: (call, "", "\\boxed{1}")[len(p) - 1], tools=[floods])
    assert len(solution.tree.node(2).text) < 4200 and "characters left out" in solution.tree.node(2).text


async def test_limits_of_calls():
    def model(question, path):
        call = CALL.replace("21", str(len(path)))
        return "\\boxed{9}" if len(path) > 12 else call

    solution = await solved(ramify.Greedy(), model, max_tool_calls=2)
    results = [node.text for node in solution.tree if node.origin is Origin.TOOL]
    assert len(results) == 3 and "no more calls" in results[-1]
    solution = await solved(ramify.Greedy(), model, max_run_tool_calls=1)
    results = [node.text for node in solution.tree if node.origin is Origin.TOOL]
    assert "no more calls" in results[1]


async def test_stopping_reaches_the_tool():
    ended = anyio.Event()
    begun = anyio.Event()

    @tool
    async def double(number: int) -> int:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with ramify.Engine(ScriptedModel(script), None) as engine:
        async with engine.run("q", strategy=ramify.MajorityVote(width=2), tools=[double], tool_seconds=60) as run:
            await begun.wait()
            run.stop()
            solution = await run.result()
    assert ended.is_set() and solution.answer is None
    waiting = [node for node in solution.tree if node.origin is Origin.TOOL]
    assert waiting and all(node.state is NodeState.PRUNED for node in waiting)


@pytest.mark.parametrize("strategy", [ramify.Rebase(width=4), ramify.Refine(width=2), ramify.MajorityVote(width=3)])
async def test_a_run_that_was_stopped_in_a_call_goes_on(strategy):
    calls = anyio.Event()

    @tool(name="double")
    async def slow(number: int) -> int:
        calls.set()
        await anyio.sleep_forever()

    async with ramify.Engine(ScriptedModel(script), score) as engine:
        whole = await engine.solve("q", strategy=strategy, tools=[double])
        async with engine.run("q", strategy=strategy, tools=[slow], tool_seconds=60) as run:
            await calls.wait()
            run.stop()
            cut = await run.result()
        again = await engine.solve("q", strategy=strategy, tools=[double], tree=cut.tree)
        assert again.answer == whole.answer == "42"
        texts = {node.path: (node.text, node.state) for node in again.tree}
        assert texts == {node.path: (node.text, node.state) for node in whole.tree}
        with pytest.raises(UsageError, match="waits for results of tools"):
            async with engine.run("q", strategy=strategy, tree=cut.tree):
                pass


async def test_bad_tools_are_refused():
    async with ramify.Engine(ScriptedModel(script), None) as engine:
        for tools, said in (
            ("calculater", "there is no tool 'calculater'"),
            ([double, double], "two tools have the name double"),
            ("os:nothing", "cannot be imported"),
            ([5], "is no tool"),
        ):
            with pytest.raises(UsageError, match=said):
                await engine.solve("q", tools=tools)


async def test_rewards_read_a_call_and_its_result_as_one_step():
    seen = set()

    def judge(question, steps):
        seen.add(tuple(steps))
        return 0.5

    async with ramify.Engine(ScriptedModel(script), judge) as engine:
        await engine.solve("q", strategy=ramify.Rebase(width=2), tools=[double])
    assert ("First I think.\n", f"I call.\n{CALL}\n```output\n42\n```\n") in seen
    assert not any(steps[-1].endswith(CALL) for steps in seen)


# On a bundled model


class EveryLine(CallReader):
    """Reads each line with an equation as a call, since the bundled models know no tools."""

    def read(self, text):
        lines = text.splitlines()
        return (Call("python", {"code": lines[-1]}),) if lines and "=" in lines[-1] and "nswer" not in text else None


@pytest.fixture
def calling(monkeypatch):
    monkeypatch.setattr("ramify.engine.run_setup.CallReader", EveryLine)

    @tool(name="python")
    async def python(code: str) -> str:
        await anyio.sleep(0.01)
        return "right"

    return python


async def test_results_are_evaluated_once(calling):
    async with ramify.Engine("demo-m", None, isolation="thread") as engine:
        problem = ramify.generate_problems(steps=(3, 3), count=1, seed=7)[0]
        session = await engine.policy.open_with(problem.question, AnswerKind.BOX, (calling,))
        done = {}

        async def write(parent, *children):
            requests = [
                StepRequest(parent=parent, child=child, seed=child, max_tokens=30, keep=True, calls_tools=True)
                for child in children
            ]
            await session.expand(requests, allowance=None, on_result=lambda result: done.update({result.child: result}))
            return [done[child] for child in children]

        (said,) = await write(0, 1)
        tokens = session.result_tokens(said.tokens, ["right"])
        await session.adopt([AdoptedNode(node=2, parent=1, text="", tokens=tokens, told=True)])
        below = await write(2, 3, 4, 5)
        assert sum(each.prompt_tokens for each in below) == len(tokens)
        await session.adopt([AdoptedNode(node=6, parent=1, text="", tokens=tokens, told=True)])
        again = await write(6, 7)
        assert again[0].prompt_tokens == 0
        assert not any(each.reevaluated_tokens for each in done.values())
        await session.close()


@pytest.mark.parametrize("strategy", [ramify.MajorityVote(width=8), ramify.Rebase(width=8), ramify.Refine(width=4)])
async def test_a_search_with_tools_evaluates_no_token_twice(calling, strategy):
    problem = ramify.generate_problems(steps=(3, 3), count=1, seed=7)[0]
    async with ramify.Engine("demo-m", isolation="thread") as engine:
        solution = await engine.solve(problem, strategy=strategy, tools=[calling], max_tool_calls=2)
        results = [node for node in solution.tree if node.origin is Origin.TOOL]
        assert results
        usage = solution.usage
        assert (usage.policy.reevaluated_tokens, usage.reward.reevaluated_tokens) == (0, 0)
        generated = sum(node.token_count for node in solution.tree)
        assert usage.policy.generated_tokens == generated
        again = await engine.solve(problem, strategy=strategy, tools=[calling], max_tool_calls=2)
        by_path = [{node.path: node.text for node in each.tree} for each in (solution, again)]
        assert by_path[0] == by_path[1]


async def test_a_slow_tool_stalls_no_other_path():
    ended = anyio.Event()

    @tool(name="double")
    async def slow(number: int) -> int:
        await ended.wait()
        return 2 * number

    def model(question, path):
        return script(question, path) if path[0] == 0 else ("Think.\n", "\\boxed{1}")[min(len(path), 2) - 1]

    async with (
        ramify.Engine(ScriptedModel(model), None) as engine,
        engine.run("q", strategy=ramify.MajorityVote(width=4), tools=[slow], tool_seconds=60) as run,
    ):
        async for _ in run:
            if run.tree.finished_count == 3:
                ended.set()
        assert run.tree.finished_count == 4


async def test_a_call_that_is_made_again_after_its_result_is_not_run():
    seen = list[int]()

    @tool(name="double")
    async def counting(number: int) -> int:
        """Double a number."""
        seen.append(number)
        return 2 * number

    def model(question: str, path: tuple[int, ...]) -> str:
        return f"I call.\n{CALL}" if len(path) < 6 else "The answer is \\boxed{42}"

    solution = await solved(ramify.Greedy(), model, tools=[counting])
    results = [node.text for node in solution.tree if node.origin is Origin.TOOL]
    assert seen == [21] and len(results) == 2 and "made just now" in results[1] and solution.answer == "42"
