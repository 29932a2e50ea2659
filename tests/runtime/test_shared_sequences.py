"""Children that write the same share one sequence, and one evaluated token is enough for all of them."""

from __future__ import annotations

import pytest

import ramify
from ramify.engine.policy.llama import LlamaPolicy
from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.decode.step_text import StepText
from ramify.engine.runtime.messages import StepRequest
from ramify.sampling_params import TokenSampling
from ramify.search.strategy import Strategy

from .fake_context import LINE, FakeContext, FakeWords, drain, reference, step_request, steps_of

PROMPT = (2, 3, 4)
GREEDY = TokenSampling(temperature=0.0)


def greedy(child: int, parent: int = 0, max_tokens: int = 5) -> StepRequest:
    return StepRequest(parent=parent, child=child, seed=child, max_tokens=max_tokens, sampling=GREEDY, to_the_end=True)


def decoder_with(context: FakeContext, max_lanes: int = 8) -> Decoder:
    decoder = Decoder(context, FakeWords(), max_lanes=max_lanes)
    decoder.open_run(1, PROMPT)
    return decoder


def test_sequences_that_draw_the_same_cost_one() -> None:
    context = FakeContext()
    decoder = decoder_with(context, max_lanes=1)
    decoder.expand(1, [greedy(child) for child in range(1, 31)], None, step=LINE)
    results = steps_of(drain(decoder))
    assert {each.tokens for each in results.values()} == {reference(PROMPT, greedy(1))[0]}
    assert len(results) == 30
    # The last token waits until somebody goes on from it.
    assert len(context.evaluated) == len(PROMPT) + 4
    found = decoder.statistics()
    assert (found.shared_sequences, found.child_sequences, found.tokens) == (4, 120, len(PROMPT) + 4)
    assert sum(each.shared_tokens for each in results.values()) == 4 * 29


def test_steps_of_the_same_tokens_are_expanded_as_one() -> None:
    context = FakeContext()
    decoder = decoder_with(context)
    decoder.expand(1, [greedy(1), greedy(2)], None, step=LINE)
    drain(decoder)
    decoder.expand(1, [greedy(3, 1), greedy(4, 2)], None, step=LINE)
    first, second = steps_of(drain(decoder)).values()
    assert first.tokens == second.tokens
    assert len(set(context.evaluated)) == len(context.evaluated) == len(PROMPT) + 5 + 4
    # Also when they are expanded one after the other.
    decoder.expand(1, [greedy(5, 3, 1)], None, step=LINE)
    drain(decoder)
    evaluated = len(context.evaluated)
    decoder.expand(1, [greedy(6, 4, 1)], None, step=LINE)
    drain(decoder)
    assert len(context.evaluated) == evaluated


def test_what_is_kept_for_one_step_is_kept_until_the_last_of_its_names_is_released() -> None:
    context = FakeContext()
    decoder = decoder_with(context)
    decoder.expand(1, [greedy(1), greedy(2), greedy(3)], None, step=LINE)
    drain(decoder)
    held = context.used
    assert held == len(PROMPT) + 4
    decoder.release(1, [1, 3])
    assert context.used == held
    decoder.release(1, [2])
    assert context.used == len(PROMPT)


def test_a_step_drawn_again_after_its_node_was_released_is_new() -> None:
    context = FakeContext()
    decoder = decoder_with(context)
    followers = [step_request(3, 2), step_request(4, 2)]
    decoder.expand(1, [greedy(1)], None, step=LINE)
    first = steps_of(drain(decoder))[1, 1].tokens
    decoder.expand(1, [greedy(5, parent=1)], None, step=LINE)
    drain(decoder)
    decoder.release(1, [1])
    decoder.expand(1, [greedy(2)], None, step=LINE)
    assert steps_of(drain(decoder))[1, 2].tokens == first
    decoder.expand(1, followers, None, step=LINE)
    results = steps_of(drain(decoder))
    assert [results[1, each.child].tokens for each in followers] == [
        reference(PROMPT + first, each)[0] for each in followers
    ]
    assert [results[1, each.child].reevaluated_tokens for each in followers] == [0, 0]


def test_steps_of_a_shared_sequence_are_interrupted_one_by_one() -> None:
    decoder = decoder_with(FakeContext())
    decoder.expand(1, [greedy(child, max_tokens=9) for child in (1, 2, 3)], None, step=LINE)
    for _ in range(4):
        decoder.step()
    decoder.interrupt(1, frozenset({2}))
    results = steps_of(drain(decoder))
    whole = reference(PROMPT, greedy(1, max_tokens=9))[0]
    assert len(whole) > 4
    assert results[1, 1].tokens == results[1, 3].tokens == whole
    assert results[1, 2].finish_reason == "cancelled"
    assert 0 < len(results[1, 2].tokens) < len(whole)
    assert results[1, 2].tokens == whole[: len(results[1, 2].tokens)]


