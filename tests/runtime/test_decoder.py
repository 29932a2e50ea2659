"""The decoder on a context whose logits are a function of the path: any schedule gives the same steps."""

from __future__ import annotations

import itertools
import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.reward.protocol import ReadRequest, ReadResult
from ramify.sampling_params import TokenSampling

from .fake_context import LINE, WORDS, FakeContext, FakeWords, drain, read, reference, row_of, step_request, steps_of


def grow(decoder: Decoder, runs: dict[int, tuple[int, ...]], depth: int, width: int) -> list[StepResult]:
    """Expand trees level by level and compare every step with the reference."""
    paths: dict[tuple[int, int], tuple[int, ...]] = {}
    for run, prompt in runs.items():
        decoder.open_run(run, prompt)
        paths[run, 0] = prompt
    frontier, count, everything = list(paths), 0, list[StepResult]()
    for _ in range(depth):
        asked: dict[tuple[int, int], StepRequest] = {}
        for run, node in frontier:
            requests = [step_request(count + index + 1, node) for index in range(width)]
            count += width
            decoder.expand(run, requests, None, step=LINE)
            asked.update(((run, each.child), each) for each in requests)
        results = steps_of(drain(decoder))
        assert set(results) == set(asked)
        frontier = []
        for (run, child), result in results.items():
            parent = paths[run, asked[run, child].parent]
            tokens, reason = reference(parent, asked[run, child])
            assert (result.tokens, result.finish_reason) == (tokens, reason)
            paths[run, child] = parent + tokens
            everything.append(result)
            if reason != "eos" and len(frontier) < 6:
                frontier.append((run, child))
    return everything


def test_every_token_is_evaluated_once() -> None:
    context = FakeContext()
    decoder = Decoder(context, FakeWords(), max_lanes=16)
    prompt = tuple(range(2, 12)) * 4
    results = grow(decoder, {1: prompt}, depth=4, width=4)
    # Siblings may draw the same tokens, and share one sequence then.
    assert len(set(context.evaluated)) == len(context.evaluated)
    assert sum(each.prompt_tokens for each in results) == len(prompt)
    assert sum(each.reevaluated_tokens for each in results) == 0
    statistics = decoder.statistics()
    assert statistics.tokens == len(context.evaluated)
    # A prompt token is evaluated once.
    assert sum(len(path) <= len(prompt) for path in context.evaluated) == len(prompt)


def test_a_busy_machine_cuts_a_prompt_into_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = dict[float, list[int]]()
    for seconds in (1e-4, 1.0, 60.0):
        clock = itertools.count(0.0, seconds)
        monkeypatch.setattr("ramify.engine.runtime.decode.decoder.time.perf_counter", lambda clock=clock: next(clock))
        context = FakeContext()
        sizes = lengths[seconds] = list[int]()

        def decode(*batch: list[int], context: FakeContext = context, sizes: list[int] = sizes) -> int:
            sizes.append(len(batch[0]))
            return FakeContext.decode(context, *batch)

        monkeypatch.setattr(context, "decode", decode)
        grow(
            Decoder(context, FakeWords(), max_lanes=16, batch_tokens=8, timed=True), {1: tuple(range(2, 12)) * 3}, 3, 4
        )
    assert lengths[1e-4] == lengths[1.0] == lengths[60.0]
    assert lengths[1.0][:4] == [8, 8, 8, 6] and max(lengths[1.0]) <= 8


