"""Readers of JSON and TOML from outside."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from ramify.batch import read_problems
from ramify.batch.store.folder import read_items, read_manifest
from ramify.cli.config import given_settings
from ramify.engine.history import RunStore
from ramify.engine.library.convert.checkpoint import Checkpoint
from ramify.engine.planning.profile import load_profile
from ramify.engine.policy.remote.http import Unreachable
from ramify.engine.policy.remote.http import _server_message as server_message
from ramify.engine.policy.remote.server_reply import read_reply
from ramify.errors import MalformedText, RamifyError
from ramify.json_text import DEEPEST, MOST_DIGITS, read_json, read_json_at, read_toml
from ramify.reward.spec_loading import load_spec, spec_from_metadata


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


def load_manifest(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    read_manifest(folder)


def load_items(folder: Path, text: str) -> None:
    (folder / "items.jsonl").write_text(f"{text}\n{{}}\n")
    list(read_items(folder))


def load_saved_run(folder: Path, text: str) -> None:
    (folder / "20260101T000000000000-0123abcd.jsonl").write_text(f"{text}\n{text}\n")
    RunStore(folder).load("0123abcd")


def load_reward_spec(folder: Path, text: str) -> None:
    (folder / "spec.json").write_text('{"a": ' + text + "}")
    load_spec(str(folder / "spec.json"))


def load_toml_spec(folder: Path, text: str) -> None:
    (folder / "spec.toml").write_text("a = " + text)
    load_spec(str(folder / "spec.toml"))


def load_metadata_spec(folder: Path, text: str) -> None:
    spec_from_metadata({"ramify.reward.spec": text})


def load_budget_profile(folder: Path, text: str) -> None:
    (folder / "profile.json").write_text(text)
    load_profile(folder / "profile.json")


def load_problems(folder: Path, text: str) -> None:
    (folder / "in.jsonl").write_text(f"{text}\n")
    read_problems(folder / "in.jsonl")


def load_checkpoint(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    _ = Checkpoint(folder).config


def load_settings(folder: Path, text: str) -> None:
    (folder / "config.toml").write_text("width = " + text)
    os.environ["RAMIFY_CONFIG"] = str(folder / "config.toml")
    given_settings()


LOADERS = [
    load_manifest,
    load_items,
    load_saved_run,
    load_reward_spec,
    load_toml_spec,
    load_metadata_spec,
    load_budget_profile,
    load_problems,
    load_checkpoint,
    load_settings,
]
BOMBS = ["[" * 60_000, '{"a":' * 60_000, "[" * 50_000 + "]" * 50_000, "1" * 5_000, '{"a": ' + "1" * 5_000 + "}", "NaN"]


@pytest.mark.parametrize("text", BOMBS, ids=["open", "objects", "closed", "digits", "member", "nan"])
@pytest.mark.parametrize("load", LOADERS)
def test_every_reader_says_it_in_few_words(load, text, tmp_path, monkeypatch):
    monkeypatch.setenv("RAMIFY_CONFIG", "")
    with pytest.raises(RamifyError) as refused:
        load(tmp_path, text)
    # Only the list of bad records has lines of its own.
    assert len(str(refused.value).splitlines()) <= (3 if load is load_problems else 1)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("text", BOMBS, ids=["open", "objects", "closed", "digits", "member", "nan"])
def test_replies_of_servers_are_given_up_or_shown_in_one_line(text):
    with pytest.raises(Unreachable):
        read_reply(text.encode())
    with pytest.raises(Unreachable):
        read_reply(('{"choices": ' + text + "}").encode())
    shown = server_message(text.encode(), "Bad Request")
    assert len(shown) <= 300 and "\n" not in shown


def test_values_in_the_texts_of_models_are_read_from_their_place() -> None:
    assert read_json_at('see {"a": "1\n2"} and', 4) == ({"a": "1\n2"}, 16)
    assert read_json_at("7 and more") == (7, 1)
    for text in ("", "no", '{"a":', "[" * 100_000, '{"a":' * 50_000, "1" * 5000, "[" * 101 + "]" * 101):
        with pytest.raises(MalformedText):
            read_json_at(text)
