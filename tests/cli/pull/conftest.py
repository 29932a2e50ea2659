"""`ramify models pull` against a hub on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from ramify.engine.library.catalog import list_bundled

from .hub_server import FILE, FakeHub, Handler

huggingface_hub = pytest.importorskip("huggingface_hub")


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
    monkeypatch.setattr("ramify.engine.library.hub.download.FIRST_WAIT_S", 0.0)
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
