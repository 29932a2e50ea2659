"""Fixtures of all tests: folders of their own for history and settings, and the files of real models."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ramify", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ramify")
# Times of single examples say how busy the machine is.

REAL_MODELS_VARIABLE = "RAMIFY_REAL_MODELS"
REAL_MODELS = {
    "smollm2": "smollm2-135m-instruct.q4_1.gguf",
    "gemma": "gemma-3-270m-q4_k_m.gguf",
    "qwen": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
}
"""Files of the folder RAMIFY_REAL_MODELS: a chat model, a base model and a larger chat model."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Files with slow tests come first, so that processes side by side end at the same time.
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return paths of folders of their own; `mktemp` would look at all the others each time."""
    above = tmp_path_factory.mktemp("users")
    return (above / str(number) for number in count())


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, users: Iterator[Path]) -> None:
    folder = next(users)
    folder.mkdir()
    monkeypatch.setenv("RAMIFY_DATA", str(folder / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.delenv("RAMIFY_CONFIG", raising=False)


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """Return the file of a real model by its short name; the test is skipped where it is not there."""

    def find(name: str) -> Path:
        folder = os.environ.get(REAL_MODELS_VARIABLE)
        if not folder:
            pytest.skip(f"{REAL_MODELS_VARIABLE} names no folder of real models")
        path = Path(folder) / REAL_MODELS[name]
        if not path.is_file():
            pytest.skip(f"{path.name} is not in {REAL_MODELS_VARIABLE}")
        return path.resolve()

    return find


def pytest_unconfigure() -> None:
    # llama_cpp opens these when it is imported and never closes them, which would be warned of at the end.
    opened = sys.modules.get("llama_cpp._utils")
    for name in ("outnull_file", "errnull_file"):
        if file := getattr(opened, name, None):
            file.close()


@pytest.fixture(scope="session")
def chromium_options() -> dict[str, Any]:
    """Options of playwright's `launch`; the test is skipped where there is no playwright or no Chromium."""
    pytest.importorskip("playwright")
    found = os.environ.get("RAMIFY_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no chromium; install it, or name it in RAMIFY_CHROMIUM")
    # As root, as in containers, Chromium runs without its own sandbox only.
    return {"executable_path": found, "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
