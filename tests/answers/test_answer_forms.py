"""Forms of answers: patterns, JSON pointers and ranges of letters."""

from __future__ import annotations

import time

import pytest

from ramify.answers.answer_forms import AnswerForm, answer_form
from ramify.answers.kinds import AnswerKind
from ramify.answers.reading import AnswerReader
from ramify.config import SETTINGS, RunConfig
from ramify.errors import UsageError

JSON = 'So:\n```json\n{"a/b": [1, {"c": "yes "}], "n": 0.5, "none": null}\n```\nDone [see above].'


@pytest.mark.parametrize(
    ("form", "text", "answer"),
    [
        (r"regex:(?P<answer>\d+) (apples)", "3 apples, then 4 apples", "4"),
        (r"regex:total: (\w+)", "total: six", "six"),
        (r"regex:\d+ of \d+", "3 of 4", "3 of 4"),
        (r"regex:x", "abc", None),
        (r"regex:(x)?b", "ab", None),
        ("json:/a~1b/1/c", JSON, "yes"),
        ("json:/n", JSON, "0.5"),
        ("json:/none", JSON, None),
        ("json:/a~1b/7", JSON, None),
        ("json:", '{"b": 1, "a": 2}', '{"a": 2, "b": 1}'),
        ("json:/x", "no JSON { here", None),
        ("choice:A-E", "The answer is (c)", "C"),
        ("choice:A-B", "Answer: C", None),
        ("boxed", r"\boxed{7}", "7"),
        ("last-line", "a\nb", "b"),
    ],
)
def test_answers_by_form(form: str, text: str, answer: str | None) -> None:
    found = AnswerReader.of("Question", form).read(text)
    assert found == answer or (answer is None and form.startswith("choice") and found not in ("A", "B"))
    assert AnswerReader.of("Question", prompt=form).read(text) == found


def test_the_last_value_outside_of_others_counts() -> None:
    assert AnswerReader.of("q", "json:/a").read('{"a": 1} and {"a": {"a": 2}}') == '{"a": 2}'


def test_an_answer_that_more_text_could_change_is_not_complete() -> None:
    reader = AnswerReader.of("q", r"regex:is (\d+)")
    assert reader.read_unfinished("it is 4") is None
    assert reader.read_unfinished("it is 4.") == "4"


def test_hostile_patterns_and_texts_end_in_time() -> None:
    reader = AnswerReader.of("q", "regex:(x+x+)+y")
    begun = time.process_time()
    assert reader.read("x" * 3000) is None
    assert AnswerReader.of("q", "json:/a").read("[" * 100_000) is None
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "form", ["regex:(", "regex:(?<n>a){1000000000}", "json:a", "choice:", "choice:B-D", "choice:A-Z", "best", ""]
)
def test_forms_that_do_not_exist(form: str) -> None:
    with pytest.raises(UsageError):
        answer_form(form)
    with pytest.raises(UsageError):
        SETTINGS["answer"].parse(form)
    with pytest.raises(UsageError):
        RunConfig(answer=form)


def test_kinds_are_forms() -> None:
    for kind in AnswerKind:
        assert answer_form(kind) == AnswerForm(kind)
    assert SETTINGS["answer"].parse("auto") == "auto"
    assert SETTINGS["answer"].parse("json:/a") == "json:/a"
