"""Which cells sequences share, kept in books of our own because llama.cpp does not tell how many are in use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Stretch(NamedTuple):
    """Cells of positions `start` up to `end` that one sequence filled; `mark` is who, and when it began."""

    mark: int
    start: int
    end: int


Stretches = tuple[Stretch, ...]


def first_cells(stretches: Stretches, length: int) -> Stretches:
    """Return the part below position `length`."""
    cut = (Stretch(each.mark, each.start, min(each.end, length)) for each in stretches)
    return tuple(each for each in cut if each.start < each.end)


def count_cells(sequences: Iterable[Stretches]) -> int:
    """Return how many different cells the sequences hold: each mark's cells begin at the same position."""
    longest: dict[int, Stretch] = {}
    for stretches in sequences:
        for each in stretches:
            known = longest.get(each.mark)
            if known is None or each.end > known.end:
                longest[each.mark] = each
    return sum(each.end - each.start for each in longest.values())
