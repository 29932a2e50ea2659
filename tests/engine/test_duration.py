from __future__ import annotations

import pytest

from ramify.text import duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (80, "1 min 20 s"),
        (3599.7, "1 h"),
        (7384, "2 h 03 min"),
        (10_795, "3 h"),
        (90_000, "25 h"),
    ],
)
def test_a_time_is_said_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
