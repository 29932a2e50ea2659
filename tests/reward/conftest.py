"""What comparisons with other implementations found, kept as properties of the tests (`pytest --junitxml FILE`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest


class Agreement:
    """Compares scores and remembers the largest difference of each kind."""

    def __init__(self) -> None:
        self.texts = 0
        self.scores = 0
        self.largest: dict[str, float] = {}

    def compare(self, kind: str, ours: Sequence[float], theirs: Sequence[float], tolerance: float) -> None:
        """Fail if two lists of scores differ by more than `tolerance` anywhere."""
        assert len(ours) == len(theirs)
        self.scores += len(ours)
        difference = max(abs(one - other) for one, other in zip(ours, theirs, strict=True))
        self.largest[kind] = max(difference, self.largest.get(kind, 0.0))
        assert difference <= tolerance, (kind, ours, theirs)


@pytest.fixture
def agreement(request: pytest.FixtureRequest) -> Iterator[Agreement]:
    found = Agreement()
    yield found
    properties: list[tuple[str, object]] = request.node.user_properties
    properties += [("texts", found.texts), ("scores", found.scores)]
    properties += [(kind, f"{difference:.2g}") for kind, difference in found.largest.items()]
