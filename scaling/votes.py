"""Votes among the first samples of a row, by the rules of `ramify.search.votes`."""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, inf

from ramify.search.votes import VoteRule


def winner(groups: Sequence[int], rule: VoteRule, scores: Sequence[float | None] | None = None) -> int:
    """Return the group that wins, -1 if nothing voted; `scores` None means that there are none.

    Ties go to the group with the better best score, then to the one that came first.
    """
    members = dict[int, list[float]]()
    for place, group in enumerate(groups):
        if group < 0:
            continue
        score = None if scores is None else scores[place]
        members.setdefault(group, []).append(-inf if score is None else score)
    if not members:
        return -1
    first = {group: place for place, group in enumerate(members)}

    def rank(group: int) -> tuple[float, float, int]:
        values = members[group]
        best = max(values)
        if rule is VoteRule.MAJORITY:
            return -len(values), -best, first[group]
        return -(fsum(values) if rule is VoteRule.WEIGHTED else best), -best, first[group]

    return min(members, key=rank)
