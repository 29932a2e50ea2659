"""Each claim is told apart from its opposite on figures that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ramify.scaling.claims import law, quantization, rebase, saving, small_models, votes_saturate
from ramify.scaling.claims.report import judge
from ramify.scaling.claims.verdict import Verdict, VerdictOutcome, merged
from ramify.search.budget_sharing import EqualSplit, Portfolio

WIDTHS = (1, 2, 4, 8, 16)


def curve(width: int, limit: float, gap: float = 0.3, exponent: float = 1.0) -> float:
    return limit - gap * width**-exponent


@pytest.mark.parametrize(("strong", "outcome"), [(0.6, VerdictOutcome.SUPPORTED), (0.3, VerdictOutcome.NOT_SUPPORTED)])
def test_a_small_model_matches_a_large_one_or_does_not(make_cell, make_measurements, strong, outcome):
    small = [make_cell("majority", 1, 0.2), make_cell("majority", 4, strong)]
    large = [make_cell("greedy", 1, 0.55, policy="large", parameters=1000)]
    found = small_models.judge(make_measurements(small + large))
    assert found.outcome is outcome
    assert found.table[1][3] == "small majority@4"


def test_half_of_the_flops_count_and_the_rewards_too(make_cell, make_measurements):
    large = [make_cell("greedy", 1, 0.5, policy="large", parameters=1000)]
    dear = make_cell("rebase", 4, 0.6, reward="r", reward_flops=1e6)
    found = small_models.judge(make_measurements([dear, *large]))
    assert found.outcome is VerdictOutcome.NOT_MEASURED
    assert "policy alone" in found.findings[0] and "1 of 1" in found.findings[0]
    assert (
        small_models.judge(make_measurements([make_cell("majority", 6, 0.6), *large])).outcome
        is VerdictOutcome.NOT_MEASURED
    )


def test_the_takeover_is_where_the_large_model_leads_to_the_end(make_cell, make_measurements):
    small = [make_cell("majority", width, 0.4 + 0.01 * place) for place, width in enumerate((1, 10, 100))]
    large = [make_cell("majority", width, acc, policy="large", parameters=1000) for width, acc in ((1, 0.3), (5, 0.7))]
    found = small_models.judge(make_measurements(small + large))
    assert "large takes over from 0.001 GFLOPs" in found.findings[0]


def rows(policy: str, count: int, right_share: float) -> dict:
    """On so large a share of the problems the right answer is the most frequent one."""
    made = {}
    for place in range(count):
        groups = [0, 1, 0, 2] if place < right_share * count else [0, 1, 2, 1]
        made[(policy, 0, str(place))] = {
            "groups": groups, "answers": ["a", "b", "c"], "right": [0], "tokens": [10] * 4, "noise": [0.0] * 4,
            "scored": {"r": {"scores": [0.9, 0.1, 0.8, 0.1], "parameters": 1, "read": {}}},
        }  # fmt: skip
    return made


def test_majority_saturates_at_the_most_frequent_answer_and_weighted_higher(make_cell, make_measurements):
    plain = [make_cell("majority", width, curve(width, 0.6)) for width in WIDTHS]
    weighted = [make_cell("weighted", width, curve(width, 0.99, 0.6), reward="r") for width in WIDTHS]
    measured = replace(make_measurements(plain + weighted), samples=rows("small", 400, 0.6))
    found = votes_saturate.judge(measured)
    assert found.outcome is VerdictOutcome.SUPPORTED
    assert found.figures["small"]["majority"]["limit"]["value"] == pytest.approx(0.6, abs=0.01)
    assert found.figures["small"]["weighted by r"]["argmax"] == 1.0
    elsewhere = votes_saturate.judge(replace(measured, samples=rows("small", 400, 0.9)))
    assert elsewhere.outcome is VerdictOutcome.PARTLY


def test_a_curve_that_still_rises_does_not_saturate(make_cell, make_measurements):
    plain = [make_cell("majority", width, 0.1 + 0.1 * place) for place, width in enumerate(WIDTHS)]
    found = votes_saturate.judge(replace(make_measurements(plain), samples=rows("small", 400, 0.9)))
    assert found.outcome is VerdictOutcome.NOT_SUPPORTED


@pytest.mark.parametrize(("ours", "outcome"), [(0.1, VerdictOutcome.SUPPORTED), (-0.1, VerdictOutcome.NOT_SUPPORTED)])
def test_rebase_is_on_the_front_or_is_not(make_cell, make_measurements, ours, outcome):
    theirs = [make_cell("weighted", width, curve(width, 0.6), reward="r", reward_flops=width) for width in WIDTHS]
    own = [make_cell("rebase", width, curve(width, 0.6) + ours, reward="r", reward_flops=width) for width in WIDTHS]
    found = rebase.judge(make_measurements(theirs + own))
    assert found.outcome is outcome
    factor = found.figures["small with r"]["with the reward counted"]["factor_to_weighted@16"]
    # 0.6 - 0.3 / 16 is reached by 0.7 - 0.3 / width between widths 2 and 4.
    assert factor is None if ours < 0 else factor["value"] == pytest.approx(6.3, abs=0.3)


def test_the_sweep_says_how_good_the_reward_is_and_what_rebase_makes_of_it(make_cell, make_measurements):
    cells = [
        make_cell("rebase", 16, 0.7, reward="r"),
        make_cell("rebase", 16, 0.4, reward="r", sigma=4.0),
        make_cell("majority", 16, 0.5),
        make_cell("weighted", 16, 0.6, reward="r"),
    ]
    samples = rows("small", 400, 0.6)
    for row in samples.values():
        row["noise"] = [-9.0, 9.0, -9.0, 9.0]
    swept = rebase.noise_sweep(replace(make_measurements(cells), samples=samples), "small", "r")
    assert [(row["sigma"], row["preference"]) for row in swept] == [(0.0, 1.0), (4.0, pytest.approx(0.4 / 3))]
    assert swept[0]["rebase_minus_majority"]["low"] > 0 > swept[1]["rebase_minus_majority"]["high"]


@pytest.mark.parametrize(("seconds", "outcome"), [(1.0, VerdictOutcome.SUPPORTED), (3.0, VerdictOutcome.NOT_SUPPORTED)])
def test_a_quantized_file_must_be_faster_and_no_worse(make_cell, make_measurements, seconds, outcome):
    def samples(groups: list[int], spent: float) -> dict:
        return {"groups": groups, "right": [0], "tokens": [10] * 4, "seconds": spent}

    measured = make_measurements([make_cell("greedy", 1, 0.5)])
    quantized = {
        ("small", each): {
            "files": {"small:q8_0": samples([0, 1, 0, 0], seconds), "small:f16": samples([0, 0, 1, 0], 2.0)},
            "reward_files": {},
        }
        for each in measured.problems
    }
    found = quantization.judge(replace(measured, quantized=quantized))
    assert found.outcome is outcome
    assert found.table[2][5] == ("4 against 2 samples" if seconds < 2 else "4 against 4 samples")


@pytest.mark.parametrize(
    ("accuracy", "tokens", "outcome"),
    [
        (0.5, 900, VerdictOutcome.SUPPORTED),
        (0.4, 900, VerdictOutcome.NOT_SUPPORTED),
        (0.5, 1600, VerdictOutcome.NOT_SUPPORTED),
    ],
)
def test_stopping_early_must_save_and_lose_nothing(make_cell, make_measurements, accuracy, tokens, outcome):
    cells = [make_cell("majority", 16, 0.5), make_cell("majority+lead", 16, accuracy, tokens=tokens)]
    assert saving.judge(make_measurements(cells)).outcome is outcome


def test_the_replayed_portfolio_spends_where_answers_are_open():
    sure = {"groups": [0] * 32, "tokens": [10] * 32, "right": [0]}
    open_one = {"groups": [0, 0, 1, 2, *[1] * 28], "tokens": [10] * 32, "right": [1]}
    rows = [sure, sure, sure, open_one]
    equal, spent = saving.replay(rows, EqualSplit(tranche=4, most=32), 200)
    assert (equal.tolist(), spent) == ([1.0, 1.0, 1.0, 0.0], 200)
    shared, spent = saving.replay(rows, Portfolio(first=4, tranche=4, most=32), 200)
    assert shared.tolist() == [1.0, 1.0, 1.0, 1.0]
    assert spent <= 200


def test_the_law_has_the_slope_of_the_front(make_cell, make_measurements):
    cells = [
        make_cell(
            "greedy",
            1,
            0.3 + 0.1 * place,
            policy=f"p{place}",
            parameters=10**place * 100,
            flops=1e6 * 10 ** (2 * place),
        )
        for place in range(3)
    ]
    found = law.judge(make_measurements(cells))
    assert found.outcome is VerdictOutcome.SUPPORTED
    assert 1.0 < found.figures["a"]["value"] < 2.5
    backwards = [replace(cell, right=1 - cell.right) for cell in cells]
    assert law.judge(make_measurements(backwards)).outcome is VerdictOutcome.NOT_SUPPORTED


def test_without_figures_nothing_is_claimed(make_cell, make_measurements):
    found = judge(make_measurements([make_cell("greedy", 1, 0.5)]))
    assert [verdict.number for verdict in found] == [1, 2, 3, 4, 5, 6]
    assert {verdict.outcome for verdict in found} == {VerdictOutcome.NOT_MEASURED}


@pytest.mark.parametrize(
    ("outcomes", "together"),
    [
        ([VerdictOutcome.SUPPORTED, VerdictOutcome.SUPPORTED], VerdictOutcome.SUPPORTED),
        ([VerdictOutcome.SUPPORTED, VerdictOutcome.NOT_SUPPORTED], VerdictOutcome.PARTLY),
        ([VerdictOutcome.NOT_SUPPORTED, VerdictOutcome.NOT_MEASURED], VerdictOutcome.NOT_SUPPORTED),
        ([VerdictOutcome.NOT_MEASURED, VerdictOutcome.NOT_MEASURED], VerdictOutcome.NOT_MEASURED),
    ],
)
def test_a_claim_on_two_sets_of_problems_holds_where_it_holds_on_both(outcomes, together):
    parts = [
        (name, Verdict(number=3, claim="c", outcome=each, test="t", findings=("f",), table=(("head",), (name,))))
        for name, each in zip(("500 problems", "100 problems"), outcomes, strict=True)
    ]
    found = merged(parts)
    assert found.outcome is together
    assert all(line.endswith(" problems: f") for line in found.findings)
    assert found.table[0] == ("head",) and len(found.table) == 1 + len(found.findings)
    assert merged(parts[:1]) is parts[0][1]


@pytest.mark.parametrize("widths", [(1, 2, 4, 8, 16, 32), (1, 4, 16, 64), (1, 2, 4, 8, 16, 20)])
def test_gains_are_those_of_a_doubling_whatever_the_widths(make_cell, make_measurements, widths):
    def last(accuracy):
        cells = [make_cell("majority", width, accuracy(width)) for width in widths]
        found = votes_saturate.judge(replace(make_measurements(cells), samples=rows("small", 400, 0.9)))
        return found.figures["small"]["majority"]["last_doubling"]["value"]

    assert last(lambda width: 0.3 + 0.05 * np.log2(width)) == pytest.approx(0.05, abs=0.01)
