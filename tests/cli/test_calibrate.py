"""`ramify calibrate` and `--strategy auto` on the bundled models."""

from __future__ import annotations

import json


def test_a_profile_is_measured_resumed_and_used(ramify, tmp_path):
    out = tmp_path / "profile.json"
    common = ("calibrate", "--count", "6", "--widths", "1,2", "--strategies", "greedy,majority", "--out", str(out))
    first = ramify(*common)
    assert first.code == 0
    assert [line.split(":")[0] for line in first.err.splitlines() if "right" in line] == [
        "greedy",
        "majority of 1",
        "majority of 2",
    ]
    assert first.out.startswith("FLOPs")
    profile = json.loads(out.read_text("utf-8"))
    assert (profile["policy"], profile["reward"], len(profile["points"])) == (
        "demo-m",
        "head:demo-l * arithmetic:exact * totals",
        3,
    )
    again = ramify(*common)
    assert "right" not in again.err
    assert again.out == first.out
    question = "Tom has 3 pens. Tom buys 4 more pens. How many pens does Tom have?"
    solved = ramify("-s", "auto", "--profile", str(out), "--json", question)
    assert solved.code in (0, 4)
    assert json.loads(solved.out)["strategy"]["name"] in ("greedy", "majority")


def test_problems_from_a_file_need_answers(ramify, tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"question": "What is 1 + 1?"}\n', encoding="utf-8")
    result = ramify("calibrate", "--problems", str(path), "--out", str(tmp_path / "p.json"))
    assert result.code == 2
    assert "has no answer" in result.err


def test_a_calibration_goes_on_with_the_same_model_and_problems_alone(ramify, tmp_path):
    path, out = tmp_path / "problems.jsonl", tmp_path / "profile.json"
    rows = ['{"question": "What is 1 + 1?", "answer": "2"}\n', '{"question": "What is 2 + 1?", "answer": "3"}\n']
    path.write_text("".join(rows), encoding="utf-8")
    common = ("calibrate", "--strategies", "greedy", "--problems", str(path), "--out", str(out), "--reward", "none")
    assert ramify(*common, "-m", "demo-s").code == 0
    known = json.loads(out.read_text("utf-8"))
    assert known["problems"].startswith(f"{path} (2 problems, ") and len(known["policy_file"]) == 64
    other = ramify(*common, "-m", "demo-m")
    assert (other.code, "measured with another policy file" in other.error) == (2, True)
    fewer = ramify(*common, "-m", "demo-s", "--count", "1")
    assert (fewer.code, "(2 problems, " in fewer.error and "(1 problems, " in fewer.error) == (2, True)
    path.write_text("".join(reversed(rows)), encoding="utf-8")
    changed = ramify(*common, "-m", "demo-s")
    assert (changed.code, "was measured on" in changed.error) == (2, True)
    assert json.loads(out.read_text("utf-8")) == known


def test_wrong_widths_and_profiles_are_said(ramify, tmp_path):
    result = ramify("calibrate", "--widths", "4,x", "--out", str(tmp_path / "p.json"))
    assert (result.code, "invalid value for '--widths': 'x' is not a valid integer" in result.err) == (2, True)
    (tmp_path / "p.json").write_text("{}", encoding="utf-8")
    result = ramify("calibrate", "--out", str(tmp_path / "p.json"))
    assert (result.code, "is not a profile" in result.err) == (2, True)


def test_auto_takes_no_other_options(ramify):
    result = ramify("-s", "auto", "--width", "4", "question")
    assert (result.code, "chooses all options itself" in result.err) == (2, True)


def test_the_bundled_models_have_a_profile(ramify):
    question = "Tom has 3 pens. Tom buys 4 more pens. How many pens does Tom have?"
    roomy = json.loads(ramify("-s", "auto", "--json", question).out)
    tight = json.loads(ramify("-s", "auto", "--max-flops", "1e9", "--json", question).out)
    assert roomy["usage"]["flops"] > tight["usage"]["flops"]
    assert tight["usage"]["flops"] <= 1e9