@settings(max_examples=60, deadline=None)
@given(
    cells=st.integers(90, 400),
    sequences=st.integers(4, 40),
    batch_tokens=st.integers(4, 64),
    max_lanes=st.integers(1, 40),
    prompts=st.lists(st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=40), min_size=1, max_size=3),
    width=st.integers(1, 6),
)
def test_any_shortage_gives_the_same_steps(
    cells: int, sequences: int, batch_tokens: int, max_lanes: int, prompts: list[list[int]], width: int
) -> None:
    context = FakeContext(cells=cells + batch_tokens, sequences=sequences, batch_tokens=batch_tokens)
    decoder = Decoder(context, FakeWords(), max_lanes=max_lanes)
    runs = {number: tuple(prompt) for number, prompt in enumerate(prompts)}
    results = grow(decoder, runs, depth=3, width=width)
    assert sum(each.prompt_tokens for each in results) == sum(len(prompt) for prompt in prompts)
    for run in runs:
        decoder.close_run(run)
    assert context.used == 0
    assert decoder.statistics().sequences_used == 0


def test_a_short_cache_costs_reevaluation_which_is_counted() -> None:
    context = FakeContext(cells=180, batch_tokens=32)
    decoder = Decoder(context, FakeWords(), max_lanes=16)
    results = grow(decoder, {1: tuple(range(2, 12)) * 4}, depth=5, width=6)
    assert context.full > 0
    drawn_and_evaluated = len(context.evaluated) - 40
    again = sum(each.reevaluated_tokens for each in results)
    assert again > 0
    assert drawn_and_evaluated <= again + sum(len(each.tokens) for each in results)


def test_a_path_that_does_not_fit_ends_alone() -> None:
    context = FakeContext(cells=60, batch_tokens=16, longest=50)
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    decoder.open_run(1, tuple([5] * 45))
    decoder.expand(1, [step_request(1, step=None, max_tokens=100, seed=3)], None, step=LINE)
    result = steps_of(drain(decoder))[1, 1]
    expected, reason = reference(tuple([5] * 45), step_request(1, step=None, max_tokens=5, seed=3))
    assert result.tokens == expected
    assert result.finish_reason == ("context" if reason == "length" else reason)
    decoder.open_run(2, (3, 4))
    decoder.expand(2, [step_request(1)], None, step=LINE)
    assert steps_of(drain(decoder))[2, 1].tokens == reference((3, 4), step_request(1))[0]


def test_a_prompt_beyond_the_cache_gives_context_and_spares_others() -> None:
    context = FakeContext(cells=40, batch_tokens=16, longest=100)
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    decoder.open_run(1, tuple([5] * 60))
    decoder.open_run(2, (3, 4))
    decoder.expand(1, [step_request(1), step_request(2)], None, step=LINE)
    decoder.expand(2, [step_request(1)], None, step=LINE)
    results = steps_of(drain(decoder))
    assert [results[1, child].finish_reason for child in (1, 2)] == ["context", "context"]
    assert results[2, 1].tokens == reference((3, 4), step_request(1))[0]


@settings(max_examples=40, deadline=None)
@given(allowance=st.integers(0, 60), width=st.integers(1, 12), max_lanes=st.integers(1, 12))
def test_an_allowance_is_never_exceeded(allowance: int, width: int, max_lanes: int) -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=max_lanes)
    decoder.open_run(1, (2, 3, 4))
    requests = [step_request(child, step=None, max_tokens=30) for child in range(1, width + 1)]
    decoder.expand(1, requests, allowance, step=LINE)
    results = steps_of(drain(decoder))
    assert len(results) == width
    spent = sum(len(each.tokens) for each in results.values())
    wanted = sum(len(reference((2, 3, 4), each)[0]) for each in requests)
    assert spent == min(allowance, wanted)
    for request in requests:
        result = results[1, request.child]
        tokens, reason = reference((2, 3, 4), request)
        assert result.tokens == tokens[: len(result.tokens)]
        assert result.finish_reason == (reason if result.tokens == tokens else "budget")


def test_a_result_tells_when_its_run_had_its_first_token() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=4)
    decoder.open_run(1, (2, 3, 4))
    request = step_request(1, step=None, max_tokens=30, seed=5)
    assert len(reference((2, 3, 4), request)[0]) > 2
    decoder.expand(1, [request], None, step=LINE)
    before = time.monotonic()
    assert decoder.step() == []
    after = time.monotonic()
    result = steps_of(drain(decoder))[1, 1]
    assert result.first_token_at is not None
    assert before <= result.first_token_at <= after


