"""Prefixes that prompts of several runs share: evaluated once, and nothing else changes."""

from __future__ import annotations

import anyio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ramify.engine.library.catalog import resolve_model
from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.messages import StepResult
from ramify.reward.protocol import ReadResult

from .driving import expand, loaded_model
from .driving import step_request as timed_request
from .fake_context import LINE, WORDS, FakeContext, FakeWords, drain, read, reference, step_request, steps_of

TOKENS = st.integers(2, WORDS - 1)


def decoder_of(context: FakeContext, max_lanes: int = 16) -> Decoder:
    return Decoder(context, FakeWords(), max_lanes=max_lanes)


def usage(results: list[tuple[int, StepResult | ReadResult]], run: int) -> tuple[int, int, int]:
    """Return the prompt tokens, the reused and the re-evaluated tokens of a run."""
    steps = [step for (number, _), step in steps_of(results).items() if number == run]
    return (
        sum(step.prompt_tokens for step in steps),
        sum(step.reused_tokens for step in steps),
        sum(step.reevaluated_tokens for step in steps),
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(TOKENS, min_size=1, max_size=40),
    st.lists(st.lists(TOKENS, min_size=1, max_size=12), min_size=2, max_size=6),
    st.integers(1, 4),
    st.integers(4, 40),
    st.booleans(),
)
# 18 paths and 16 lanes: a branch waits whose beginning the path that it left no longer holds when it goes on.
@example([2], [[2], [4], [2], [2], [2], [2]], 3, 4, True)
def test_a_shared_prefix_is_evaluated_once(
    prefix: list[int], rests: list[list[int]], width: int, batch_tokens: int, together: bool
) -> None:
    context = FakeContext(batch_tokens=batch_tokens)
    decoder = decoder_of(context)
    prompts = [tuple(prefix + rest) for rest in rests]
    results: list[tuple[int, StepResult | ReadResult]] = []
    for run, prompt in enumerate(prompts):
        decoder.open_run(run, prompt, shared=len(prefix))
        decoder.expand(run, [step_request(child) for child in range(1, width + 1)], None, step=LINE)
        if not together:
            results += drain(decoder)
            decoder.close_run(run)
    results += drain(decoder)
    for (run, child), step in steps_of(results).items():
        assert (step.tokens, step.finish_reason) == reference(prompts[run], step_request(child))
    read_of_prefix = [
        path for path in context.evaluated if len(path) <= len(prefix) and path == tuple(prefix[: len(path)])
    ]
    assert len(read_of_prefix) == len(prefix)
    spent = [usage(results, run) for run in range(len(prompts))]
    assert sum(prompt for prompt, *_ in spent) == len(prefix) + sum(map(len, rests))
    assert sorted(reused for _, reused, _ in spent) == [0] + [len(prefix)] * (len(prompts) - 1)
    assert all(again == 0 for *_, again in spent)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(20, 90), st.integers(5, 12), st.integers(3, 40))
def test_any_shortage_and_any_end_of_other_runs_give_the_same_steps(
    data: st.DataObject, cells: int, sequences: int, batch_tokens: int
) -> None:
    context = FakeContext(cells=cells, sequences=sequences, batch_tokens=batch_tokens)
    decoder = decoder_of(context)
    prefixes = [tuple(data.draw(st.lists(TOKENS, min_size=1, max_size=8))) for _ in range(3)]
    open_runs: dict[int, tuple[int, ...]] = {}
    results: list[tuple[int, StepResult | ReadResult]] = []
    prompts: dict[int, tuple[int, ...]] = {}
    closed: set[int] = set()
    for run in range(8):
        prefix = data.draw(st.sampled_from(prefixes))
        prompts[run] = open_runs[run] = (*prefix, *data.draw(st.lists(TOKENS, min_size=1, max_size=4)))
        decoder.open_run(run, prompts[run], shared=len(prefix))
        decoder.expand(run, [step_request(child, max_tokens=4) for child in range(1, 4)], None, step=LINE)
        for _ in range(data.draw(st.integers(0, 6))):
            results += decoder.step()
        action = data.draw(st.sampled_from(["none", "close", "interrupt"]))
        chosen = data.draw(st.sampled_from(sorted(open_runs)))
        if action == "close":
            decoder.close_run(chosen)
            closed.add(chosen)
            del open_runs[chosen]
        elif action == "interrupt":
            decoder.interrupt(chosen, frozenset({1}))
    results += drain(decoder)
    found = steps_of(results)
    for run in open_runs:
        for child in range(1, 4):
            step, (tokens, reason) = found[run, child], reference(prompts[run], step_request(child, max_tokens=4))
            if child == 1:
                assert tokens[: len(step.tokens)] == step.tokens
            else:
                assert (step.tokens, step.finish_reason) == (tokens, reason)
    for run in [*open_runs]:
        decoder.close_run(run)
    assert not decoder.busy


