"""Drafts from texts of a run: the same tokens as without, fewer decodes, and counts that add up."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ramify
from ramify.engine.runtime.decode import drafts
from ramify.engine.runtime.decode.decoder import Decoder
from ramify.engine.runtime.messages import StepRequest, StepResult
from ramify.sampling_params import TokenSampling

from . import fake_context
from .fake_context import LINE, WORDS, FakeContext, FakeWords, drain, row_of, step_request, steps_of

SAMPLINGS = (
    TokenSampling(),
    TokenSampling(temperature=0.0),
    TokenSampling(temperature=0.5, top_k=4),
    TokenSampling(temperature=0.8, top_p=0.9, min_p=0.05),
    TokenSampling(temperature=0.7, repeat_penalty=1.3, presence_penalty=0.2),
)


def repeating(path: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return logits that mostly follow from the last two tokens, so that texts repeat themselves."""
    return row_of(path[-2:]) * 2 + row_of(path) * 0.2


def written(
    prompts: Sequence[tuple[int, ...]],
    requests: Sequence[StepRequest],
    *,
    cost: float | None,
    cells: int = 10_000,
    allowance: int | None = None,
) -> tuple[dict[tuple[int, int], StepResult], int]:
    """Return the steps of all requests in each run, two levels deep, and the number of decodes."""
    context = FakeContext(cells=cells, sequences=12, batch_tokens=24)
    decoder = Decoder(context, FakeWords(), max_lanes=6, draft_cost=cost)
    found: dict[tuple[int, int], StepResult] = {}
    for run, prompt in enumerate(prompts):
        decoder.open_run(run, prompt)
        decoder.expand(run, requests, allowance, step=LINE)
    found.update(steps_of(drain(decoder)))
    below = [(run, child) for (run, child), step in sorted(found.items()) if step.finish_reason.value == "step"]
    for run, child in below:
        more = StepRequest(parent=child, child=100 + child, seed=child, max_tokens=20, sampling=requests[0].sampling)
        decoder.expand(run, [more], allowance, step=LINE)
    found.update(steps_of(drain(decoder)))
    for held in context.held.values():
        # No cell of a draft stays in a sequence beyond its path.
        assert len(held) <= max(len(prompt) for prompt in prompts) + 60
    calls = decoder.statistics().decode_calls
    for run in range(len(prompts)):
        decoder.close_run(run)
    assert context.used == 0
    return found, calls


@settings(max_examples=40, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(1, WORDS - 1), min_size=3, max_size=20), min_size=1, max_size=2),
    width=st.integers(1, 4),
    sampling=st.sampled_from(SAMPLINGS),
    cells=st.sampled_from([100, 10_000]),
    alike=st.booleans(),
)
def test_every_path_has_the_tokens_that_it_has_without_drafts(
    prompts: list[list[int]], width: int, sampling: TokenSampling, cells: int, alike: bool
) -> None:
    before = fake_context.row_of
    fake_context.row_of = repeating
    try:
        requests = [
            StepRequest(parent=0, child=child, seed=1 if alike else child, max_tokens=20, sampling=sampling)
            for child in range(1, width + 1)
        ]
        paths = [tuple(prompt) for prompt in prompts]
        drafted, _ = written(paths, requests, cost=0.05, cells=cells)
        plain, _ = written(paths, requests, cost=None, cells=cells)
    finally:
        fake_context.row_of = before
    assert {key: (step.tokens, step.finish_reason, step.text) for key, step in drafted.items()} == {
        key: (step.tokens, step.finish_reason, step.text) for key, step in plain.items()
    }
    for key, step in drafted.items():
        assert step.logprob == pytest.approx(plain[key].logprob)
    if cells == 10_000:
        assert not any(step.reevaluated_tokens for step in drafted.values())


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30), st.integers(1, 4))
def test_an_allowance_is_kept_with_drafts(allowance: int, width: int) -> None:
    requests = [step_request(child, max_tokens=20, step=None) for child in range(1, width + 1)]
    drafted, _ = written([(2, 3, 4, 2, 3, 4, 2, 3)], requests, cost=0.05, allowance=allowance)
    assert sum(step.generated_tokens for step in drafted.values()) <= allowance


def test_a_text_that_repeats_itself_takes_fewer_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def cycle(path: Sequence[int]) -> npt.NDArray[np.float32]:
        row = np.zeros(WORDS, dtype=np.float32)
        row[2 + (path[-1] - 1) % 8] = 20.0
        return row

    monkeypatch.setattr(fake_context, "row_of", cycle)
    request = StepRequest(parent=0, child=1, seed=1, max_tokens=60, to_the_end=True)
    drafted, calls = written([tuple(range(2, 10)) * 2], [request], cost=0.05)
    plain, plain_calls = written([tuple(range(2, 10)) * 2], [request], cost=None)
    step = drafted[0, 1]
    assert step.tokens == plain[0, 1].tokens
    assert calls < plain_calls / 4
    assert step.drafted_tokens > 40
    assert step.rejected_tokens == 0
    assert plain[0, 1].drafted_tokens == 0


def test_drafts_stop_where_they_do_not_pay() -> None:
    run = drafts.RunDrafts()
    lengths = [run._length(drafts.PROCESSOR_COST) for _ in range(64)]  # pyright: ignore[reportPrivateUsage]
    assert lengths.count(0) == 60
    run.accepted, run.tried = 40.0, 40.0
    assert run._length(drafts.PROCESSOR_COST) == drafts.LONGEST_DRAFT  # pyright: ignore[reportPrivateUsage]
    run.accepted = 20.0
    assert run._length(drafts.GPU_COST) in range(1, 4)  # pyright: ignore[reportPrivateUsage]


def test_rejected_tokens_are_counted() -> None:
    requests = [step_request(child, max_tokens=20, step=None) for child in (1, 2)]
    prompt = tuple([2, 3, 4, 5, 6, 7] * 6)
    context = FakeContext()
    decoder = Decoder(context, FakeWords(), max_lanes=6, draft_cost=0.0)
    decoder.open_run(0, prompt)
    decoder.expand(0, requests, None, step=LINE)
    steps = steps_of(drain(decoder)).values()
    evaluated = len(context.evaluated)
    generated = sum(step.generated_tokens for step in steps)
    rejected = sum(step.rejected_tokens for step in steps)
    shared = sum(step.shared_tokens for step in steps)
    # The last token of each path is drawn and not evaluated, and shared ones are evaluated once.
    assert evaluated == len(prompt) + generated - len(requests) + rejected - shared


def test_the_bundled_model_writes_the_same_with_drafts() -> None:
    async def solve(draft: str) -> ramify.Solution:
        async with ramify.Engine(model="demo-m", reward=None, draft=draft, isolation="thread") as engine:
            return await engine.solve("What is 3+4*2?", strategy=ramify.MajorityVote(width=3), seed=1)

    plain, drafted = anyio.run(solve, "off"), anyio.run(solve, "lookup")
    assert [node.text for node in drafted.tree] == [node.text for node in plain.tree]
    assert plain.usage.policy.rejected_tokens == plain.usage.policy.drafted_tokens == 0
    assert drafted.usage.policy.reevaluated_tokens == 0


def test_an_unknown_kind_of_drafts_is_refused_before_anything_loads() -> None:
    with pytest.raises(ramify.UsageError, match="draft"):
        ramify.Engine(model="no-such-model", draft="perhaps")