def test_runs_take_turns() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=4)
    decoder.open_run(1, (2, 3))
    decoder.open_run(2, (4, 5))
    decoder.expand(1, [step_request(child, max_tokens=5, step=None) for child in range(1, 41)], None, step=LINE)
    decoder.expand(2, [step_request(1, max_tokens=5, step=None)], None, step=LINE)
    order = [run for run, _ in drain(decoder)]
    assert order.index(2) < 10


def test_interrupted_sequences_keep_what_they_have() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=4)
    decoder.open_run(1, (2, 3))
    requests = [step_request(child, step=None, max_tokens=50) for child in range(1, 9)]
    decoder.expand(1, requests, None, step=LINE)
    for _ in range(4):
        decoder.step()
    decoder.interrupt(1)
    results = steps_of(drain(decoder, limit=3))
    for request in requests:
        if (1, request.child) in results:
            result = results[1, request.child]
            tokens, _ = reference((2, 3), request)
            assert result.tokens == tokens[: len(result.tokens)]
            assert result.finish_reason in ("cancelled", "eos")
    assert sum(each.finish_reason == "cancelled" for each in results.values()) >= 4


def test_a_closed_run_leaves_nothing_behind() -> None:
    context = FakeContext()
    decoder = Decoder(context, FakeWords(), max_lanes=4)
    decoder.open_run(1, (2, 3))
    decoder.expand(1, [step_request(child, step=None) for child in range(1, 9)], None, step=LINE)
    for _ in range(3):
        decoder.step()
    decoder.close_run(1)
    assert not decoder.busy
    assert context.used == 0


def test_released_nodes_give_their_cells_back() -> None:
    context = FakeContext()
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    decoder.open_run(1, tuple([4] * 30))
    decoder.expand(1, [step_request(child, max_tokens=10, step=None) for child in range(1, 9)], None, step=LINE)
    drain(decoder)
    decoder.release(1, range(1, 9))
    assert context.used == 30


def check_reads(requests: list[ReadRequest], results: list[tuple[int, StepResult | ReadResult]]) -> None:
    found = {each.node: each for _, each in results if isinstance(each, ReadResult)}
    assert set(found) == {each.node for each in requests}
    for each in requests:
        expected = [tuple(float(row_of(each.tokens[: at + 1])[id]) for id in each.ids) for at in each.read]
        assert list(found[each.node].logits) == expected


def test_reads_evaluate_only_what_is_new() -> None:
    context = FakeContext()
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    prompt, first, second = (2, 3, 4, 5), (2, 3, 4, 5, 6, 7), (2, 3, 4, 5, 6, 7, 8, 9, 10)
    decoder.open_run(1, prompt)
    siblings = [read(1, None, first), read(2, None, (*prompt, 9, 9))]
    decoder.read(1, siblings)
    check_reads(siblings, drain(decoder))
    assert len(context.evaluated) == 4 + 2 + 2
    decoder.read(1, [read(3, 1, second)])
    check_reads([read(3, 1, second)], drain(decoder))
    assert len(context.evaluated) == 4 + 2 + 2 + 3


@settings(max_examples=60, deadline=None)
@given(data=st.data(), cells=st.integers(80, 200), sequences=st.integers(3, 20), batch_tokens=st.integers(3, 40))
def test_reads_are_right_under_any_shortage(data: st.DataObject, cells: int, sequences: int, batch_tokens: int) -> None:
    context = FakeContext(cells=cells + batch_tokens, sequences=sequences, batch_tokens=batch_tokens)
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    decoder.open_run(1, (2, 3, 4))
    known: list[tuple[int | None, tuple[int, ...]]] = [(None, (2, 3, 4))]
    node = 0
    for _ in range(3):
        requests: list[ReadRequest] = []
        for _ in range(data.draw(st.integers(1, 5))):
            parent, path = data.draw(st.sampled_from(known))
            # Retokenised text may differ from the parent's path near its end.
            kept = path[: max(1, len(path) - data.draw(st.integers(0, 3)))]
            tokens = (*kept, *data.draw(st.lists(st.integers(0, WORDS - 1), min_size=1, max_size=12)))
            at = tuple(sorted(data.draw(st.sets(st.integers(0, len(tokens) - 1), min_size=1, max_size=3))))
            node += 1
            requests.append(read(node, parent, tokens, at))
        decoder.read(1, requests)
        check_reads(requests, drain(decoder))
        known += [(each.node, each.tokens) for each in requests]
    decoder.close_run(1)
    assert context.used == 0
    assert decoder.statistics().sequences_used == 0


