"""Tiny models and a cache folder of their own for the runtime's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ramify.engine.runtime.llama.config import ModelConfig
from ramify.engine.runtime.llama.native import Model

from .tiny_gguf import Shape, write_tiny


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def tiny(folder: Path) -> Path:
    """Return a model that never draws its end token."""
    return write_tiny(folder / "tiny.gguf", Shape(end_bias=-60.0))


@pytest.fixture(scope="module")
def model(tiny: Path) -> Iterator[Model]:
    """Return the tiny model, loaded in the test's own process."""
    model = Model(ModelConfig(path=str(tiny), threads=1))
    yield model
    model.close()


@pytest.fixture(scope="session")
def ending(folder: Path) -> Path:
    """Return a model that often draws its end token."""
    return write_tiny(folder / "ending.gguf", Shape(end_bias=12.0))


@pytest.fixture(scope="session")
def slow(folder: Path) -> Path:
    """Return a model that takes milliseconds a token."""
    return write_tiny(folder / "slow.gguf", Shape(width=256, heads=4, feed=1024, layers=8, end_bias=-60.0, scale=0.05))


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAMIFY_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"