def test_idle_prefixes_are_dropped_least_recently_used_first() -> None:
    context = FakeContext()
    decoder = decoder_of(context)
    order = [2, 3, 4, 5, 6, 2, 7, 3]
    evaluated: list[int] = []
    for run, first in enumerate(order):
        decoder.open_run(run, (first, first, 9), shared=2)
        decoder.expand(run, [step_request(1, max_tokens=1)], None, step=LINE)
        evaluated.append(usage(drain(decoder), run)[0])
        decoder.close_run(run)
    # Four are kept: 2 is dropped when 6 has come, and 3 before it is asked for again.
    assert evaluated == [3, 3, 3, 3, 3, 3, 3, 3]
    decoder.open_run(99, (7, 7, 9), shared=2)
    decoder.expand(99, [step_request(1, max_tokens=1)], None, step=LINE)
    assert usage(drain(decoder), 99) == (1, 2, 0)
    decoder.close_run(99)
    assert context.used == 8


def test_a_run_that_ends_early_leaves_the_prefix_to_others() -> None:
    # The run that goes on pays for all of it: the other one reports nothing any more.
    context = FakeContext(batch_tokens=4)
    decoder = decoder_of(context)
    prefix = tuple(range(2, 12))
    for run in (0, 1):
        decoder.open_run(run, (*prefix, 2), shared=10)
        decoder.expand(run, [step_request(1)], None, step=LINE)
    decoder.step()
    decoder.close_run(0)
    results = drain(decoder)
    assert steps_of(results)[1, 1].tokens == reference((*prefix, 2), step_request(1))[0]
    assert usage(results, 1) == (11, 0, 0)


def test_reads_share_a_prefix_too() -> None:
    context = FakeContext()
    decoder = decoder_of(context)
    prefix = (2, 3, 4, 5)
    costs: list[tuple[int, int]] = []
    for run in (0, 1):
        decoder.open_run(run, (*prefix, 6), shared=4)
        decoder.read(run, [read(1, None, (*prefix, 6, 7, 8), (6,)), read(2, None, (*prefix, 6, 9), (5,))])
        results = [each for _, each in drain(decoder) if isinstance(each, ReadResult)]
        costs.append((sum(each.evaluated_tokens for each in results), sum(each.reevaluated_tokens for each in results)))
    assert costs == [(8, 0), (4, 0)]


@settings(max_examples=5, deadline=None)
@given(
    st.lists(st.integers(5, 250), min_size=1, max_size=150),
    st.lists(st.lists(st.integers(5, 250), min_size=1, max_size=20), min_size=2, max_size=3),
)
def test_the_bundled_model_writes_the_same_with_a_shared_prefix(prefix: list[int], rests: list[list[int]]) -> None:
    async def solve(shared: int) -> list[list[tuple[tuple[int, ...], int, int]]]:
        found: list[list[tuple[tuple[int, ...], int, int]]] = []
        async with loaded_model(resolve_model("demo-m").path, "thread", pools=1) as model:
            for rest in rests:
                tree = await model.open_run((*prefix, *rest), shared=shared)
                steps = await expand(tree, *(timed_request(child) for child in (1, 2, 3)))
                tree.close()
                found.append([(s.tokens, s.prompt_tokens, s.reevaluated_tokens) for s in steps.values()])
        return found

    with_it, without = anyio.run(solve, len(prefix)), anyio.run(solve, 0)
    assert [sorted(tokens for tokens, *_ in steps) for steps in with_it] == [
        sorted(tokens for tokens, *_ in steps) for steps in without
    ]
    read = [sum(prompt for _, prompt, _ in steps) for steps in with_it]
    assert read == [len(prefix) + len(rests[0]), *(len(rest) for rest in rests[1:])]
    assert not any(again for steps in with_it for *_, again in steps)