def test_an_allowance_counts_children_not_shared_sequences() -> None:
    decoder = decoder_with(FakeContext())
    decoder.expand(1, [greedy(child) for child in range(1, 5)], 10, step=LINE)
    results = steps_of(drain(decoder))
    assert sorted(len(each.tokens) for each in results.values()) == [2, 2, 3, 3]
    assert {each.finish_reason for each in results.values()} == {"budget"}


def test_sequences_with_other_limits_keep_to_their_own() -> None:
    decoder = decoder_with(FakeContext())
    hot = StepRequest(parent=0, child=3, seed=3, max_tokens=7, sampling=TokenSampling(temperature=3.0))
    decoder.expand(1, [greedy(1, max_tokens=2), greedy(2, max_tokens=7), hot, step_request(4)], None, step=LINE)
    results = steps_of(drain(decoder))
    assert results[1, 1].tokens == results[1, 2].tokens[:2]
    assert results[1, 1].finish_reason == "length"
    assert results[1, 3].tokens == reference(PROMPT, hot)[0]
    assert results[1, 4].tokens == reference(PROMPT, step_request(4))[0]


def test_branches_beyond_the_most_wait_and_write_what_they_would_have() -> None:
    context = FakeContext()
    decoder = decoder_with(context, max_lanes=3)
    requests = [step_request(child) for child in range(1, 61)]
    decoder.expand(1, requests, None, step=LINE)
    widest, results = 0, []
    while decoder.busy:
        before = decoder.statistics().shared_sequences
        results += decoder.step()
        widest = max(widest, decoder.statistics().shared_sequences - before)
    assert widest == 3
    assert {child: each.tokens for (_, child), each in steps_of(results).items()} == {
        each.child: reference(PROMPT, each)[0] for each in requests
    }
    # What waits keeps its few cells as long as nothing else needs their id; what is evaluated again is counted.
    again = sum(each.reevaluated_tokens for each in steps_of(results).values())
    assert again == len(context.evaluated) - len(set(context.evaluated)) == 0


@pytest.mark.parametrize("end", ["interrupt", "release", "close"])
def test_what_waits_beyond_the_most_leaves_nothing_behind(end: str) -> None:
    context = FakeContext()
    decoder = decoder_with(context, max_lanes=3)
    requests = [step_request(child) for child in range(1, 61)]
    decoder.expand(1, requests, None, step=LINE)
    for _ in range(3):
        results = decoder.step()
    if end != "close":
        decoder.interrupt(1)
        results += drain(decoder)
        for (_, child), step in steps_of(results).items():
            assert step.tokens == reference(PROMPT, requests[child - 1])[0][: len(step.tokens)]
    if end == "release":
        decoder.release(1, range(61))
    else:
        decoder.close_run(1)
    assert (context.used, decoder.statistics().sequences_used, decoder.statistics().cells_used) == (0, 0, 0)


def test_a_text_goes_on_twice_from_the_middle_of_a_character() -> None:
    text = StepText(LINE)
    text.add(b"a\xc3")
    other = text.copy()
    assert not text.add(b"\xa9")
    assert other.add(b"\xa8\n")
    assert (text.text, other.text) == ("aé", "aè\n")


@pytest.mark.parametrize("strategy", [ramify.MajorityVote(width=24), ramify.Rebase(width=16)])
async def test_no_two_tokens_on_the_same_path_are_evaluated_by_the_bundled_models(strategy: Strategy) -> None:
    problem = ramify.generate_problems(steps=(5, 8), count=1, seed=4)[0]
    async with ramify.Engine(isolation="thread") as engine:
        assert isinstance(engine.policy, LlamaPolicy)
        solution = await engine.solve(problem, strategy=strategy)
        found = await engine.policy.model.statistics()
    assert solution.tree is not None
    paths: dict[int, tuple[int, ...]] = {}
    needed = set[tuple[int, ...]]()
    for node in solution.tree:
        above = () if node.parent is None else paths[node.parent]
        path = paths[node.id] = above + node.tokens
        needed |= {path[:length] for length in range(len(above) + 1, len(path))}
    assert found.shared_sequences == len(needed)
    assert found.child_sequences > 1.2 * found.shared_sequences
    assert solution.usage.policy.shared_tokens == found.child_sequences - found.shared_sequences
