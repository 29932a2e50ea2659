from __future__ import annotations

import click
import pytest

from ramify import settings
from ramify.cli.option_types import COUNT, Assignment, SettingType, StepRange, TreeFile
from ramify.settings import Setting

DURATION = SettingType(Setting(kind=settings.DURATION))
FLOPS = SettingType(Setting(kind=settings.FLOPS))


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("20000", 20000), ("20k", 20000), ("1.5K", 1500), ("2M", 2_000_000), ("1_000", 1000)]
)
def test_counts(text, number):
    value = COUNT.convert(text, None, None)
    assert (value, type(value)) == (number, int)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2min", 120), ("1h", 3600), ("500ms", 0.5), (".5", 0.5)],
)
def test_durations(text, seconds):
    assert DURATION.convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "number"), [("1e12", 1e12), ("2T", 2e12), ("1.5E+9", 1.5e9)])
def test_flops(text, number):
    assert FLOPS.convert(text, None, None) == number


@pytest.mark.parametrize("kind", [COUNT, DURATION, FLOPS])
@pytest.mark.parametrize("text", ["", "0", "-1", "x", "5 apples", "nan", "inf", "1e999", "1k2", "0x10"])
def test_what_is_no_positive_number_is_refused(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)


def test_a_count_is_whole():
    with pytest.raises(click.BadParameter, match="not a whole number"):
        COUNT.convert("1.5", None, None)


@pytest.mark.parametrize(("text", "steps"), [("2-8", (2, 8)), (" 3 - 4 ", (3, 4)), ("5", (5, 5))])
def test_step_ranges(text, steps):
    assert StepRange().convert(text, None, None) == steps


@pytest.mark.parametrize("text", ["", "2-", "-8", "a-b", "2-3-4", "1.5-2"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(click.BadParameter):
        StepRange().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("0.5", 0.5), ("true", True), ("min", "min"), ("8, 4", (8, 4)), ("say 8,4", "say 8,4")],
)
def test_assignments(text, value):
    assert Assignment().convert(f"some-name={text}", None, None) == ("some_name", value)


def test_tree_files_are_checked_before_the_search(tmp_path):
    assert TreeFile().convert(str(tmp_path / "tree.dot"), None, None) == tmp_path / "tree.dot"
    for bad in ("tree.png", "tree", "missing/tree.json"):
        with pytest.raises(click.BadParameter):
            TreeFile().convert(str(tmp_path / bad), None, None)
