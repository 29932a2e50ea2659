from __future__ import annotations

import json
import shutil

import pytest

from ramify.engine.library.catalog import list_bundled
from ramify.engine.runtime.llama.memory import kv_bytes_per_token


@pytest.fixture
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("RAMIFY_MODELS_DIR", str(tmp_path))
    return tmp_path


def test_list_as_json_names_every_bundled_model(ramify, own_folder):
    result = ramify("models", "list", "--json")
    assert (result.code, result.err) == (0, "")
    assert [entry["name"] for entry in json.loads(result.out)] == [entry.name for entry in list_bundled()]


def test_list_shows_own_models(ramify, bundled, own_folder):
    shutil.copy(list_bundled()[0].files["q8_0"], own_folder / "mine.gguf")
    (own_folder / "torn.gguf").write_bytes(b"GGUF")
    lines = ramify("models", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "ROLE", "WEIGHTS", "SIZE", "QUANTIZATIONS", "FROM"]
    assert [line.split()[0] for line in lines[1:]] == [*(entry.name for entry in list_bundled()), "mine", "torn"]
    assert [line.split()[2] for line in lines[-2:]] == [lines[1].split()[2], "damaged"]


def test_info_tells_the_memory_of_a_search(ramify, bundled):
    facts = json.loads(ramify("models", "info", "demo-m", "--json", "--width", "32", "--tokens", "100").out)
    data = {key.partition(".")[2]: value for key, value in facts["metadata"].items() if key.startswith("qwen2.")}
    head = data["embedding_length"] // data["attention.head_count"]
    per_token = data["block_count"] * data["attention.head_count_kv"] * 2 * head * 2
    assert facts["kv_bytes_per_token"] == per_token
    assert facts["kv_bytes"] == 3200 * per_token
    assert "for 32 paths of 100 tokens" in ramify("models", "info", "demo-m", "--width", "32", "--tokens", "100").out


@pytest.mark.parametrize(
    ("kv_type", "bytes_of_64"), [("f32", 256), ("q8_0", 68), ("q8_0,q4_0", 34 + 18), ("q4_0,f16", 18 + 64)]
)
def test_info_tells_the_memory_of_other_cache_types(ramify, bundled, kv_type, bytes_of_64):
    in_f16 = json.loads(ramify("models", "info", "demo-m", "--json").out)["kv_bytes_per_token"]
    facts = json.loads(ramify("models", "info", "demo-m", "--json", "--kv-type", kv_type).out)
    # Keys and values of a head are 32 numbers each, 128 bytes together in F16.
    assert facts["kv_bytes_per_token"] * 128 == in_f16 * bytes_of_64
    assert facts["kv_bytes"] == 16 * 512 * facts["kv_bytes_per_token"]
    assert f"kv type             {kv_type}" in ramify("models", "info", "demo-m", "--kv-type", kv_type).out


def test_a_cache_type_that_does_not_fit_the_heads_has_no_size():
    metadata = {"general.architecture": "x", "x.block_count": 2, "x.attention.head_count": 3}
    narrow, wide = {**metadata, "x.embedding_length": 48}, {**metadata, "x.embedding_length": 192}
    assert kv_bytes_per_token(narrow, ("q8_0", "q8_0")) is None
    assert kv_bytes_per_token(narrow) == 2 * 2 * 3 * (16 + 16)
    assert kv_bytes_per_token(wide, ("q8_0", "q8_0")) == 2 * 3 * 4 * 34
    assert kv_bytes_per_token({**wide, "x.attention.value_length": 32}, ("q8_0", "f16")) == 2 * 3 * (2 * 34 + 64)


def test_info_reads_the_file(ramify, bundled):
    result = ramify("models", "info", "demo-m", "--json")
    facts = json.loads(result.out)
    assert facts["parameters"] > 100_000
    assert facts["context_tokens"] >= 256
    assert facts["metadata"]["general.architecture"] == facts["architecture"]
    text = ramify("models", "info", facts["path"]).out
    assert f"{facts['parameters']:,}" in text
