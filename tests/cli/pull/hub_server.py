"""A server on this machine that is laid out as the Hugging Face hub is."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

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


def kept(folder: Path) -> list[Path]:
    """What earlier tries left for later ones."""
    return [path for path in (folder / ".pulling").rglob("*") if path.is_file()]


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
