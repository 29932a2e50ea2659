"""Split models, and repositories with several files."""

from __future__ import annotations

import json

import pytest

from ramify.engine.library.catalog import list_bundled, list_user_models, resolve_model
from ramify.engine.runtime.llama.gguf_check import part_names
from ramify.errors import ModelLoadError

from .hub_server import FILE, QUESTION, REPO, split_files


def test_a_split_model_is_pulled_whole_and_is_one_model(ramify, hub, folder, tmp_path):
    entry = next(entry for entry in list_bundled() if entry.name == "demo-s")
    parts = split_files(entry.files["q8_0"], tmp_path, "big-q8_0")
    assert len(parts) > 1
    hub.files = {f"q8/{name}": data for name, data in parts.items()}
    names = sorted(parts)
    # Any part names the model.
    result = ramify("models", "pull", f"hf:{REPO}/q8/{names[1]}")
    assert (result.code, result.out) == (0, f"{folder / names[0]}\n")
    assert {path.name: path.read_bytes() for path in folder.glob("*.gguf")} == parts
    own = list_user_models()
    assert [(each.name, each.size_bytes) for each in own] == [("big-q8_0", sum(map(len, parts.values())))]
    for name in ("big-q8_0", names[0], f"hf:{REPO}:q8_0"):
        assert resolve_model(name).path == folder / names[0]
    assert ramify("models", "list").out.splitlines()[-1].split()[:3] == ["big-q8_0", "-", "-"]
    solved = ramify("--model", "big-q8_0", "--max-generated-tokens", "200", "--strategy", "greedy", QUESTION)
    assert solved.code == 0, solved.err
    assert ramify("models", "remove", "--yes", "big-q8_0").code == 0
    assert list(folder.iterdir()) == []


def test_a_split_model_without_all_parts_is_refused(ramify, hub, folder, model):
    hub.files = {"big-00001-of-00002.gguf": model}
    result = ramify("models", "pull", f"hf:{REPO}/big-00001-of-00002.gguf")
    assert result.code == 2
    assert "lacks big-00002-of-00002.gguf" in result.error


def test_only_the_missing_part_is_fetched(ramify, hub, folder, model):
    names = part_names("big-00001-of-00002.gguf")
    hub.files = {names[0]: model, names[1]: b"GGUF second"}
    reference = f"hf:{REPO}/{names[0]}"
    assert ramify("models", "pull", reference).code == 0
    (folder / names[1]).unlink()
    with pytest.raises(ModelLoadError, match=f"ramify models pull {reference}"):
        resolve_model(reference)
    hub.requests.clear()
    assert ramify("models", "pull", reference).code == 0
    assert [each.path.partition("?")[0] for each in hub.contents()] == [f"/cdn/{names[1]}"]


def test_a_repository_alone_is_listed(ramify, hub, folder, model):
    hub.files |= {"b-Q4_K_M-00001-of-00002.gguf": model, "b-Q4_K_M-00002-of-00002.gguf": model, "mmproj-f16.gguf": b""}
    result = ramify("models", "pull", f"hf:{REPO}")
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0] == ["FILE", "QUANTIZATION", "SIZE", "PARTS"]
    assert [(row[0], row[1], row[-1]) for row in rows[1:]] == [
        ("b-Q4_K_M-00001-of-00002.gguf", "q4_k_m", "2"),
        (FILE, "q8_0", "1"),
    ]
    assert f"ramify models pull hf:{REPO}/b-Q4_K_M-00001-of-00002.gguf" in result.err
    listed = json.loads(ramify("models", "pull", f"hf:{REPO}", "--json").out)
    assert [each["size_bytes"] for each in listed] == [2 * len(model), len(model)]
    assert hub.contents() == []


def test_a_repository_without_models_says_so(ramify, hub, folder):
    hub.files = {"model.safetensors": b""}
    result = ramify("models", "pull", f"hf:{REPO}")
    assert (result.code, f"hf:{REPO} holds no .gguf file" in result.error) == (2, True)


def test_a_quantization_that_several_files_have_is_refused(ramify, hub, folder, model):
    hub.files["other-Q8_0.gguf"] = model
    result = ramify("models", "pull", f"hf:{REPO}:q8_0")
    assert result.code == 2
    assert "other-Q8_0.gguf" in result.error
    assert FILE in result.error
