"""Prompt files: those of ramify, those of a user, and what is wrong with one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import ramify
from ramify.batch.store.identity import configuration
from ramify.config import EngineConfig, RunConfig
from ramify.engine.policy.prompts.prompt_files import (
    PRESETS,
    choose_preset,
    find_preset,
    preset_to_dict,
    read_prompt_file,
)
from ramify.engine.policy.prompts.prompt_format import choose_prompt_format
from ramify.engine.run_setup import answers_of
from ramify.engine.testing import ScriptedModel
from ramify.errors import UsageError
from ramify.reward.testing import PieceTokenizer
from ramify.sampling_params import USUAL_SAMPLING, TokenSampling
from ramify.search.strategies.sampling import Greedy

TEXT = """
description = "Triage"
system = "Read it."
step_format = "line"
answer = "choice:A-C"
check = "exact"
stop = '^END$'

[base]
template = "Report: {question}\\nTriage:"
examples = "Report: x\\nTriage: A\\n\\n"

[sampling]
temperature = 0.6
repeat_penalty = 1.1
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAMIFY_CONFIG", str(tmp_path / "config.toml"))
    folder = tmp_path / "prompts"
    folder.mkdir()
    path = folder / "triage.toml"
    path.write_text(TEXT, "utf-8")
    return path


def test_the_presets_of_ramify_are_what_they_were() -> None:
    def digest(name: str) -> str:
        each = PRESETS[name]
        fields = [each.system, each.base_examples + each.base_template, each.step_format, each.stop, each.base_stop]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]

    assert {name: digest(name) for name in PRESETS} == {
        "plain": "e14c8904b095cce4",
        "gsm8k": "2fe0624b4b1c947d",
        "math": "f8c7629423d15bfe",
        "program": "20d4d6afde22c4aa",
        "text": "e0953df9553e473b",
    }
    assert [each.answer for each in PRESETS.values()] == [None, "number", "boxed", "boxed", None]


def test_a_file_is_a_preset(own: Path) -> None:
    preset = find_preset(str(own))
    assert preset == find_preset("triage") == choose_preset("triage", {}, None)
    assert (preset.name, preset.description, preset.answer, preset.check) == ("triage", "Triage", "choice:A-C", "exact")
    assert preset.sampling.resolved(USUAL_SAMPLING) == TokenSampling(temperature=0.6, top_p=0.95, repeat_penalty=1.1)
    form = choose_prompt_format({}, PieceTokenizer(), preset="triage")
    assert form.render("Q", PieceTokenizer()).text == "Report: x\nTriage: A\n\nReport: Q\nTriage:"
    assert (form.step.name, form.step.stop, form.answer) == ("line", "^END$", "choice:A-C")
    own.write_text('description = "Changed"', "utf-8")
    assert find_preset("triage").description == "Changed"
    assert find_preset("triage").step_format == "blank-line"


def test_a_preset_as_a_file_is_the_same_preset(own: Path) -> None:
    data = preset_to_dict(read_prompt_file(own))
    assert data["base"]["template"] == "Report: {question}\nTriage:"
    assert data["sampling"] == {"temperature": 0.6, "repeat_penalty": 1.1}
    assert preset_to_dict(PRESETS["plain"]).keys() == {"name", "description", "step_format", "base"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("system = 7", "system"),
        ('sytem = "x"', "there is no field 'sytem'; the fields are description, system"),
        ('system = "{question}"', "holds {question}"),
        ('step_format = "lines"', "there is no step format"),
        ('answer = "best"', "there is no form of answers"),
        ('answer = "regex:("', "no regular expression"),
        ('check = "guess"', "check"),
        ("stop = '('", "no regular expression"),
        ("stop = 'a*'", "matches the empty text"),
        ("stop = '(?<=a+)b'", "cannot be used"),
        ("stop = '\\p{Lu}+:'", "cannot be used"),
        ("stop = '(?i)^the end'", "cannot be used"),
        ('[base]\ntemplate = "no place"', "has no {question}"),
        ('[base]\nmore = "x"', "base.more"),
        ("[sampling]\ntop_p = 7", "top_p"),
        ('[sampling]\ntop_p = "high"', "sampling.top_p"),
        ("not TOML", "not TOML"),
        ("\udcff", "not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        find_preset(str(path))
    assert message in str(caught.value) and caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["triag", "none", "/none/at/all.toml", ".toml/"])
def test_presets_that_do_not_exist(own: Path, name: str) -> None:
    with pytest.raises(UsageError):
        find_preset(name)


async def test_the_file_says_how_the_answer_is_read(own: Path) -> None:
    class Policy(ScriptedModel):
        answer_kind = "choice:A-C"
        check = "exact"

        async def open_as(self, question: str, kind: object) -> object:
            return await self.open(question)

    policy = Policy(lambda question, path: "Answer: B")
    reader, ends_at_answer = answers_of(policy, ramify.Problem("0", "Q"), "auto")  # pyright: ignore[reportArgumentType]
    assert (reader.read("Answer: B"), ends_at_answer) == ("B", False)
    assert answers_of(policy, ramify.Problem("0", "Q"), "boxed")[0].read(r"\boxed{7}") == "7"  # pyright: ignore[reportArgumentType]


def test_the_contents_of_a_file_make_the_item_of_a_batch(own: Path) -> None:
    def settings(preset: str | None) -> object:
        model = {"sha256": "x", "name": "m"}
        found = configuration(
            model=model, reward=None, engine=EngineConfig(prompt_preset=preset), strategy=Greedy(), run=RunConfig(),
            sampling=USUAL_SAMPLING,
        )  # fmt: skip
        return found["engine"]["prompt_preset"]

    before = settings("triage")
    assert before == settings(str(own)) and settings("math") == "math" and settings(None) is None
    own.write_text('description = "Changed"', "utf-8")
    assert settings("triage") != before
