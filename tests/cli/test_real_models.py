"""The command line on real models: plain calls, limits of time, interrupts, batches and reports."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.real

SUM = "Tom has 3 apples and buys 4 more. How many apples does he have now?"


@pytest.fixture(scope="module")
def smollm2(real_model):
    return str(real_model("smollm2"))


@pytest.mark.timeout(240)
def test_the_plain_call_answers(smollm2, process):
    result = process(SUM, "-m", smollm2, timeout=200)
    assert result.code == 0, result.err
    assert result.out.strip()
