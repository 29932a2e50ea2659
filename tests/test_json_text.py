"""Readers of JSON and TOML from outside."""

from __future__ import annotations

import json
import math
import time

import pytest

from ramify.errors import MalformedText
from ramify.json_text import DEEPEST, MOST_DIGITS, read_json, read_toml


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON (Expecting value"),
        ('{"a": 1', "it is not JSON"),
        (b"\xff", "it is not UTF-8 text"),
        ("[" * 60_000, "it is nested more than 100 levels deep"),
        ('{"a":' * 60_000, "it is nested more than 100 levels deep"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "it is nested more than 100 levels deep"),
        ("1" * 5_000, "it holds a number of 5,000 digits"),
        ('{"a": [0, -' + "7" * 301 + "]}", "it holds a number of 302 digits"),
        ("[NaN]", "it holds the number NaN"),
        ("[1, -Infinity]", "it holds the number -Infinity"),
        ("[1e999]", "it holds the number 1e999"),
        ('{"a": "\\ud800"}', "it holds half a character"),
    ],
)
def test_what_is_refused_is_said_in_one_line(text, reason):
    with pytest.raises(MalformedText) as refused:
        read_json(text)
    assert str(refused.value).startswith(reason) and "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_what_may_be_at_the_bounds():
    deep = "[" * DEEPEST + "]" * DEEPEST
    assert read_json(deep) == json.loads(deep)
    assert read_json("9" * MOST_DIGITS) == int("9" * MOST_DIGITS)
    digits = {"a": "1" * 5_000, "b": 1.5, "c": "\U0001f600"}
    assert read_json(json.dumps(digits)) == digits
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1} == read_json('\ufeff{"a": 1}')


def test_lenient_readers_look_at_each_value_themselves():
    assert math.isnan(read_json("NaN", lenient=True))
    assert read_json("[1e999, -Infinity]", lenient=True) == [math.inf, -math.inf]
    assert read_json('"\\ud83d"', lenient=True) == "\ud83d"


def test_a_large_text_costs_little_more_than_its_parsing():
    rows = [{"tokens": list(range(n, n + 40)), "score": n / 7, "text": "Step [x] {y}"} for n in range(20_000)]
    text = json.dumps(rows)

    def seconds(read):
        times = list[float]()
        for _ in range(3):
            began = time.process_time()
            read(text)
            times.append(time.process_time() - began)
        return min(times)

    assert seconds(read_json) < 3 * seconds(json.loads) + 0.1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = ", "it is not TOML: invalid value"),
        ("a = " + "[" * 60_000, "it is nested more than 100 levels deep"),
        ("a = " + "[" * 200 + "]" * 200, "it is nested more than 100 levels deep"),
        (".".join("a" * 500) + " = 1", "it is nested more than 100 levels deep"),
        ("a = " + "1" * 5_000, "it is not TOML"),
    ],
)
def test_toml(text, reason):
    with pytest.raises(MalformedText) as refused:
        read_toml(text)
    assert str(refused.value).startswith(reason) and "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200
