from __future__ import annotations

import json
import os

import pytest

from ramify.batch import RunFolderError
from ramify.batch.store.folder import RunFolder, read_manifest
from ramify.batch.store.identity import describe_model, describe_reward, differences, item_key, problem_key
from ramify.batch.store.journal import Journal, read_journal, write_whole


def rows(path):
    return [row for row, _ in read_journal(path)]


def test_what_was_appended_is_there(tmp_path):
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.append({"n": 1})
        journal.append({"n": "\u00e4\ud800"})
        assert rows(path) == [{"n": 1}, {"n": "\u00e4\ud800"}]
    with Journal(path) as journal:
        journal.append({"n": 3})
    assert [row["n"] for row in rows(path)] == [1, "\u00e4\ud800", 3]


def test_a_line_torn_anywhere_is_as_if_never_written(tmp_path):
    path = tmp_path / "a.jsonl"
    whole, last = b'{"n": 1}\n', b'{"n": 2}\n'
    for cut in range(len(last)):
        path.write_bytes(whole + last[:cut])
        assert rows(path) == [{"n": 1}]
        with Journal(path) as journal:
            journal.append({"n": 3})
        assert path.read_bytes() == whole + b'{"n": 3}\n'


def test_a_last_line_of_rubbish_is_torn_too(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n' + b"\0" * 30 + b"\n")
    assert rows(path) == [{"n": 1}]


def test_a_line_that_is_being_written_is_no_damage(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": ')
    found = read_journal(path)
    assert next(found)[0] == {"n": 1}
    assert next(found, None) is None
    with path.open("ab") as file:
        file.write(b'2}\n{"n": 3}\n')
    assert [row["n"] for row in rows(path)] == [1, 2, 3]


def test_damage_before_the_last_line_is_told(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n"\n{"n": 3}\n')
    with pytest.raises(RunFolderError, match="line 2 is damaged"):
        rows(path)


def test_a_write_that_fails_half_way_leaves_no_trace(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    real = os.pwrite
    left = [20]

    def pwrite(file: int, data: bytes, offset: int) -> int:
        if not left[0]:
            raise OSError(28, "No space left on device")
        count = min(left[0], len(data))
        left[0] -= count
        return real(file, data[:count], offset)

    with Journal(path) as journal:
        monkeypatch.setattr(os, "pwrite", pwrite)
        journal.append({"n": 1})
        with pytest.raises(RunFolderError, match="no room to write"):
            journal.append({"n": "longer than what is left"})
        assert path.read_bytes() == b'{"n": 1}\n'
        left[0] = 100
        journal.append({"n": 3})
    assert [row["n"] for row in rows(path)] == [1, 3]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def fsync(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(RunFolderError, match="no room"):
        write_whole(path, "new")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.json", "old")]


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
