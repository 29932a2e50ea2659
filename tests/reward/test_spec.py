"""Reward specs: what is accepted, what is refused and how that is said, and which spec a model file gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ramify.errors import RewardSpecError
from ramify.reward.spec_loading import BUILTIN_SPECS, METADATA_KEY, load_spec, parse_spec, resolve_spec
from ramify.reward.specs import RewardSpec
from ramify.reward.testing import PieceTokenizer

DEMO = (
    '{"name":"ramify-demo-prm","head":"lm_head","prompt_template":"<|user|>{question}<|assistant|>",'
    '"step_template":"{step}<|step|>","tag":"<|step|>","good":"<|good|>","bad":"<|bad|>","read_at":"tag",'
    '"activation":"softmax","aggregation":"last","context_limit":512}'
)


def test_the_bundled_models_metadata_is_the_built_in_spec() -> None:
    assert parse_spec(DEMO) == BUILTIN_SPECS["ramify-demo-prm"]


def test_a_spec_survives_json() -> None:
    for spec in BUILTIN_SPECS.values():
        assert parse_spec(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": "x"}, "tags: Extra inputs"),
        ({"head": "value"}, "head"),
        ({"prompt_template": "no place"}, r"prompt_template must have \{question\} exactly once"),
        ({"step_template": "{step}{step}<|step|>"}, r"step_template must have \{step\} exactly once"),
        ({"step_template": "<|step|>{step}"}, "does not have the tag"),
        ({"bad": None}, "softmax needs both"),
        ({"activation": "sigmoid"}, "sigmoid reads good alone"),
        ({"bad": "<|good|>"}, "the same token"),
        ({"context_limit": 0}, "context_limit"),
        ({"name": ""}, "name"),
        ({"good": -1}, "good"),
        ({"scale": 0}, "scale"),
        ({"head": "mlp", "head_file": "h", "good": 1}, "good and bad are rows of its output"),
        ({"head": "mlp", "good": 1, "bad": 0}, "head_file is the file of an mlp head"),
        ({"head_file": "h"}, "head_file is the file of an mlp head"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RewardSpecError, match=message):
        parse_spec(json.dumps({**json.loads(DEMO), **change}))


def test_text_that_is_not_json_is_refused() -> None:
    with pytest.raises(RewardSpecError, match="not valid"):
        parse_spec("{")


TOML = """
name = "mine"
prompt_template = "Q: {question}\\n"
step_template = "{step}<|step|>"
tag = "<|step|>"
good = 7
activation = "sigmoid"
context_limit = 100
"""


def test_a_spec_may_be_a_toml_file(tmp_path: Any) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(TOML, "utf-8")
    spec = load_spec(str(path))
    assert (spec.name, spec.prompt_template, spec.good, spec.bad) == ("mine", "Q: {question}\n", 7, None)
    path.write_text(TOML + "tags = 1\n", "utf-8")
    with pytest.raises(RewardSpecError, match="tags: Extra inputs"):
        load_spec(str(path))
    path.write_text("name = \n", "utf-8")
    with pytest.raises(RewardSpecError, match="not valid TOML"):
        load_spec(str(path))


def test_a_spec_is_found_by_name_by_file_and_as_json(tmp_path: Any) -> None:
    path = tmp_path / "spec.json"
    path.write_text(DEMO, "utf-8")
    assert load_spec("math-shepherd").tag == " ки"
    assert load_spec(str(path)) == load_spec(DEMO) == BUILTIN_SPECS["ramify-demo-prm"]
    with pytest.raises(RewardSpecError, match="math-shepherd"):
        load_spec(str(tmp_path / "missing.json"))


def test_a_model_file_without_a_spec_is_refused_and_the_known_specs_are_named() -> None:
    with pytest.raises(RewardSpecError, match=r"llama\.gguf .*math-shepherd, rlhflow, versaprm"):
        resolve_spec({}, model="llama.gguf")


SHEPHERD = PieceTokenizer([" ки", " +", " -"], ["<s>"], adds_space=True)
MISTRAL: dict[str, object] = {"general.architecture": "llama"}


def test_a_family_is_chosen_by_architecture_vocabulary_and_name() -> None:
    named = {**MISTRAL, "general.name": "Math Shepherd Mistral 7b Prm"}
    assert resolve_spec(named, model="m", tokenizer=SHEPHERD).name == "math-shepherd"
    url = {**MISTRAL, "general.source.url": "https://huggingface.co/peiyi9979/math-shepherd-mistral-7b-prm"}
    assert resolve_spec(url, model="m", tokenizer=SHEPHERD).name == "math-shepherd"


def test_vocabulary_and_architecture_alone_give_candidates_and_no_choice() -> None:
    with pytest.raises(RewardSpecError, match=r"\(its vocabulary fits math-shepherd, llemma-rebase\)"):
        resolve_spec({**MISTRAL, "general.name": "Mistral 7B Instruct"}, model="m", tokenizer=SHEPHERD)


def test_a_name_alone_is_not_enough() -> None:
    name = {"general.name": "math-shepherd"}
    for metadata, tokenizer in (
        ({"general.architecture": "qwen2", **name}, SHEPHERD),
        ({**MISTRAL, **name}, PieceTokenizer()),
        ({**MISTRAL, **name}, None),
    ):
        with pytest.raises(RewardSpecError, match="pass a reward spec"):
            resolve_spec(metadata, model="m", tokenizer=tokenizer)


def test_a_given_spec_wins_over_the_files_own() -> None:
    metadata: dict[str, object] = {METADATA_KEY: DEMO}
    assert resolve_spec(metadata, model="m").name == "ramify-demo-prm"
    assert resolve_spec(metadata, model="m", given="versaprm").name == "versaprm"
    assert resolve_spec({}, model="m", given=BUILTIN_SPECS["versaprm"]).name == "versaprm"


def test_steps_are_normalised_as_the_spec_says() -> None:
    spec = RewardSpec.model_validate({**json.loads(DEMO), "strip_steps": True, "newline": " "})
    assert spec.normalise("  a\nb \n") == "a b"
    assert BUILTIN_SPECS["ramify-demo-prm"].normalise(" a\n") == " a\n"
