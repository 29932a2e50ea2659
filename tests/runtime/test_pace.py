"""Length of the batches of slow models: as long as the speed allows, and the same in spite of a machine's noise."""

from __future__ import annotations

import pytest

from ramify.engine.runtime.decode.decoder import FAR_FROM_AIM, LEAST_BATCH_TOKENS, MOST_DECODE_S, Decoder
from ramify.engine.runtime.serve.pools import _first_tokens


class Pace(Decoder):
    """A decoder of which only the bound of a batch is looked at."""

    def __init__(self, bound: int | None) -> None:
        self._batch_tokens = bound

    def after(self, tokens: int, seconds: float) -> int | None:
        self._pace(tokens, seconds)
        return self._batch_tokens


@pytest.mark.parametrize("factor", [1.01 / FAR_FROM_AIM, 0.5, 1.0, 2.0, 0.99 * FAR_FROM_AIM])
def test_the_noise_of_a_machine_changes_no_batch(factor: float) -> None:
    assert Pace(64).after(64, factor * MOST_DECODE_S) == 64


def test_a_batch_far_from_the_aim_changes_the_next_by_a_factor_of_two() -> None:
    pace = Pace(64)
    assert pace.after(64, 10 * MOST_DECODE_S) == 32
    assert [pace.after(32, 60.0) for _ in range(4)] == [LEAST_BATCH_TOKENS] * 4
    assert pace.after(LEAST_BATCH_TOKENS, 0.01) == 2 * LEAST_BATCH_TOKENS
    # A short batch says nothing of what a long one costs.
    assert pace.after(1, 0.01) == 2 * LEAST_BATCH_TOKENS


def test_models_that_are_fast_enough_have_no_bound() -> None:
    assert Pace(None).after(512, 60.0) is None


@pytest.mark.parametrize(
    ("parameters", "tokens"), [(1_034_112, None), (135_000_000, 64), (494_000_000, 32), (8_000_000_000, 16)]
)
def test_the_first_batch_follows_from_the_size(parameters: int, tokens: int | None) -> None:
    assert _first_tokens(parameters) == tokens
