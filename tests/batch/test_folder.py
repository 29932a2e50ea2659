from __future__ import annotations

import json
import os

import pytest

from ramify.batch import RunFolderError
from ramify.batch.store.folder import RunFolder, read_manifest, read_rows, write_file
from ramify.batch.store.identity import item_key, problem_key
from ramify.engine.rewards.descriptions import describe_model, describe_reward
from ramify.settings import differences


def manifest(**configuration):
    return {
        "schema_version": 1,
        "created": "2026-01-01T00:00:00Z",
        "configuration": configuration,
        "configuration_hash": json.dumps(configuration),
    }


def test_a_second_writer_is_refused_and_told_of_the_first(tmp_path):
    with RunFolder(tmp_path / "out"):
        with pytest.raises(RunFolderError, match=f"another process .*process {os.getpid()}"):
            RunFolder(tmp_path / "out").__enter__()
    with RunFolder(tmp_path / "out"):
        pass


def test_another_configuration_is_refused_and_named(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.claim(manifest(seed=0, strategy={"name": "rebase", "width": 4}))
        folder.claim(manifest(seed=0, strategy={"name": "rebase", "width": 4}))
        with pytest.raises(RunFolderError, match=r"strategy\.width was 4 and is now 8"):
            folder.claim(manifest(seed=0, strategy={"name": "rebase", "width": 8}))


def test_the_manifest_keeps_when_it_was_made(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.claim(manifest(seed=0))
        folder.claim({**manifest(seed=0), "created": "2027-01-01T00:00:00Z", "runtime": {}})
    found = read_manifest(tmp_path)
    assert found is not None and (found["created"], found["runtime"]) == ("2026-01-01T00:00:00Z", {})


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match=r"holds 'thesis.tex'"):
        RunFolder(tmp_path).__enter__()
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_writer_left_is_removed(tmp_path):
    (tmp_path / ".manifest.json.1.00000000.part").touch()
    with RunFolder(tmp_path) as folder:
        folder.claim(manifest(seed=0))
        assert sorted(each.name for each in tmp_path.iterdir()) == [
            "attempts.jsonl", "items.jsonl", "lock", "manifest.json"
        ]  # fmt: skip


def test_damage_before_the_last_item_is_told(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.claim(manifest(seed=0))
    (tmp_path / "items.jsonl").write_bytes(b'{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(RunFolderError, match=r"line 2 is damaged.*will be done again"):
        list(read_rows(tmp_path))
    with pytest.raises(RunFolderError, match=r"line 2 is damaged.*will be done again"):
        RunFolder(tmp_path).__enter__()


def test_a_folder_without_room_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write_file(tmp_path / "report.json", "old")
    with RunFolder(tmp_path) as folder:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="no room to write"):
            folder.add_item({"n": 1})
        with pytest.raises(RunFolderError, match="no room to write"):
            write_file(tmp_path / "report.json", "new")
    assert (tmp_path / "items.jsonl").read_bytes() == b""
    assert (tmp_path / "report.json").read_text() == "old"


def test_items_without_a_manifest_are_left_alone(tmp_path):
    (tmp_path / "items.jsonl").write_text("{}\n")
    with pytest.raises(RunFolderError, match=r"without manifest.json"):
        RunFolder(tmp_path).__enter__()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder(tmp_path / "out").__enter__()


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ("[]", "is no manifest"), ('{"schema_version": 99}', "has version 99")],
)
def test_manifests_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(RunFolderError, match=message):
        read_manifest(tmp_path)


def test_keys_tell_questions_repeats_and_configurations_apart():
    first = problem_key("a", 0)
    assert len({first, problem_key("a", 1), problem_key("b", 0)}) == 3
    assert len({item_key(first, 0, "x"), item_key(first, 1, "x"), item_key(first, 0, "y")}) == 3
    assert item_key(first, 0, "x") == item_key(problem_key("a", 0), 0, "x")


def test_differences_are_named_with_their_place():
    old = {"a": 1, "b": {"c": "x", "d": None}, "e": "0" * 64}
    assert differences(old, {"a": 1, "b": {"c": "y", "d": None}, "e": "1" * 64, "f": True}) == [
        "b.c was x and is now y",
        "e was 000000000000… and is now 111111111111…",
        "f was null and is now true",
    ]


def test_the_hash_of_an_untouched_model_is_not_computed_again(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")
    found = describe_model(path, None)
    assert found["sha256"] == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert describe_model(path, {**found, "sha256": "kept"})["sha256"] == "kept"
    path.write_bytes(b"other weights")
    assert describe_model(path, {**found, "sha256": "kept"})["sha256"] != "kept"


def test_a_reward_is_identified_by_its_files_or_by_its_name(tmp_path):
    assert describe_reward("self-certainty", None)["sha256"] is None
    assert describe_reward("openai:http://localhost:1/v1#m", None)["name"] == "openai:http://localhost:1/v1#m"
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = describe_reward(tmp_path, None)
    assert describe_reward(tmp_path, {**first, "sha256": "kept"})["sha256"] == "kept"
    (tmp_path / "model.safetensors").write_bytes(b"weightier")
    assert describe_reward(tmp_path, first)["sha256"] != first["sha256"]


@pytest.mark.parametrize("name", ["lock", "items.jsonl", "attempts.jsonl", "events.log"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_received_folder_with_a_link_overwrites_nothing(tmp_path, name, link):
    victim, folder = tmp_path / "victim", tmp_path / "received"
    victim.write_text("")
    folder.mkdir()
    (folder / "manifest.json").write_text(json.dumps(manifest(seed=0)))
    if link == "symbolic":
        (folder / name).symlink_to(victim)
    else:
        (folder / name).hardlink_to(victim)
    with pytest.raises(RunFolderError, match=f"{name} cannot be written") as refused:
        with RunFolder(folder) as run:
            run.log("a line")
    assert "symbolic link" in str(refused.value) or "hard links" in str(refused.value)
    assert victim.read_text() == ""


@pytest.mark.parametrize("name", ["trees", "parts"])
def test_a_received_folder_with_a_linked_folder_writes_nothing_there(tmp_path, name):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "received"
    elsewhere.mkdir()
    folder.mkdir()
    with RunFolder(folder) as run:
        run.claim(manifest(seed=0))
        (folder / name).symlink_to(elsewhere)
        with pytest.raises(RunFolderError, match="symbolic link"):
            run.save_tree("a", {}) if name == "trees" else run.save_samples("a", {})
    assert list(elsewhere.iterdir()) == []


def test_linked_manifest_and_report_are_replaced_and_not_followed(tmp_path):
    victim, folder = tmp_path / "victim", tmp_path / "received"
    victim.write_text(json.dumps(manifest(seed=0)))
    folder.mkdir()
    for name in ("manifest.json", "report.json"):
        (folder / name).symlink_to(victim)
    before = victim.read_text()
    with RunFolder(folder) as run:
        run.claim({**manifest(seed=0), "runtime": {}})
        run.write_report({"done": 1})
    assert victim.read_text() == before
    assert not (folder / "manifest.json").is_symlink() and not (folder / "report.json").is_symlink()


def test_a_run_folder_is_its_owners_alone(tmp_path):
    folder = tmp_path / "run"
    with RunFolder(folder) as run:
        run.claim(manifest(seed=0))
        run.save_tree("a", {})
        run.log("a line")
    modes = {each.stat().st_mode & 0o777 for each in folder.rglob("*") if each.is_file()}
    assert modes == {0o600}
    assert [each.stat().st_mode & 0o777 for each in (folder, folder / "trees")] == [0o700, 0o700]
