"""Penalties on repeated tokens, exact against llama.cpp's sampler, and texts that end a path."""

from __future__ import annotations

import ctypes
from collections import Counter

import numpy as np
import pytest
from llama_cpp import llama_cpp

from ramify.config import stop_pattern
from ramify.engine.policy.defaults import recommended_sampling
from ramify.engine.policy.remote.dialect import Dialect
from ramify.engine.policy.remote.requests import CompletionRequest, body
from ramify.engine.runtime.decode.penalties import penalise, plain_logprobs
from ramify.engine.runtime.decode.prefix_cache import PrefixNode
from ramify.engine.runtime.decode.run_state import RunState
from ramify.engine.runtime.decode.shared_sequences import RequestGroup, SharedSequence
from ramify.engine.runtime.decode.step_text import StepText
from ramify.engine.runtime.messages import StepRequest
from ramify.errors import UsageError
from ramify.sampling_params import SamplingParams, StepFormat, TokenSampling
from ramify.search.node import FinishReason
from ramify.settings import verify

SIZE = 300


def by_llama(row: np.ndarray, tokens: list[int], sampling: TokenSampling) -> np.ndarray:
    """Return a row after llama.cpp's sampler of penalties, whose window holds all tokens."""
    sampler = llama_cpp.llama_sampler_init_penalties(
        *([SIZE] if len(llama_cpp.llama_sampler_init_penalties.argtypes) == 5 else []),
        4096,
        sampling.repeat_penalty,
        sampling.frequency_penalty,
        sampling.presence_penalty,
    )
    entries = (llama_cpp.llama_token_data * SIZE)(
        *(llama_cpp.llama_token_data(id, float(value), 0.0) for id, value in enumerate(row))
    )
    candidates = llama_cpp.llama_token_data_array(entries, SIZE, -1, False)
    for token in tokens:
        llama_cpp.llama_sampler_accept(sampler, token)
    llama_cpp.llama_sampler_apply(sampler, ctypes.byref(candidates))
    found = np.array([entries[place].logit for place in range(SIZE)], dtype=np.float32)
    llama_cpp.llama_sampler_free(sampler)
    return found


@pytest.mark.parametrize(
    "sampling",
    [
        TokenSampling(repeat_penalty=1.3),
        TokenSampling(frequency_penalty=0.7),
        TokenSampling(presence_penalty=-0.4),
        TokenSampling(repeat_penalty=0.9, frequency_penalty=-1.1, presence_penalty=0.3),
    ],
)
def test_the_logits_are_those_of_llama_cpp(sampling: TokenSampling) -> None:
    numbers = np.random.default_rng(1)
    logits = numbers.normal(0, 5, (5, SIZE)).astype(np.float32)
    logits[:, 7] = 0.0
    paths = [numbers.integers(0, 40, length).tolist() for length in (3, 0, 60, 1000, 9)]
    wanted = np.array([by_llama(row, path, sampling) for row, path in zip(logits, paths, strict=True)])
    wanted[4] = logits[4]
    found = logits.copy()
    counts: list[Counter[int] | None] = [Counter(path) for path in paths]
    counts[4] = None
    penalised = penalise(found, [sampling] * 4 + [TokenSampling()], counts)
    np.testing.assert_array_equal(found, wanted)
    assert penalised is not None and penalised.rows == [0, 2, 3]
    penalised.lift(found)
    np.testing.assert_array_equal(found, logits)


def test_rows_without_penalties_stay() -> None:
    logits = np.ones((1, SIZE), dtype=np.float32)
    assert penalise(logits, [TokenSampling()], [None]) is None
    assert penalise(logits, [TokenSampling(repeat_penalty=2.0)], [Counter()]) is None


def test_log_probabilities_are_those_without_penalties() -> None:
    row = np.random.default_rng(2).normal(0, 3, SIZE).astype(np.float32)
    wanted = row.astype(np.float64) - np.log(np.exp(row.astype(np.float64)).sum())
    np.testing.assert_allclose(plain_logprobs(row, np.array([3, 9])), wanted[[3, 9]], rtol=1e-6)


