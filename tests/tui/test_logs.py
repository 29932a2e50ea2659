"""Text written past the screen, and the rate at which the screen is drawn."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from ramify.tui.common.logs import own_terminal
from ramify.tui.screens.base import FRAME_S, MOST_SKIPPED, SHARE, FrameLimiter


def test_what_native_code_writes_goes_to_the_log_and_not_to_the_terminal(capfd):
    before = sys.__stdout__, sys.__stderr__
    with own_terminal() as lines:
        os.write(1, b"noise from a library\n")
        os.write(2, b"more noise\n")
        os.write(1, b"torn")
        assert lines.lines() == ["noise from a library", "more noise"]
        os.write(1, b" line\n")
        assert lines.lines()[-1] == "torn line"
        sys.__stderr__.write("the screen")
        sys.__stderr__.flush()
    assert (sys.__stdout__, sys.__stderr__) == before
    os.write(1, b"after\n")
    # Neither is a terminal here, so the screen is where stdout leads.
    assert capfd.readouterr() == ("the screenafter\n", "")


def test_the_log_has_messages_and_warnings_while_the_screen_is_there():
    with own_terminal() as lines:
        logging.getLogger("ramify.test").info("a message")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("a warning", UserWarning, stacklevel=1)
    text = "\n".join(lines.lines())
    assert "INFO    ramify.test: a message" in text
    assert lines not in logging.getLogger().handlers


def frames(cost_s: float, ticks: int = 100) -> int:
    """How many of so many ticks draw if a frame costs this much processor time."""
    limiter, thread_s, drawn = FrameLimiter(), 0.0, 0
    for _ in range(ticks):
        if limiter.due(thread_s):
            drawn += 1
            thread_s += cost_s
    return drawn


def test_cheap_frames_are_drawn_at_each_tick():
    assert frames(SHARE * FRAME_S * 0.5) == 100


def test_expensive_frames_are_drawn_less_often_but_never_stop():
    assert 40 <= frames(SHARE * FRAME_S * 1.5) <= 60
    assert frames(10.0) >= 100 // (MOST_SKIPPED + 1)


def test_a_key_has_the_next_tick_draw():
    limiter = FrameLimiter()
    limiter.due(0.0)
    limiter.due(10.0)
    assert not limiter.due(10.0)
    limiter.hurry()
    assert limiter.due(10.0)
