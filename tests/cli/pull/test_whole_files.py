"""A model is pulled, found by its names, and replaced when it must be."""

from __future__ import annotations

import json

import pytest

from ramify.engine.library.catalog import resolve_model
from ramify.files import lock

from .hub_server import COMMIT, FILE, QUESTION, REPO


def test_a_file_is_pulled_whole_and_found_by_its_names(ramify, hub, folder, model):
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    target = folder / FILE
    assert (result.code, result.out) == (0, f"{target}\n")
    assert result.err.splitlines() == [f"fetching {FILE} (0.3 MB)", "fetched: use it with --model tiny-q8_0"]
    assert target.read_bytes() == model
    assert sorted(path.name for path in folder.iterdir()) == [FILE, "tiny-q8_0.hub.json"]
    for name in ("tiny-q8_0", f"hf:{REPO}/{FILE}", f"hf:{REPO}:Q8_0", f"hf:{REPO}@{COMMIT[:10]}/{FILE}"):
        assert resolve_model(name).path == target
    listed = {entry["name"]: entry for entry in json.loads(ramify("models", "list", "--json").out)}
    assert listed["tiny-q8_0"]["source"] == f"hf:{REPO}/{FILE}"
    assert f"hf:{REPO}/{FILE}" in ramify("models", "list").out


def test_a_pulled_model_solves_a_problem_by_its_hub_name(ramify, hub, folder):
    name = f"hf:{REPO}:q8_0"
    assert ramify("models", "pull", name).code == 0
    seen = len(hub.requests)
    result = ramify("--model", name, "--max-generated-tokens", "200", "--seed", "0", "--json", QUESTION)
    assert result.code == 0, result.err
    assert json.loads(result.out)["answer"] is not None
    assert len(hub.requests) == seen


def test_pulling_again_does_nothing(ramify, hub, folder):
    ramify("models", "pull", f"hf:{REPO}/{FILE}")
    before = (folder / FILE).stat().st_mtime_ns
    hub.requests.clear()
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}", "--json")
    assert (result.code, json.loads(result.out)["fetched"]) == (0, False)
    assert hub.contents() == []
    assert (folder / FILE).stat().st_mtime_ns == before


def test_a_pulled_file_that_was_damaged_since_is_fetched_again(ramify, hub, folder, model):
    ramify("models", "pull", f"hf:{REPO}/{FILE}")
    (folder / FILE).write_bytes(model[:-1] + b"?")
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert (folder / FILE).read_bytes() == model


def test_a_new_version_on_the_hub_replaces_the_old_one(ramify, hub, folder, model):
    hub.files[FILE] = model + bytes(32)
    ramify("models", "pull", f"hf:{REPO}/{FILE}")
    hub.files[FILE] = model
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert (folder / FILE).read_bytes() == model


def test_a_model_of_ones_own_is_not_replaced_unasked(ramify, hub, folder, model):
    folder.mkdir()
    (folder / FILE).write_bytes(b"my own")
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 2
    assert "give the new one another name with --name, or pass --force" in result.error
    assert (folder / FILE).read_bytes() == b"my own"
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}", "--name", "tiny").out == f"{folder / 'tiny.gguf'}\n"
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}", "--force").code == 0
    assert (folder / FILE).read_bytes() == model


@pytest.mark.parametrize("name", ["demo-m", "a/b", "../up", "", ".hidden", "a:b"])
def test_names_that_would_not_be_found_are_refused(ramify, hub, folder, name):
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}", "--name", name)
    assert result.code == (0 if name == "" else 2)


def test_two_pulls_of_one_model_do_not_meet(ramify, hub, folder):
    busy = folder / ".pulling" / "tiny-q8_0"
    busy.mkdir(parents=True)
    with lock(busy / "lock"):
        result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
        assert result.code == 3
        assert "another process is pulling tiny-q8_0" in result.error
        assert busy.is_dir()
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0


def test_a_run_never_downloads(ramify, hub, folder):
    result = ramify("--model", f"hf:{REPO}/{FILE}", QUESTION)
    assert result.code == 3
    assert result.error.endswith(
        f"hf:{REPO}/{FILE} is not on this machine yet; fetch it with `ramify models pull hf:{REPO}/{FILE}`"
    )
    assert hub.requests == []


def test_remove_takes_ones_own_models_only_and_asks(ramify, hub, folder):
    ramify("models", "pull", f"hf:{REPO}/{FILE}")
    result = ramify("models", "remove", "tiny-q8_0")
    assert (result.code, (folder / FILE).exists()) == (2, True)
    assert "pass --yes" in result.error
    assert "did you mean 'tiny-q8_0'?" in ramify("models", "remove", "--yes", "tiny-q8").error
    assert "cannot be deleted" in ramify("models", "remove", "--yes", "demo-m").error
    assert ramify("models", "remove", "--yes", f"../{folder.name}/tiny-q8_0").code == 2
    assert ramify("models", "remove", "--yes", f"hf:{REPO}/{FILE}").err == "deleted tiny-q8_0 (0.3 MB)\n"
    assert list(folder.iterdir()) == []
