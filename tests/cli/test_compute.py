"""Energy, money, risk and data sets from the command line, on the bundled models."""

from __future__ import annotations

import json

import pytest

EASY = "Tom has 3 pens. Tom buys 4 more pens. How many pens does Tom have?"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--max-cost", "1"], "--prices"),
        (["--max-joules", "0"], "is not above 0"),
        (["--watts", "-3"], "is not above 0"),
        (["--prices", "nowhere.toml"], "cannot be read"),
        (["--risk", "1.5"], "is not in the range"),
        (["--risk", "0.1", "--stop", "lead"], "whole searches"),
        (["--risk", "0.1", "-s", "auto"], "no calibrated risk"),
        (["--risk", "0.1", "--profile", "nowhere.json"], "cannot be read"),
    ],
)
def test_what_cannot_be_held_is_refused_before_a_model_is_loaded(ramify, arguments, told):
    result = ramify("-m", "demo-s", *arguments, "question")
    assert (result.code, told in result.err) == (2, True)


def test_estimated_energy_and_cost_are_in_the_json_and_in_the_summary(ramify, tmp_path):
    prices = tmp_path / "prices.toml"
    prices.write_text('currency = "EUR"\nkwh = 0.3\n[models."*"]\noutput = 2\ncached = 0\n', "utf-8")
    result = ramify("-m", "demo-s", "-r", "none", "-w", "4", "--watts", "40", "--prices", str(prices), "--json", EASY)
    usage = json.loads(result.out)["usage"]
    assert usage["energy_source"] == "estimate"
    assert usage["energy_j"] == pytest.approx(40 * usage["seconds"], abs=2)
    tokens = usage["policy"]["generated_tokens"] * 2e-6
    assert usage["cost"] == pytest.approx(tokens + usage["energy_j"] / 3.6e6 * 0.3)
    assert usage["currency"] == "EUR"
    assert "J (estimate)" in result.err
    plain = ramify("-m", "demo-s", "-r", "none", "-w", "4", "--json", EASY)
    assert not {"cost", "currency"} & json.loads(plain.out)["usage"].keys()


def test_sure_answers_are_given_and_others_are_not(ramify):
    sure = ramify("-s", "majority", "--risk", "0.1", EASY)
    assert (sure.code, sure.out) == (0, "7\n")
    told = json.loads(ramify("-s", "majority", "--risk", "0.1", "--json", EASY).out)["risk"]
    assert (told["status"], told["calibration_problems"]) == ("sure", 300)
    # The bundled calibration certifies nothing at so low a risk.
    unsure = ramify("-s", "majority", "--risk", "0.01", EASY)
    assert (unsure.code, unsure.out) == (6, "")
    assert "not sure" in unsure.err
    data = json.loads(ramify("-s", "majority", "--risk", "0.01", "--json", EASY).out)
    assert (data["answer"], data["risk"]["status"], data["risk"]["withheld"]) == (None, "not sure", "7")


def test_the_fallback_answers_what_is_not_sure(ramify):
    result = ramify("-s", "majority", "--risk", "0.01", "--fallback", "demo-l", "--json", EASY)
    data = json.loads(result.out)
    assert (result.code, data["answer"], data["risk"]["status"]) == (0, "7", "not sure")
    assert data["model"]["fallback"]["decided"]


def test_strategies_without_a_calibration_are_told(ramify):
    result = ramify("-s", "majority", "-w", "8", "--risk", "0.1", EASY)
    assert (result.code, "no risk was calibrated for majority of 8" in result.err) == (2, True)


def test_a_batch_becomes_a_data_set(ramify, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps({"question": EASY, "answer": "7"}) + "\n", "utf-8")
    folder, out = str(tmp_path / "run"), tmp_path / "out"
    assert ramify("batch", "run", str(source), "--out", folder, "-m", "demo-m", "-w", "4", "--save-trees").code == 0
    result = ramify("export", "sft", folder, "--out", str(out), "--form", "text")
    assert (result.code, result.out) == (0, "")
    rows = [json.loads(line) for line in (out / "data.jsonl").read_text("utf-8").splitlines()]
    assert rows and all(row["prompt"] == EASY and row["completion"].endswith("The answer is 7.") for row in rows)
    assert ramify("export", "steps", folder, "--out", str(out)).code == 0
    row = json.loads((out / "data.jsonl").read_text("utf-8").splitlines()[0])
    assert "\n".join(row["completions"]) == rows[0]["completion"]
    assert ramify("export", "sft", "nowhere", "--out", str(out)).code == 2
    assert ramify("export", "sft", folder, "--out", str(out), "--filter", "best").code == 2


def test_a_calibration_is_drawn_against_joules(ramify, tmp_path):
    pytest.importorskip("matplotlib")
    common = ("calibrate", "-m", "demo-s", "-r", "none", "--count", "4", "--widths", "1,2", "--strategies", "majority")
    out, plot = tmp_path / "profile.json", tmp_path / "plot.svg"
    drawn = ramify(*common, "--out", str(out), "--watts", "40", "--plot", str(plot), "--plot-cost", "joules")
    assert drawn.code == 0
    assert drawn.out.startswith("joules (estimate)")
    assert "joules (estimate) a problem" in plot.read_text("utf-8")
    points = json.loads(out.read_text("utf-8"))["points"]
    assert all(point["costs"]["joules"]["mean"] > 0 and point["energy_source"] == "estimate" for point in points)
    missing = ramify(*common, "--out", str(tmp_path / "other.json"), "--plot-cost", "cost")
    assert (missing.code, "--plot-cost cost needs prices" in missing.err) == (2, True)
    wrong = ramify(*common, "--out", str(out), "--plot", str(tmp_path / "plot.txt"))
    assert (wrong.code, "is no image file" in wrong.err) == (2, True)
