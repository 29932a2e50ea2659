"""Why a text ended, from what a server says and what it does not say."""

from __future__ import annotations

from collections.abc import Callable

from ramify.search.node import FinishReason

from .reply import Draft
from .stops import StepEnd


def needs_other_stops(draft: Draft, head: str, stops: tuple[str, ...]) -> bool:
    """Return whether a stop string ended a step before it began: its leading space held one."""
    stopped = draft.finish_reason == "stop" and not draft.cut and draft.told != "end"
    return bool(stops) and stopped and not (head + draft.text).strip()


def ending(
    draft: Draft,
    end: StepEnd | None,
    *,
    stops: tuple[str, ...],
    out_of_room: bool,
    has_answer: Callable[[], bool],
) -> tuple[FinishReason, str]:
    """Return why a text ended and what is to be added to it.

    `stops` are the stop strings that the server was given, `out_of_room` tells whether it wrote all that it might.
    Where a server does not say whether a stop string or the model itself ended a text, it is the model if there is an
    answer now (`has_answer`), else the stop string.
    """
    if draft.cut:
        return FinishReason.STEP, ""
    if draft.finish_reason == "length":
        return (FinishReason.LENGTH if out_of_room else FinishReason.CONTEXT), ""
    by_stop = draft.finish_reason == "stop" and draft.told != "end"
    if end is None or not stops or not by_stop or (draft.told == "unknown" and has_answer()):
        return FinishReason.EOS, ""
    return FinishReason.STEP, end.tail
