"""Model names: bundled, the user's own, paths, and those that are none of these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ramify.engine.library import catalog
from ramify.engine.library.catalog import list_bundled, list_user_models, profile_path, resolve_model
from ramify.errors import ModelLoadError, UsageError
from ramify.files import models_folder


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put models of both kinds into folders of their own."""
    bundled, own = tmp_path / "weights", tmp_path / "own"
    bundled.mkdir()
    own.mkdir()
    for name in ("demo-s.q8_0", "demo-m.q8_0", "demo-m.f16", "demo-prm.f16"):
        (bundled / f"{name}.gguf").write_bytes(b"GGUF" + name.encode())
    (bundled / "notes.txt").write_text("no model")
    card = {"role": "policy", "parameters": 4_000_000, "description": "solves arithmetic word problems"}
    (bundled / "demo-m.json").write_text(json.dumps(card))
    (own / "mine.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(catalog, "_bundled_folder", lambda: bundled)
    monkeypatch.setenv("RAMIFY_MODELS_DIR", str(own))
    return tmp_path


def test_a_bundled_name_means_its_default_quantization(folders: Path) -> None:
    ref = resolve_model("demo-m")
    assert (ref.name, ref.path, ref.bundled) == ("demo-m", folders / "weights" / "demo-m.q8_0.gguf", True)
    assert resolve_model("demo-m:f16").path.name == "demo-m.f16.gguf"
    assert resolve_model("demo-prm").path.name == "demo-prm.f16.gguf"


def test_a_path_means_itself(folders: Path) -> None:
    path = folders / "own" / "mine.gguf"
    for name in (str(path), path):
        assert resolve_model(name).path == path.resolve()
    assert not resolve_model(path).bundled


def test_a_users_model_is_found_by_name(folders: Path) -> None:
    for name in ("mine", "mine.gguf"):
        assert resolve_model(name).path.name == "mine.gguf"
    assert [entry.name for entry in list_user_models()] == ["mine"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("demo-n", r"there is no model 'demo-n'; did you mean 'demo-[sm]'\?"),
        ("zzzz", r"known names are demo-m, demo-prm, demo-s, mine"),
        ("", "there is no model ''"),
        ("demo-m:q4", "demo-m does not come as 'q4'; it comes as f16, q8_0"),
        ("./nothing.gguf", r"there is no file nothing\.gguf"),
        ("nothing.gguf", r"there is no file nothing\.gguf"),
    ],
)
def test_an_unknown_name_is_refused_with_what_to_do(name: str, message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        resolve_model(name)


def test_a_folder_is_not_a_model(folders: Path) -> None:
    with pytest.raises(ModelLoadError, match="is a folder"):
        resolve_model(folders)


def test_remote_names_are_recognised_and_refused() -> None:
    with pytest.raises(UsageError, match="this version does not"):
        resolve_model("openai:http://localhost:8000#model")


def test_bundled_models_are_listed_with_their_cards(folders: Path) -> None:
    entries = {entry.name: entry for entry in list_bundled()}
    assert list(entries) == ["demo-m", "demo-prm", "demo-s"]
    demo = entries["demo-m"]
    assert (demo.role, demo.parameters, demo.description) == ("policy", 4_000_000, "solves arithmetic word problems")
    assert demo.size_bytes == len(b"GGUFdemo-m.q8_0")
    assert sorted(demo.files) == ["f16", "q8_0"]
    assert (entries["demo-prm"].role, entries["demo-prm"].parameters) == ("reward", None)
    assert entries["demo-prm"].description == "process reward model for the task arithmetic"


def test_a_profile_is_found_by_policy_and_reward_without_quantizations(folders: Path) -> None:
    profiles = folders / "profiles"
    profiles.mkdir()
    for name in ("demo-m+demo-prm", "demo-m+head-demo-l-arithmetic-exact-totals", "demo-m+mean-logprob"):
        (profiles / f"{name}.json").write_text("{}")
    for policy, reward, name in (
        ("demo-m:q8_0", "ramify-demo-prm", "demo-m+demo-prm"),
        ("demo-m", "demo-prm:f16", "demo-m+demo-prm"),
        ("demo-m:f16", "head:demo-l * arithmetic:exact * totals", "demo-m+head-demo-l-arithmetic-exact-totals"),
        ("demo-m", "mean-logprob", "demo-m+mean-logprob"),
    ):
        found = profile_path(policy, reward)
        assert found is not None and found.stem == name
    for policy, reward in (("demo-s", "demo-prm"), ("demo-m", "mean-logprob:demo-l"), ("demo-m", None)):
        assert profile_path(policy, reward) is None


def test_a_broken_card_is_a_clear_error(folders: Path) -> None:
    (folders / "weights" / "demo-s.json").write_text("{")
    with pytest.raises(ModelLoadError, match=r"demo-s\.json cannot be read"):
        list_bundled()


def test_the_users_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAMIFY_MODELS_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert models_folder() == tmp_path / "ramify" / "models"
    assert list_user_models() == []
    monkeypatch.delenv("XDG_DATA_HOME")
    assert models_folder() == Path.home() / ".local" / "share" / "ramify" / "models"


@pytest.mark.parametrize("name", ["a:b", "demo-m:mine", "c:d:e", "with space"])
def test_every_listed_model_can_be_named(folders: Path, name: str) -> None:
    (folders / "own" / f"{name}.gguf").write_bytes(b"GGUF")
    assert name in {entry.name for entry in list_user_models()}
    for written in (name, f"{name}.gguf"):
        assert resolve_model(written).path == folders / "own" / f"{name}.gguf"


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000 + ".gguf", "~nobody-of-this-name/a.gguf", "a\0b", "a\0b.gguf"])
def test_names_that_no_file_can_have_are_told_as_missing(name: str) -> None:
    with pytest.raises(ModelLoadError, match=r"there is no (model|file)"):
        resolve_model(name)
