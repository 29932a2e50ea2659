"""How many tokens a server really wrote, by its word and by what came."""

from __future__ import annotations

from collections.abc import Sequence

from .reply import Draft
from .server_reply import ServerUsage

SLACK = 2
"""Tokens a text that a server may count and not list: the end of the sequence, or a stop string."""

SLACK_SHARE = 0.02


def charged_tokens(drafts: Sequence[Draft], usage: ServerUsage | None) -> list[int]:
    """Return the tokens of each text: as the server counts them, but no fewer than came."""
    counts = [draft.count() for draft in drafts]
    more = 0 if usage is None else usage.completion_tokens - sum(counts)
    if more <= 0 or not counts:
        return counts
    each, rest = divmod(more, len(counts))
    return [count + each + (place < rest) for place, count in enumerate(counts)]


def miscounted(drafts: Sequence[Draft], usage: ServerUsage | None) -> bool:
    """Return whether the server's count does not fit what came.

    Listed tokens have to be about as many as counted; of other texts there cannot be more pieces than tokens.
    """
    if usage is None or any(draft.cut for draft in drafts):
        return False
    slack = SLACK * len(drafts) + SLACK_SHARE * usage.completion_tokens
    if all(draft.listed for draft in drafts):
        return abs(usage.completion_tokens - sum(draft.listed for draft in drafts)) > slack
    return sum(draft.count() for draft in drafts) > usage.completion_tokens + slack


def shares(tokens: int, rooms: Sequence[int]) -> list[int]:
    """Return `tokens` divided among texts with so much room each: equally, and what one cannot use goes to the others.

    The first ones get one more where it does not come out even.
    """
    given = [0] * len(rooms)
    left = min(tokens, sum(rooms))
    while left:
        open_ones = [place for place, room in enumerate(rooms) if given[place] < room]
        each = max(1, left // len(open_ones))
        for place in open_ones:
            more = min(each, rooms[place] - given[place], left)
            given[place] += more
            left -= more
    return given
