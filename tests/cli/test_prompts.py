from __future__ import annotations

import json

from ramify.engine.policy.prompts.prompt_files import PRESETS

TEXT = 'description = "Triage"\nanswer = "choice:A-C"\n'


def test_prompts_on_the_command_line(ramify, tmp_path, monkeypatch):
    monkeypatch.setenv("RAMIFY_CONFIG", str(tmp_path / "config.toml"))
    own = tmp_path / "prompts" / "triage.toml"
    own.parent.mkdir()
    own.write_text(TEXT, "utf-8")
    listed = json.loads(ramify("prompts", "list", "--json").out)
    assert [each["name"] for each in listed["prompts"]] == [*PRESETS, "triage"]
    assert listed["folder"] == str(own.parent)
    assert ramify("prompts", "show", "triage").out == TEXT
    assert json.loads(ramify("prompts", "show", "gsm8k", "--json").out)["answer"] == "number"
    assert ramify("prompts", "check", str(own)).code == 0
    own.write_text("answer = 'best'", "utf-8")
    result = ramify("prompts", "check", str(own))
    assert (result.code, result.out) == (2, "") and "there is no form of answers 'best'" in result.err
    assert "not valid" in ramify("prompts", "list").out
    assert ramify("prompts", "show", "none").code == 2