def test_penalties_that_are_off_leave_no_trace() -> None:
    assert TokenSampling().to_dict() == {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    assert "repeat_penalty" not in SamplingParams(top_k=3).to_dict()
    sampling = SamplingParams(repeat_penalty=1.2).resolved()
    assert (sampling.to_dict()["repeat_penalty"], str(sampling)) == (1.2, "temperature 1, repeat penalty 1.2")
    assert recommended_sampling({"general.sampling.penalty_repeat": 1.0499999523}).repeat_penalty == 1.05
    for wrong in ({"repeat_penalty": -0.5}, {"frequency_penalty": 11.0}, {"presence_penalty": float("nan")}):
        with pytest.raises(UsageError):
            verify(SamplingParams(**wrong))


def test_servers_get_the_penalties() -> None:
    def fields(sampling: TokenSampling, *, verbose: bool = False) -> dict[str, object]:
        request = CompletionRequest(prefix="", turns=(), max_tokens=1, sampling=sampling, seed=1)
        return body("m", {"prompt": "x"}, request, Dialect(verbose=verbose), logprobs=False)

    assert fields(TokenSampling())["repetition_penalty"] == 1.0
    assert "frequency_penalty" not in fields(TokenSampling())
    found = fields(TokenSampling(repeat_penalty=1.1, presence_penalty=0.5), verbose=True)
    assert (found["repetition_penalty"], found["repeat_penalty"], found["presence_penalty"]) == (1.1, 1.1, 0.5)


LINE = StepFormat(name="line", pattern=r"\n")


def ended(stop: str | None, *steps: list[str]) -> list[tuple[str, FinishReason | None]]:
    found = list[tuple[str, FinishReason | None]]()
    for pieces in steps:
        text = StepText(LINE, stop=stop_pattern(stop, "".join(each for each, _ in found)))
        reason = None
        for piece in pieces:
            reason = reason or text.add(piece.encode())
        found.append((text.close(), reason))
    return found


def test_a_text_ends_the_path_before_it() -> None:
    assert ended("Q:", ["a ", "Q", ": b"]) == [("a", FinishReason.EOS)]
    assert ended('["x y", "Q:"]', ["a x", " y", " b"]) == [("a", FinishReason.EOS)]
    assert ended("[a", ["b ", "[", "a"]) == [("b", FinishReason.EOS)]
    # Also one that begins in the step before, or in an earlier line of this one.
    assert ended("\n\nQ", ["a\n"], ["\n", "Q"]) == [("a\n", FinishReason.STEP), ("", FinishReason.EOS)]
    assert ended("a\nb", ["a\n"], ["b"]) == [("a\n", FinishReason.STEP), ("", FinishReason.EOS)]
    assert ended("a\nb", ["c\n"], ["b"]) == [("c\n", FinishReason.STEP), ("b", None)]
    text = StepText(None, stop=stop_pattern("\n\nQ"))
    assert [text.add(each) for each in (b"a\n", b"\n", b"Q")] == [None, None, FinishReason.EOS]


@pytest.mark.parametrize("text", ["", "[]", '["a", ""]', "[7]"])
def test_what_ends_no_path_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="stop_text"):
        stop_pattern(text)


def test_texts_that_the_model_was_told_are_not_penalised() -> None:
    """Results of tools and closings of thoughts: a model is not pushed away from repeating a result."""
    state = RunState({})
    state.name(0, PrefixNode(0, None, (1, 2, 3), 0)).is_prompt = True
    state.adopt(1, 0, (10, 11))
    state.adopt(2, 1, (50, 51), generated=False)
    state.adopt(3, 2, (60,), generated=False)
    state.adopt(4, 3, (12, 10))
    request = StepRequest(parent=4, child=5, seed=0, max_tokens=5, sampling=TokenSampling(repeat_penalty=1.3))
    shared = SharedSequence(state.nodes[4], request, StepText(None), RequestGroup(None))
    assert shared.penalised == Counter({10: 2, 11: 1, 12: 1})
