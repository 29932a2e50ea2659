"""Checkers: by name, with a tolerance, and as functions; in votes, in pooled votes and in calibration."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor

import pytest

from ramify.answers import checkers
from ramify.answers.checkers import Check, make_checker
from ramify.engine.engine import Engine
from ramify.engine.ensembles.cascade import ensemble
from ramify.errors import UsageError
from ramify.problem import Problem
from ramify.search.strategies.sampling import MajorityVote
from ramify.testing import ScriptedModel
from ramify.training.calibration import measure


@pytest.mark.parametrize(
    ("check", "answer", "gold", "right"),
    [
        ("math", "1/2", "0.5", True),
        ("exact", " a, b ", "a, b", True),
        ("exact", "1/2", "0.5", False),
        ("exact", "", "", False),
        ("regex", "colour", "colou?r", True),
        ("regex", "my colour", "colou?r", False),
        ("numeric", "3.1415", "3.14", False),
        ("numeric:0.001", "3.1415", "3.14", True),
        ("numeric:0.01", "1,005 apples", "1000", True),
        ("numeric:0.01", "1,020 apples", "1000", False),
        ("numeric", "50%", "0.5", True),
        ("numeric", "1e3", "1000", True),
        ("numeric:1", "nan", "0", False),
        ("numeric", "many", "3", False),
        (lambda answer, gold: sorted(answer) == sorted(gold), "tac", "cat", True),
        (lambda answer, gold: sorted(answer) == sorted(gold), "tab", "cat", False),
    ],
)
def test_what_each_checker_accepts(check: Check, answer: str, gold: str, right: bool) -> None:
    checker = make_checker(check)
    assert checker.accepts(answer, gold) is right
    assert checker.accepts_quickly(answer, gold) in (right, None)


def test_a_pattern_is_no_answer_among_others() -> None:
    assert make_checker("regex").accepts("c.t", r"c\.t")
    assert not make_checker("regex").same("cat", "c.t")


def test_functions_that_fail_on_other_answers_do_not_stop_a_vote() -> None:
    checker = make_checker(lambda answer, gold: int(answer) == int(gold))
    assert checker.same("7", "07") and not checker.same("7", "seven") and checker.same("seven", "seven")
    assert checker.same_quickly("7", "7") is True and checker.same_quickly("7", "07") is None
    with pytest.raises(ValueError, match="seven"):
        checker.accepts("seven", "7")


async def later(answer: str, gold: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (
            "guess",
            "there is no checker 'guess'; use math, exact, regex, numeric, json, python-tests or numeric:TOLERANCE",
        ),
        ("exact:3", "no checker 'exact:3'"),
        ("numeric:x", "tolerance 'x' is no number"),
        ("numeric:-1", "tolerance '-1' is no number"),
        ("numeric:inf", "tolerance 'inf' is no number"),
        (later, "must not be asynchronous"),
    ],
)
def test_what_is_no_checker(check: Check, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_checker(check)


def test_a_gold_answer_that_is_no_pattern_is_named() -> None:
    with pytest.raises(UsageError, match=r"'\(' is no regular expression"):
        make_checker("regex").accepts("x", "(")


CATASTROPHIC = "(a|aa)+b?$"
STUBBORN = "a" * 60 + "c"


def test_a_pattern_that_never_ends_is_given_up_on_any_thread(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkers, "PATTERN_LIMIT_S", 0.05)
    checker = make_checker("regex")
    assert checker.accepts("aaab", CATASTROPHIC)
    assert checker.accepts_quickly(STUBBORN, CATASTROPHIC) is None
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(checker.accepts, STUBBORN, CATASTROPHIC).result(timeout=60) is False
    assert not checker.accepts(STUBBORN, CATASTROPHIC), "it is not tried again"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"the pattern '{CATASTROPHIC}' took longer than 0.05 s" in caplog.text


@pytest.mark.parametrize(
    "pattern", ["(?:(?:(?:(?:a){100}){100}){100}){100}", "(?:" * 200 + "a" + "{9}){9}" * 200, "(" * 3000]
)
def test_a_pattern_that_is_too_large_to_compile_takes_memory_of_a_child_only(
    pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert make_checker("regex").accepts("a" * 100, pattern) is False
    assert "or more than 256 MB" in caplog.text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - own < 50_000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 2_500_000
    assert make_checker("regex").accepts("colour", "colou?r"), "the next pattern gets a new child"


def test_a_pattern_of_many_characters_is_refused() -> None:
    with pytest.raises(UsageError, match="has 100000 characters"):
        make_checker("regex").accepts("a", "a" * 100_000)


# Two paths say 0.5 and 1/2, three say half a dozen things of one letter case.
ANSWERS = ("0.5", "1/2", "A", "a", "A")


def model() -> ScriptedModel:
    return ScriptedModel(lambda question, path: f"The answer is {ANSWERS[path[0]]}")


@pytest.mark.parametrize(
    ("check", "groups"),
    [
        ("math", [2, 2, 1]),
        ("exact", [2, 1, 1, 1]),
        ("numeric", [2, 2, 1]),
        (lambda answer, gold: answer.lower() == gold.lower(), [3, 1, 1]),
    ],
)
async def test_paths_vote_by_the_problems_checker(check: Check, groups: list[int]) -> None:
    problem = Problem(id="1", question="?", check=check)
    async with Engine(model(), None) as engine, Engine(model(), None) as other:
        solution = await engine.solve(problem, strategy=MajorityVote(width=5))
        assert solution.vote_counts() == groups
        pooled = await ensemble([engine, other], problem, strategy=MajorityVote(width=5))
        assert pooled.vote_counts() == [2 * each for each in groups]


async def test_an_unknown_checker_is_refused_before_anything_is_written() -> None:
    scripted = model()
    async with Engine(scripted, None) as engine:
        with pytest.raises(UsageError, match="no checker 'guess'"):
            await engine.solve(Problem(id="1", question="?", check="guess"))
    assert scripted.expanded == []


async def test_calibration_grades_by_the_checker() -> None:
    problems = [
        Problem(id="1", question="?", answer="[aA]", check="regex"),
        Problem(id="2", question="?", answer="a", check="exact"),
    ]
    async with Engine(ScriptedModel(lambda question, path: "The answer is A"), None) as engine:
        point = await measure(engine, problems, MajorityVote(width=1))
    assert point.right == 1