def test_reads_of_unknown_parents_and_too_long_paths() -> None:
    decoder = Decoder(FakeContext(longest=10), FakeWords(), max_lanes=8)
    decoder.open_run(1, (2, 3))
    requests = [read(5, 4, (2, 3, 4)), read(6, None, tuple([2] * 11))]
    decoder.read(1, requests)
    results = {each.node: each for _, each in drain(decoder) if isinstance(each, ReadResult)}
    assert results[6].too_long
    assert not results[5].too_long


def test_a_node_read_again_with_another_path_frees_the_old_one() -> None:
    context = FakeContext()
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    decoder.open_run(1, (2, 3))
    for last in (5, 6, 7):
        decoder.read(1, [read(1, None, (2, 3, 4, last))])
        drain(decoder)
    decoder.close_run(1)
    assert context.used == 0


def test_logits_that_are_no_numbers_fail_their_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    context = FakeContext()
    good = context.logits

    def logits(rows: int) -> npt.NDArray[np.float32]:
        block = good(rows).copy()
        for index in range(rows):
            if block[index].tolist() in bad:
                block[index] = np.nan
        return block

    bad = [row_of((2, 3)).tolist()]
    monkeypatch.setattr(context, "logits", logits)
    decoder = Decoder(context, FakeWords(), max_lanes=8)
    decoder.open_run(1, (2, 3))
    decoder.open_run(2, (4, 5))
    decoder.expand(1, [step_request(1), step_request(2)], None, step=LINE)
    decoder.expand(2, [step_request(1)], None, step=LINE)
    results: list[tuple[int, StepResult | ReadResult]] = []
    failures: dict[int, str] = {}
    while decoder.busy:
        results += decoder.step()
        failures.update(decoder.take_failures())
    assert set(failures) == {1}
    assert {run for run, _ in results} == {2}
    assert steps_of(results)[2, 1].tokens == reference((4, 5), step_request(1))[0]


def test_greedy_sequences_and_adopted_nodes() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=8)
    decoder.open_run(1, (2, 3))
    decoder.adopt(1, 1, 0, (4, 5))
    decoder.adopt(1, 2, 1, (6,))
    request = StepRequest(parent=2, child=3, seed=1, max_tokens=9, sampling=TokenSampling(temperature=0.0))
    decoder.expand(1, [request], None, step=LINE)
    result = steps_of(drain(decoder))[1, 3]
    assert result.tokens == reference((2, 3, 4, 5, 6), request)[0]


def test_paths_that_have_begun_go_first() -> None:
    decoder = Decoder(FakeContext(), FakeWords(), max_lanes=1)
    decoder.open_run(1, (2, 3))
    decoder.expand(1, [step_request(child) for child in (1, 2, 3)], None, step=LINE)
    order: list[int] = []
    while decoder.busy:
        for _, result in decoder.step():
            assert isinstance(result, StepResult)
            order.append(result.child)
            if result.child == 1:
                decoder.expand(1, [step_request(4, 1), step_request(5, 1)], None, step=LINE)
    assert sorted(order) == [1, 2, 3, 4, 5]
    # Which of the first three comes first is for their common beginning to say.
    place = order.index(1)
    assert sorted(order[place + 1 : place + 3]) == [4, 5]
