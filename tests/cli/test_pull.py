"""`ramify models pull` against a server on this machine that is laid out as the Hugging Face hub is."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ramify.cli.pulling import DownloadProgress
from ramify.engine.catalog import list_bundled, list_user_models, resolve_model
from ramify.engine.errors import ModelLoadError, UsageError
from ramify.engine.hub.reference import HubRef, parse_reference, part_names, quantization_of

huggingface_hub = pytest.importorskip("huggingface_hub")

REPO = "someone/tiny-GGUF"
FILE = "tiny-q8_0.gguf"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
QUESTION = "Tom has 3 apples. Tom buys 4 more apples. How many apples does Tom have now?"


@dataclass
class Request:
    path: str
    range: str | None
    authorized: bool


@dataclass
class FakeHub:
    """What the server has and does. `files` are what it states, `sent` what it sends where that differs.

    Replies with content end after so many bytes as `cuts` says, one entry a reply. Requests of the repository get
    `denial` (status, error code) unless they have a token. With `hold`, a reply that was cut stays open till then.
    """

    files: dict[str, bytes]
    sent: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    denial: tuple[int, str] | None = None
    ignore_ranges: bool = False
    hold: threading.Event | None = None
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    def contents(self) -> list[Request]:
        """The requests for the content of files."""
        return [each for each in self.requests if each.path.startswith("/cdn/")]

    def info(self) -> dict[str, Any]:
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest(),
                **({"lfs": lfs(data)} if name.endswith(".gguf") else {}),
            }
            for name, data in self.files.items()
        ]
        return {"id": REPO, "modelId": REPO, "sha": COMMIT, "siblings": siblings}


def lfs(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.hub
        authorization = self.headers.get("Authorization")
        hub.requests.append(Request(self.path, self.headers.get("Range"), authorization is not None))
        path = self.path.partition("?")[0]
        if path.startswith("/cdn/"):
            self._content(path.removeprefix("/cdn/"))
        elif hub.denial is not None and authorization is None:
            self._refuse(*hub.denial)
        elif not path.startswith((f"/api/models/{REPO}", f"/{REPO}/resolve/")):
            self._refuse(404, "RepoNotFound")
        elif re.fullmatch(f"/api/models/{REPO}(/revision/(main|v1|{COMMIT}))?", path):
            self._reply(200, {"Content-Type": "application/json"}, json.dumps(hub.info()).encode())
        elif path.startswith("/api/"):
            self._refuse(404, "RevisionNotFound")
        else:
            self._resolve(path.removeprefix(f"/{REPO}/resolve/{COMMIT}/"))

    def _resolve(self, name: str) -> None:
        data = self.hub.files.get(name)
        if data is None:
            self._refuse(404, "EntryNotFound")
            return
        # Another origin, as the real one: credentials must not follow there.
        location = f"http://localhost:{self.hub.port}/cdn/{name}?signature=secret"
        facts = {"Location": location, "X-Repo-Commit": COMMIT, "X-Linked-Size": str(len(data))}
        self._reply(302, {**facts, "X-Linked-Etag": f'"{lfs(data)["sha256"]}"'}, b"")

    def _content(self, name: str) -> None:
        data = self.hub.sent.get(name, self.hub.files[name])
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        status, headers = 200, {"ETag": f'"{lfs(data)["sha256"]}"', "Accept-Ranges": "bytes"}
        if asked and not self.hub.ignore_ranges:
            start, end = int(asked[1]), int(asked[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            status, data = 206, data[start : end + 1]
        self._reply(status, headers, data, cut=self.hub.cuts.pop(0) if self.hub.cuts else None)

    def _refuse(self, status: int, code: str) -> None:
        self._reply(status, {"X-Error-Code": code, "X-Error-Message": "no"}, b'{"error": "no"}')

    def _reply(self, status: int, headers: dict[str, str], body: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            if self.hub.hold is not None:
                self.hub.hold.wait(60)
            self.close_connection = True


@pytest.fixture
def model(bundled) -> bytes:
    entry = next(entry for entry in list_bundled() if entry.name == "demo-s")
    return entry.files["q8_0"].read_bytes()


@pytest.fixture
def hub(model, monkeypatch, tmp_path) -> Iterator[FakeHub]:
    fake = FakeHub({FILE: model, "README.md": b"# Tiny"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": fake}))
    fake.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{fake.port}")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("ramify.engine.hub.download.FIRST_WAIT_S", 0.0)
    yield fake
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(monkeypatch, tmp_path) -> Path:
    path = tmp_path / "models"
    monkeypatch.setenv("RAMIFY_MODELS_DIR", str(path))
    return path


def kept(folder: Path) -> list[Path]:
    """What earlier tries left for later ones."""
    return [path for path in (folder / ".pulling").rglob("*") if path.is_file()]


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


def test_a_connection_that_breaks_is_taken_up_where_it_ended(ramify, hub, folder, model):
    hub.cuts = [100_000]
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert [each.range for each in hub.contents()] == [None, "bytes=100000-"]
    assert (folder / FILE).read_bytes() == model


def test_a_download_that_failed_goes_on_at_the_next_try(ramify, hub, folder, model):
    hub.cuts = [100_000, *[0] * 50]
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert "the 100,000 bytes that came are kept; run the same command again to go on" in result.err
    assert [path.read_bytes() for path in kept(folder)] == [model[:100_000]]
    assert list_user_models() == []
    hub.cuts.clear()
    hub.requests.clear()
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 0
    assert "0.1 MB are there from an earlier try" in result.err
    assert [each.range for each in hub.contents()] == ["bytes=100000-"]
    assert (folder / FILE).read_bytes() == model
    assert kept(folder) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_a_pull_that_is_killed_leaves_no_model_and_goes_on_later(ramify, start, hub, folder, model, number, code):
    hub.cuts, hub.hold = [200_000], threading.Event()
    child = start("models", "pull", f"hf:{REPO}/{FILE}")
    try:
        while not any(path.stat().st_size for path in kept(folder)):
            assert child.poll() is None, child.communicate()
            time.sleep(0.01)
        child.send_signal(number)
        out, err = child.communicate()
    finally:
        hub.hold.set()
    assert (child.returncode, out) == (code, "")
    assert "Traceback" not in err
    assert list_user_models() == []
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert re.fullmatch(r"bytes=[1-9]\d*-", hub.contents()[-1].range or "")
    assert (folder / FILE).read_bytes() == model


def test_progress_is_told_in_lines_where_there_is_no_terminal(capsys):
    now_s = [0.0]
    progress = DownloadProgress(clock=lambda: now_s[0])
    progress.begin("m.gguf", 4_000_000_000)
    for now_s[0], have_bytes in ((0.0, 0), (1.0, 100_000_000), (5.0, 1_000_000_000), (6.0, 1_100_000_000)):
        progress.advance(have_bytes)
    progress.clear()
    assert capsys.readouterr().err.splitlines() == [
        "fetching m.gguf (4.0 GB)",
        "m.gguf: 1.0 GB of 4.0 GB · 25% · 200.0 MB/s · 15 s left",
    ]


def test_a_server_that_sends_all_instead_of_the_rest_is_understood(ramify, hub, folder, model):
    hub.cuts, hub.ignore_ranges = [100_000], True
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert (folder / FILE).read_bytes() == model


def test_large_files_are_asked_for_in_windows(ramify, hub, folder, model, monkeypatch):
    monkeypatch.setattr("ramify.engine.hub.download.WINDOW_BYTES", 200_000)
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert [each.range for each in hub.contents()] == ["bytes=0-199999", "bytes=200000-"]
    assert (folder / FILE).read_bytes() == model


def test_what_an_earlier_version_left_is_not_mixed_in(ramify, hub, folder, model):
    hub.files[FILE] = model[:-1] + b"?"
    hub.cuts = [100_000, *[0] * 50]
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 3
    hub.files[FILE] = model
    hub.cuts.clear()
    hub.requests.clear()
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert [each.range for each in hub.contents()] == [None]


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"?", lambda data: data + b"?"])
def test_damaged_content_is_refused_and_removed(ramify, hub, folder, model, damage):
    hub.sent[FILE] = damage(model)
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert (result.code, result.out) == (3, "")
    assert f"error: {FILE} arrived damaged" in result.err
    assert kept(folder) == []
    assert list_user_models() == []


def test_what_is_no_model_is_refused_though_it_is_as_the_hub_has_it(ramify, hub, folder):
    hub.files[FILE] = b"GGUF but nothing behind it, as in a file that was cut before it was published"
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert "is as the hub has it, but no model" in result.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("hf:someone/else/tiny.gguf", "there is no repository someone/else on the hub; check its name"),
        (f"hf:{REPO}/tiny-q8.gguf", f"holds no file 'tiny-q8.gguf'; did you mean '{FILE}'?"),
        (f"hf:{REPO}@v7/{FILE}", f"{REPO} has no revision 'v7'"),
        (f"hf:{REPO}:q4_k_m", "holds no file with the quantization 'q4_k_m'; it comes as q8_0"),
        (f"hf:{REPO}/README.md", "'README.md' is not a .gguf file"),
        ("hf:tiny.gguf", "write hf:OWNER/REPO/FILE.gguf"),
        (f"hf:{REPO}/../{FILE}", "is no path of a file in a repository"),
        ("hf:../../etc/x.gguf", "is no reference to a file"),
        ("https://huggingface.co/x", "is no reference to a file"),
    ],
)
def test_wrong_references_are_told_apart(ramify, hub, folder, reference, message):
    result = ramify("models", "pull", reference)
    assert (result.code, result.out) == (2, "")
    assert message in result.error
    assert not folder.exists() or list(folder.iterdir()) == []


@pytest.mark.parametrize(("code", "exit_code"), [("GatedRepo", 3), ("RepoNotFound", 2)])
def test_a_closed_repository_says_how_to_log_in(ramify, hub, folder, code, exit_code):
    hub.denial = 401, code
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == exit_code
    assert "log in with `hf auth login` or set HF_TOKEN" in result.error


def test_the_token_goes_to_the_hub_and_nowhere_else(ramify, hub, folder, monkeypatch):
    hub.denial = 401, "GatedRepo"
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 0
    assert {each.authorized for each in hub.requests if not each.path.startswith("/cdn/")} == {True}
    assert [each.authorized for each in hub.contents()] == [False]
    assert "verysecret" not in result.out + result.err + (folder / "tiny-q8_0.hub.json").read_text()


def test_a_server_that_is_down_is_no_bug(ramify, hub, folder, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert f"cannot be asked about {REPO}" in result.error


def test_an_address_that_is_none_is_refused(ramify, hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "localhost")
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 2
    assert "HF_ENDPOINT is 'localhost'" in result.error


def test_offline_uses_what_is_there_and_asks_nobody(ramify, hub, folder, monkeypatch):
    ramify("models", "pull", f"hf:{REPO}/{FILE}")
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").out == f"{folder / FILE}\n"
    result = ramify("models", "pull", f"hf:{REPO}/other.gguf")
    assert result.code == 3
    assert "HF_HUB_OFFLINE forbids asking the hub" in result.error
    assert ramify("models", "pull", f"hf:{REPO}").code == 3
    assert hub.requests == []


def test_a_full_disk_is_noticed_before_the_download(ramify, hub, folder, model, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 3
    assert f"needs {len(model):,} bytes more and {folder} has 1,000 free" in result.error
    assert hub.contents() == []


def test_a_disk_that_fills_up_keeps_what_came(ramify, hub, folder, model, monkeypatch):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert result.code == 3
    assert "is full" in result.err
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0
    assert int(re.fullmatch(r"bytes=(\d+)-", hub.contents()[-1].range or "")[1]) > 0
    assert (folder / FILE).read_bytes() == model


def split_files(source: Path, folder: Path, prefix: str) -> dict[str, bytes]:
    """Write a model in three parts, as llama.cpp's own tool does."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(folder / f"{prefix}.gguf", "qwen2", split_max_tensors=10)
    for each in reader.fields.values():
        if not each.name.startswith("GGUF.") and each.name != "general.architecture":
            inner = each.types[-1] if each.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(each.name, each.contents(), each.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {path.name: path.read_bytes() for path in folder.glob(f"{prefix}-*.gguf")}


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
    descriptor = os.open(busy, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
        assert result.code == 3
        assert "another process is pulling tiny-q8_0" in result.error
        assert busy.is_dir()
    finally:
        os.close(descriptor)
    assert ramify("models", "pull", f"hf:{REPO}/{FILE}").code == 0


def test_without_huggingface_hub_the_extra_is_named(ramify, hub, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = ramify("models", "pull", f"hf:{REPO}/{FILE}")
    assert result.code == 2
    assert "pip install 'ramify[hub]'" in result.error


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


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("hf:a/b", HubRef(repo="a/b")),
        ("hf:a/b:IQ4_XS", HubRef(repo="a/b", quantization="IQ4_XS")),
        ("hf:a/b@v1.0:q8_0", HubRef(repo="a/b", revision="v1.0", quantization="q8_0")),
        ("hf:a/b@refs/pr/3/d/m.gguf", HubRef(repo="a/b", revision="refs/pr/3", file="d/m.gguf")),
    ],
)
def test_references_are_read_and_written_alike(text, ref):
    assert parse_reference(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/", "hf:a/b/", "hf:a/b@", "hf:./../x.gguf", "hf:a/b:", "a/b"])
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(UsageError):
        parse_reference(text)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", "q4_k_m"),
        ("Llama-3.2-1B-Instruct-IQ4_XS.gguf", "iq4_xs"),
        ("x/ggml-model-f16.gguf", "f16"),
        ("m.fp16.gguf", "f16"),
        ("m-UD-Q4_K_XL.gguf", "ud-q4_k_xl"),
        ("BF16/m-BF16-00001-of-00002.gguf", "bf16"),
        ("qwen3-8b.gguf", ""),
    ],
)
def test_quantizations_are_read_from_names(file, kind):
    assert quantization_of(file) == kind
