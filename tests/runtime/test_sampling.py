"""Draws follow the exact distribution, and a sequence's draws are its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramify.engine.runtime.decode.draws import RowSampler, uniforms
from ramify.errors import UsageError
from ramify.sampling_params import TokenSampling, check_sampling

Floats = npt.NDArray[np.float32]
DRAWS = 20_000


def sample(
    logits: Floats, params: list[TokenSampling], numbers: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    return RowSampler(logits.shape[1]).draw(logits, params, numbers)


def exact(logits: Floats, params: TokenSampling) -> npt.NDArray[np.float64]:
    """Return the distribution from its definition, in plain double arithmetic."""
    ordered = sorted(range(len(logits)), key=lambda index: -float(logits[index]))
    probability = np.exp(logits.astype(np.float64) - float(logits.max()))
    probability /= probability.sum()
    if params.top_k:
        ordered = ordered[: params.top_k]
    kept, total, whole = [], 0.0, sum(probability[index] for index in ordered)
    for index in ordered:
        if total / whole >= params.top_p and kept:
            break
        kept.append(index)
        total += probability[index]
    best = probability[ordered[0]]
    kept = [index for index in kept if probability[index] >= params.min_p * best]
    result = np.zeros(len(logits))
    result[kept] = (probability[kept] / best) ** (1 / params.temperature)
    return result / result.sum()


@pytest.mark.parametrize("size", [40, 5000])
@pytest.mark.parametrize(
    "params",
    [
        TokenSampling(),
        TokenSampling(temperature=0.5),
        TokenSampling(temperature=2.0, top_k=7),
        TokenSampling(top_p=0.6),
        TokenSampling(min_p=0.2),
        TokenSampling(temperature=0.8, top_k=20, top_p=0.9, min_p=0.05),
    ],
)
def test_draws_follow_the_distribution(size: int, params: TokenSampling) -> None:
    logits = np.random.default_rng(size).standard_normal(size).astype(np.float32) * 2
    wanted = exact(logits, params)
    if size > 1000:
        block = np.broadcast_to(logits, (50, size))
        drawn = [
            sample(block, [params] * 50, uniforms([7] * 50, range(start, start + 50)))[0]
            for start in range(0, DRAWS // 10, 50)
        ]
        tokens = np.concatenate(drawn)
    else:
        tokens, _ = sample(
            np.broadcast_to(logits, (DRAWS, size)), [params] * DRAWS, uniforms([7] * DRAWS, range(DRAWS))
        )
    counts = np.bincount(tokens, minlength=size)
    assert not counts[wanted == 0].any()
    # Rare tokens are counted together, so that the statistic has its distribution.
    rare = wanted * len(tokens) < 5
    seen, expected = (
        [*counts[~rare], counts[rare].sum()],
        [*(wanted[~rare] * len(tokens)), wanted[rare].sum() * len(tokens)],
    )
    pairs = [(have, want) for have, want in zip(seen, expected, strict=True) if want > 0]
    chi_square = sum((have - want) ** 2 / want for have, want in pairs)
    freedom = len(pairs) - 1
    # Wilson and Hilferty's approximation of the quantile at 1 - 1e-6.
    limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * (2 / (9 * freedom)) ** 0.5) ** 3 if freedom else 1e-9
    assert chi_square <= limit


def test_greedy_takes_the_lowest_of_the_best() -> None:
    logits = np.asarray([[0.0, 3.0, 3.0], [5.0, 1.0, 5.0]], dtype=np.float32)
    tokens, logprobs = sample(logits, [TokenSampling(temperature=0.0)] * 2, uniforms([1, 2], [0, 0]))
    assert tokens.tolist() == [1, 0]
    assert logprobs == pytest.approx([3 - np.log(np.exp(logits[0]).sum()), 5 - np.log(np.exp(logits[1]).sum())])


def test_logprobs_are_at_temperature_one_and_unfiltered() -> None:
    logits = np.asarray([[1.0, 2.0, 3.0]], dtype=np.float32)
    tokens, logprobs = sample(logits, [TokenSampling(temperature=0.1, top_k=1)], uniforms([0], [0]))
    assert tokens.tolist() == [2]
    assert logprobs[0] == pytest.approx(3 - np.log(np.exp([1.0, 2.0, 3.0]).sum()))


@pytest.mark.parametrize("params", [TokenSampling(), TokenSampling(temperature=0.0), TokenSampling(top_p=0.5)])
def test_rows_that_are_no_logits_give_minus_one(params: TokenSampling) -> None:
    logits = np.zeros((4, 5000), dtype=np.float32)
    logits[0, 17] = np.nan
    logits[1] = -np.inf
    logits[2, 3] = np.inf
    tokens, _ = sample(logits, [params] * 4, uniforms(range(4), [0] * 4))
    assert tokens[:3].tolist() == [-1, -1, -1]
    assert 0 <= tokens[3] < 5000


@pytest.mark.parametrize("size", [10, 3000, 9001])
def test_the_ends_of_the_range_never_draw_what_is_impossible(size: int) -> None:
    logits = np.full((2, size), -np.inf, dtype=np.float32)
    logits[:, size // 2] = 1.0
    logits[:, size // 3] = 1.0
    tokens, _ = sample(logits, [TokenSampling()] * 2, np.asarray([0.0, np.nextafter(1.0, 0.0)]))
    assert tokens.tolist() == [size // 3, size // 2]


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(1, 12), size=st.sampled_from([5, 300, 5000]))
def test_a_sequence_draws_the_same_whatever_shares_the_batch(data: st.DataObject, count: int, size: int) -> None:
    logits = np.random.default_rng(count).standard_normal((count, size)).astype(np.float32)
    settings_ = st.sampled_from([TokenSampling(), TokenSampling(temperature=0.3, top_k=3), TokenSampling(top_p=0.7)])
    params = [data.draw(settings_) for _ in range(count)]
    seeds = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=count, max_size=count))
    draws = data.draw(st.lists(st.integers(0, 2000), min_size=count, max_size=count))
    together, logprobs = sample(logits, params, uniforms(seeds, draws))
    for row in range(count):
        alone, logprob = sample(logits[row : row + 1], [params[row]], uniforms([seeds[row]], [draws[row]]))
        assert alone[0] == together[row]
        assert logprob[0] == pytest.approx(logprobs[row])


def test_numbers_are_uniform_and_independent() -> None:
    numbers = uniforms(
        [seed for seed in range(100) for _ in range(100)], [draw for _ in range(100) for draw in range(100)]
    )
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert len(set(numbers.tolist())) == 10_000
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 500) ** 2 / 500).sum() < 60
    table = numbers.reshape(100, 100)
    assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(
    "params",
    [
        TokenSampling(temperature=-1.0),
        TokenSampling(temperature=float("nan")),
        TokenSampling(top_k=-1),
        TokenSampling(top_p=1.5),
        TokenSampling(min_p=-0.1),
    ],
)
def test_settings_out_of_range_are_refused(params: TokenSampling) -> None:
    with pytest.raises(UsageError):
        check_sampling(params)


@pytest.mark.parametrize("filters", [{}, {"top_k": 5}, {"top_p": 0.9}])
@pytest.mark.parametrize("temperature", [1e-320, 1e-60, 1e-38, 1e-20])
def test_temperatures_below_the_smallest_float_are_greedy(temperature: float, filters: dict[str, float]) -> None:
    logits = np.random.default_rng(3).normal(size=(4, 50)).astype(np.float32)
    logits[:, 7] = -np.inf
    cold = [TokenSampling(temperature=temperature, **filters)] * 4  # pyright: ignore[reportArgumentType]
    tokens, _ = sample(logits, cold, uniforms([1, 2, 3, 4], [0] * 4))
    assert np.asarray(tokens).tolist() == logits.argmax(axis=1).tolist()


def test_temperatures_above_the_largest_float_are_flat() -> None:
    logits = np.random.default_rng(3).normal(size=(1, 50)).astype(np.float32).repeat(400, axis=0)
    logits[:, 7] = -np.inf
    tokens, _ = sample(logits, [TokenSampling(temperature=1e300)] * 400, uniforms(range(400), [0] * 400))
    assert 7 not in np.asarray(tokens) and len(set(np.asarray(tokens).tolist())) > 40


@pytest.mark.parametrize("counts", [None, [1, 3, 1, 2, 1, 1, 4]])
def test_several_threads_draw_what_one_draws(counts: list[int] | None) -> None:
    rng = np.random.default_rng(7)
    logits = (rng.standard_normal((7, 150_000)) * 3).astype(np.float32)
    logits[3, 5] = np.nan
    mixed = [TokenSampling(), TokenSampling(temperature=0.0), TokenSampling(temperature=0.7, top_p=0.9)]
    for params in ([TokenSampling()] * 7, [mixed[row % 3] for row in range(7)]):
        numbers = rng.random(sum(counts or [1] * 7))
        wanted = RowSampler(150_000).draw(logits, params, numbers, counts)
        for threads in (2, 3, 16):
            found = RowSampler(150_000, threads).draw(logits, params, numbers, counts)
            np.testing.assert_array_equal(found[0], wanted[0])
            np.testing.assert_array_equal(found[1], wanted[1])
